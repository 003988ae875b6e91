"""A record as a test reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from ottla.core.identity import EVENT_ID_HEADER
from ottla.records import Headers
from ottla.testing.log import StoredRecord

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ConsumerRecord(Generic[T]):
    """One record of a topic. `key` is the bytes of the wire, `value` is decoded, None is a tombstone."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: T | None
    headers: Headers
    timestamp_ms: int

    @property
    def event_id(self) -> str | None:
        """The id under which handlers see the event, where its sender gave one."""
        return self.headers.text(EVENT_ID_HEADER)

    @classmethod
    def of(cls, record: StoredRecord, decode: Callable[[bytes | None, Headers], Any]) -> Self:
        """As it lies in its topic. Raises `Undecodable`."""
        value = record.value()
        return cls(
            *record.at,
            key=record.key(),
            value=None if value is None else decode(value, record.raw_headers),
            headers=record.raw_headers,
            timestamp_ms=record.timestamp_ms,
        )
