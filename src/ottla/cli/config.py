"""`ottla config`: every setting in force, and where it is from."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from ottla.kafka.properties import client_properties, consumer_properties, producer_properties
from ottla.settings import Loaded, read_settings
from ottla.settings.model import RAW_TABLES, SETTINGS, SettingPath, key_of, variable_of

HIDDEN = "***"

_SECRET_NAME = re.compile(
    r"password|secret|token(?!\.endpoint|_url)|credential|jaas|\.pem$|oauthbearer\.config", re.IGNORECASE
)
_USERINFO = re.compile(r"(?<=//)([^/@:]*):.*@")
_SECRET_PARAMETER = re.compile(r"([?&;][^=&;]*(?:password|secret|token)[^=&;]*=)[^&;]*", re.IGNORECASE)


def config(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="print only problems and hints; exit 78 when there are problems")
    ] = False,
    app_name: Annotated[
        str | None, typer.Option("--app", help="the app's name, which is the default consumer group")
    ] = None,
) -> None:
    """Print the settings in force and where each is from, secrets hidden.

    Unsound settings are listed, all of them, and end it with 78.
    """
    loaded = read_settings(app_name)
    if check:
        print("settings: sound")
    else:
        for line in report(loaded):
            print(line)
    for hint in loaded.hints:
        typer.echo(f"hint: {hint}", err=True)


def report(loaded: Loaded) -> Iterator[str]:
    """What `ottla config` prints."""
    yield from _aligned(list(_setting_rows(loaded)))
    settings = loaded.settings
    group = settings.kafka.group_id or "<the app's name>"
    for name, properties in (
        ("client", client_properties(settings)),
        ("consumer", consumer_properties(settings, group)),
        ("producer", producer_properties(settings)),
    ):
        yield ""
        yield f"# librdkafka, {name}"
        yield from _aligned([(prop, shown(prop, value)) for prop, value in sorted(properties.items())])


def _setting_rows(loaded: Loaded) -> Iterator[tuple[str, ...]]:
    yield "# setting", "value", "from", "in the environment"
    for path in SETTINGS:
        value = _value(loaded, path)
        if path[-1] in RAW_TABLES or path == ("topics",):
            yield from _table_rows(loaded, path, value)
            continue
        origin = loaded.origins.get(path, "default")
        yield key_of(path), shown(path[-1], value), origin, variable_of(path) or ""


def _table_rows(loaded: Loaded, path: SettingPath, table: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, value in table.items():
        inner = (*path, name)
        origin = loaded.origins.get(inner) or loaded.origins.get(path, "default")
        yield key_of(inner), shown(name, value), origin, variable_of(inner) or "only in TOML"


def _value(loaded: Loaded, path: SettingPath) -> Any:
    value: Any = loaded.settings
    for name in path:
        value = getattr(value, name)
    return value


def shown(name: str, value: Any) -> str:
    """`value` as it may be seen: secrets hidden by their type, their name, or their place in a URL."""
    match value:
        case None:
            return "-"
        case SecretStr():
            secret = value.get_secret_value()
            return _without_password(secret) if "://" in secret else HIDDEN
        case enum.Enum():
            return str(value.value)
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
    if _SECRET_NAME.search(name):
        return HIDDEN
    return _without_password(str(value))


def _without_password(text: str) -> str:
    return _SECRET_PARAMETER.sub(rf"\1{HIDDEN}", _USERINFO.sub(rf"\1:{HIDDEN}@", text))


def _aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
