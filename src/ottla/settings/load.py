"""Reads, merges and checks the settings; every problem is in one error."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from ottla.core.aws_region import region_of
from ottla.errors import SettingsError
from ottla.settings.model import (
    RAW_TABLES,
    KafkaSettings,
    Security,
    SettingPath,
    Settings,
    key_of,
    variable_of,
)
from ottla.settings.rules import findings, hosts
from ottla.settings.sources import Raw, read_sources

Origin = str
"""Where a value is from: a variable's name, `file:key`, or `default`."""

DEFAULT: Origin = "default"
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Loaded:
    """Sound settings, where each is from (absent: its default), and what looks like a slip."""

    settings: Settings
    origins: Mapping[SettingPath, Origin]
    hints: tuple[str, ...]


def load_settings(
    app_name: str | None = None, *, environ: Mapping[str, str] | None = None, file: Path | None = None
) -> Settings:
    """The settings in force. Raises `SettingsError` with all problems at once.

    The process environment is read unless `environ` is given; the TOML file is
    `file`, else what OTTLA_CONFIG names, else ./ottla.toml if there. `app_name` is
    the consumer group when nothing sets one.
    """
    return read_settings(app_name, environ=environ, file=file).settings


def read_settings(
    app_name: str | None = None, *, environ: Mapping[str, str] | None = None, file: Path | None = None
) -> Loaded:
    """What `load_settings` returns, with where each value is from."""
    raw = read_sources(os.environ if environ is None else environ, file)
    group = ("kafka", "group_id")
    if app_name is not None and group not in raw.values:
        raw.put(group, app_name, "default: the app's name")
    _find_region(raw, os.environ if environ is None else environ)
    problems = list(raw.problems)
    settings, faulty = _validated(raw, problems)
    for paths, text in findings(settings, raw.values):
        if faulty.isdisjoint(paths):
            problems.append(f"{label(paths[0])}: {text}")
    if problems:
        raise SettingsError(tuple(problems))
    return Loaded(settings, raw.origins, tuple(raw.hints))


def _find_region(raw: Raw, environ: Mapping[str, str]) -> None:
    """The region of the brokers for msk-iam, unless it is set.

    Their names come before the environment, which tells where we are: a token holds in the brokers' region.
    """
    path = ("kafka", "aws_region")
    if path in raw.values or raw.values.get(("kafka", "security")) != Security.MSK_IAM.value:
        return
    servers = raw.values.get(("kafka", "bootstrap_servers"))
    if found := region_of(hosts(str(servers)) or ()):
        raw.put(path, found, "KAFKA_BOOTSTRAP_SERVERS, by the brokers' names")
        return
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if value := environ.get(variable):
            raw.put(path, value, variable)
            return


def label(path: SettingPath) -> str:
    """How a problem names a setting: by its variable and its key in TOML."""
    if path[0] == "kafka" and path[1] in RAW_TABLES:
        return ": ".join((f"[kafka.{path[1]}] in TOML", *path[2:]))
    return f"{variable_of(path)} (in TOML {key_of(path)})"


def _validated(raw: Raw, problems: list[str]) -> tuple[Settings, set[SettingPath]]:
    """The settings, and which are faulty: those are reported, and at their defaults.

    A faulty value must not hide what else is wrong, so the rest is checked without it.
    """
    try:
        return Settings.model_validate(_tree(raw.values)), set()
    except ValidationError as error:
        faulty = dict(_faults(error))
    for path, message in faulty.items():
        problems.append(f"{label(path)}: {_told(path, message, raw)}")
    sound = {path: value for path, value in raw.values.items() if path not in faulty}
    sound.setdefault(("kafka", "bootstrap_servers"), "localhost")
    return Settings.model_validate(_tree(sound)), set(faulty)


def _tree(values: Mapping[SettingPath, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {"kafka": {}}
    for path, value in values.items():
        if len(path) == 1:
            tree[path[0]] = value
        else:
            tree.setdefault(path[0], {})[path[1]] = value
    return tree


def _faults(error: ValidationError) -> Iterator[tuple[SettingPath, str]]:
    """One message per setting; a union reports each member it tried."""
    seen: set[SettingPath] = set()
    for one in error.errors(include_url=False, include_context=False, include_input=False):
        path = tuple(str(part) for part in one["loc"][: 2 if one["loc"][0] in {"kafka", "topics"} else 1])
        if path in seen:
            continue
        seen.add(path)
        yield path, one["msg"].replace("Input should be", "should be")


def _told(path: SettingPath, message: str, raw: Raw) -> str:
    if path not in raw.values:
        return "not set, and there is no default; set it to host:port[,host:port] of your brokers"
    if _is_secret(path):
        return f"{message}; see {raw.origins[path]}"
    shown = repr(raw.values[path])
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return f"{message}; {raw.origins[path]} has {shown}"


def _is_secret(path: SettingPath) -> bool:
    """Secret fields, and raw tables, which may hold secrets under any name."""
    if path[0] == "topics":
        return False
    fields = KafkaSettings.model_fields if path[0] == "kafka" else Settings.model_fields
    return path[-1] in RAW_TABLES or SecretStr in _arguments(fields[path[-1]].annotation)


def _arguments(annotation: Any) -> Collection[Any]:
    return (annotation, *getattr(annotation, "__args__", ()))
