"""What differs by environment: environment variables, then a TOML file, then defaults."""

from __future__ import annotations

from ottla.settings.load import Loaded, Origin, load_settings, read_settings
from ottla.settings.model import KafkaSettings, Security, Settings, key_of, variable_of

__all__ = [
    "KafkaSettings",
    "Loaded",
    "Origin",
    "Security",
    "Settings",
    "key_of",
    "load_settings",
    "read_settings",
    "variable_of",
]
