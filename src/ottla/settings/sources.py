"""What environment and TOML file say, as one tree of raw values that remembers where each is from."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ottla.settings.model import BY_VARIABLE, RAW_TABLES, SETTINGS, SettingPath, key_of, topic_key

FILE_VARIABLE = "OTTLA_CONFIG"
DEFAULT_FILE = Path("ottla.toml")

RAW_PATHS = {("kafka", table) for table in RAW_TABLES}

_TOPICS_PREFIX = "TOPICS__"
_OURS = ("KAFKA_", "DATABASE_", "SCHEMA_REGISTRY_", "OTTLA_", "TOPICS_")
# High enough that what Kubernetes injects for a Service called kafka (KAFKA_PORT) is near nothing of ours.
_NEAR = 0.88


@dataclass(slots=True)
class Raw:
    """Raw values by setting, the place each came from, and what was wrong on the way."""

    values: dict[SettingPath, Any] = field(default_factory=dict)
    origins: dict[SettingPath, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    file: Path | None = None

    def put(self, path: SettingPath, value: Any, origin: str) -> None:
        """Take a value; a later one wins."""
        self.values[path] = value
        self.origins[path] = origin


def read_sources(environ: Mapping[str, str], file: Path | None) -> Raw:
    """Both sources, the environment above the file. Reads the file, and nothing else."""
    raw = Raw(file=_file(environ, file))
    if raw.file is not None:
        _read_toml(raw, raw.file)
    _read_environment(raw, environ)
    return raw


def _file(environ: Mapping[str, str], file: Path | None) -> Path | None:
    if file is not None:
        return file
    if named := environ.get(FILE_VARIABLE):
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def _read_toml(raw: Raw, file: Path) -> None:
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raw.problems.append(
            f"{file}: cannot be read ({error.strerror}); mend path or permissions, or unset {FILE_VARIABLE}"
        )
        return
    except UnicodeDecodeError as error:
        raw.problems.append(f"{file}: is not UTF-8 (byte {error.start}); save it as UTF-8")
        return
    except tomllib.TOMLDecodeError as error:
        raw.problems.append(f"{file}: is not valid TOML: {error}")
        return
    _read_topics(raw, file, tree.pop("topics", {}))
    for path, value in _leaves(tree):
        if path in RAW_PATHS:
            raw.put(path, _properties(raw, file, path, value), f"{file}:{key_of(path)}")
        elif path in SETTINGS:
            raw.put(path, value, f"{file}:{key_of(path)}")
        else:
            raw.problems.append(f"{file}: {key_of(path)} is no setting{_did_you_mean(path)}")


def _leaves(tree: dict[str, Any]) -> Iterator[tuple[SettingPath, Any]]:
    """Every value of the file with its path; raw tables are one value each."""
    for name, value in tree.items():
        if name == "kafka" and isinstance(value, dict):
            yield from ((("kafka", inner), leaf) for inner, leaf in value.items())
        elif isinstance(value, dict) and value:
            yield from (((name, inner), leaf) for inner, leaf in value.items())
        else:
            yield (name,), value


def _properties(raw: Raw, file: Path, path: SettingPath, table: Any) -> dict[str, Any]:
    """The properties of one raw table; `linger.ms = 5` is a table within a table to TOML."""
    if not isinstance(table, dict):
        raw.problems.append(f"{file}: {key_of(path)} must be a table: [{key_of(path)}] property = value")
        return {}
    properties: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            inner = _properties(raw, file, (*path, name), value)
            properties.update({f"{name}.{rest}": leaf for rest, leaf in inner.items()})
        elif isinstance(value, str | int | float | bool):
            properties[name] = value
        else:
            raw.problems.append(
                f"{file}: {key_of((*path, name))} must be a string, a number or a boolean; "
                "librdkafka takes a list as one string with commas"
            )
    return properties


def _read_topics(raw: Raw, file: Path, table: Any) -> None:
    if not isinstance(table, dict):
        raw.problems.append(f'{file}: topics must be a table: [topics], then declared-name = "real-name"')
        return
    for name, value in table.items():
        path = ("topics", topic_key(name))
        if isinstance(value, dict):
            raw.problems.append(f"{file}: topics.{name} is a table; quote a name that has dots in it")
            continue
        if path in raw.values:
            raw.problems.append(
                f"{file}: topics.{key_of((name,))} and another key are the same name "
                "once '-' and '.' are '_' and case is ignored; keep one"
            )
        raw.put(path, value, f"{file}:topics.{key_of((name,))}")


def _read_environment(raw: Raw, environ: Mapping[str, str]) -> None:
    """Take what is ours; an empty variable counts as unset, as Compose files leave them."""
    for variable, value in environ.items():
        if not value or variable == FILE_VARIABLE:
            continue
        if path := BY_VARIABLE.get(variable):
            raw.put(path, value, variable)
        elif variable.startswith(_TOPICS_PREFIX) and (name := variable.removeprefix(_TOPICS_PREFIX)):
            raw.put(("topics", topic_key(name)), value, variable)
        elif hint := _near_miss(variable):
            raw.hints.append(hint)


def _near_miss(variable: str) -> str | None:
    """The environment belongs to others too, so an unknown variable is never an error."""
    if not variable.upper().startswith(_OURS):
        return None
    close = difflib.get_close_matches(variable.upper(), [*BY_VARIABLE, FILE_VARIABLE], n=1, cutoff=_NEAR)
    if close:
        return f"{variable} is set and is no setting; did you mean {close[0]}?"
    if variable.startswith("TOPICS_"):
        return f"{variable} is set and is no setting; topics have two underscores: TOPICS__ORDERS"
    return None


def _did_you_mean(path: SettingPath) -> str:
    if path == ("kafka",):
        return "; it is a table: [kafka]"
    keys = [key_of(known) for known in SETTINGS]
    wanted = key_of(path)
    close = difflib.get_close_matches(wanted, keys, n=1, cutoff=0.6)
    if path[-1] in {known[-1] for known in SETTINGS}:  # right name, wrong table
        close = [key for key in keys if key.rsplit(".", 1)[-1] == path[-1]]
    if close:
        return f"; did you mean {close[0]}?"
    if path[0] == "kafka":
        return "; properties of librdkafka go into [kafka.client], [kafka.consumer] or [kafka.producer]"
    return "; `ottla config` lists those there are"
