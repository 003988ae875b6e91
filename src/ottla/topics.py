"""Topics as declared values: a name, the type of its events, and where their key comes from."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import UnionType
from typing import Generic, TypeVar
from uuid import UUID

from ottla.errors import WiringError

T = TypeVar("T")

Key = str | bytes | UUID | int | None
"""What a key can be; everything but bytes travels as its UTF-8 text, as Java's StringSerializer writes it."""

_MAX_NAME = 249
_LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Topic(Generic[T]):
    """One topic that services share: what its events are and by what they are ordered.

    `name` is the declared name; `TOPICS__<NAME>` gives the topic another one on a
    cluster. `key` tells an event's key; without it events have none, and nothing
    orders them. A union wants its type spelled twice for type checkers:
    `Topic[Opened | Closed]("accounts", Opened | Closed)`.

    Raises `WiringError` for a name that Kafka does not allow.
    """

    name: str
    type: type[T] | UnionType
    key: Callable[[T], Key] | None = None

    def __post_init__(self) -> None:
        if problem := name_problem(self.name):
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
