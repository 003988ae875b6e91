"""Topics as declared values: a name, the type of its events, and where their key comes from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Generic, TypeVar
from uuid import UUID

from ottla.core.formats import JSON, Format
from ottla.errors import WiringError

T = TypeVar("T")

Key = str | bytes | UUID | int | None
"""What a key can be; everything but bytes travels as its UTF-8 text, as Java's StringSerializer writes it."""

_MAX_NAME = 249
_LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]+")


@dataclass(frozen=True)  # without slots: `Topic[A | B](…)` notes its type in the object
class Topic(Generic[T]):
    """One topic that services share: what its events are and by what they are ordered.

    `name` is the declared name; `TOPICS__<NAME>` gives the topic another one on a
    cluster. `key` tells an event's key; without it events have none, and nothing
    orders them. A union wants its type spelled twice for type checkers:
    `Topic[Opened | Closed]("accounts", Opened | Closed)`.

    What `partitions` and `config` say is put into effect by `ottla topics apply`, and by
    nothing else. None leaves a new topic to the broker's default and an existing one as it is.

    Args:
        format: how values are written: `Json()`, or by a schema registry `Avro()` or
            `JsonSchema()`, all of `ottla.serde`. The schema follows from `type`.
        partitions: how many the topic shall have. They are only ever added, and adding
            them moves keys to other partitions.
        config: Kafka's topic configs by name, such as `{"retention.ms": "86400000"}`.

    Raises:
        WiringError: a name that Kafka does not allow, fewer partitions than one, or a
            config that is no text.
    """

    name: str
    type: type[T] | UnionType
    key: Callable[[T], Key] | None = None
    format: Format = field(default=JSON, kw_only=True)
    partitions: int | None = field(default=None, kw_only=True)
    config: Mapping[str, str] | None = field(default=None, kw_only=True, hash=False)  # a dict has no hash

    def __post_init__(self) -> None:
        if problem := name_problem(self.name) or _wish_problem(self.format, self.partitions, self.config):
            raise WiringError(f"topic {self.name!r}: {problem}")


def name_problem(name: str) -> str | None:
    """Why Kafka does not take `name` for a topic; None when it does.

    Source: Kafka `org.apache.kafka.common.internals.Topic.validate`.
    """
    if not name:
        return "the name is empty; give 1 to 249 characters"
    if len(name) > _MAX_NAME:
        return f"the name has {len(name)} characters; Kafka takes at most {_MAX_NAME}"
    if name in {".", ".."}:
        return "Kafka reserves this name; choose another"
    if not _LEGAL_NAME.fullmatch(name):
        return "Kafka takes only letters a-z and A-Z, digits, '.', '_' and '-'; rename it"
    return None


def _wish_problem(format_: Any, partitions: Any, config: Any) -> str | None:
    """What is wrong with what is wanted of a topic; what is written need not be what is annotated."""
    if not isinstance(format_, Format):
        return f"format={format_!r} is none; give Json(), Avro() or JsonSchema() of ottla.serde"
    is_count = isinstance(partitions, int) and not isinstance(partitions, bool) and partitions >= 1
    if partitions is not None and not is_count:
        return f"partitions={partitions!r} is no number of partitions; give 1 or more, or None"
    if config is None:
        return None
    if not isinstance(config, Mapping):
        return f"config={config!r} is no mapping; write it as {{'retention.ms': '86400000'}}"
    for name, value in config.items():
        if not (isinstance(name, str) and name and isinstance(value, str)):
            return f"config {name!r}: {value!r} is no text; write {str(name)!r}: {str(value)!r}"
    return None
