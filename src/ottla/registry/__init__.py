"""Edge: the schema registry, by Confluent's own client."""

from __future__ import annotations

from ottla.ports import SchemaRegistry
from ottla.settings import Settings


def registry_of(settings: Settings) -> SchemaRegistry | None:
    """The registry that the settings name; None where they name none. Opens nothing.

    Raises:
        WiringError: the extra `registry` is not installed.
    """
    if settings.schema_registry_url is None:
        return None
    from ottla.registry.confluent import ConfluentRegistry

    return ConfluentRegistry(settings)
