"""Values that travel: a record, its headers, and where it stands in Kafka. All frozen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class Headers(tuple[tuple[str, bytes | None], ...]):
    """A record's headers in the order they were written; names may repeat.

    Readers take the last value of a name, as Kafka's Java client and Spring do.
    """

    __slots__ = ()

    def last(self, name: str) -> bytes | None:
        """The last value of `name`; None when it is absent or null."""
        for present, value in reversed(self):
            if present == name:
                return value
        return None

    def text(self, name: str) -> str | None:
        """The last value of `name` as UTF-8 text; None when absent, null, or not UTF-8."""
        value = self.last(name)
        if value is None:
            return None
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None

    def all(self, name: str) -> tuple[bytes | None, ...]:
        """Every value of `name`, oldest first."""
        return tuple(value for present, value in self if present == name)

    def with_added(self, *pairs: tuple[str, bytes | None]) -> Headers:
        """These headers with `pairs` behind them."""
        return Headers((*self, *pairs))


@dataclass(frozen=True, slots=True)
class Record:
    """What a handler can know of the record it is given.

    `key` and `value` are the bytes of the wire. `attempt` counts this handler's
    deliveries in this process from 1: a restart begins again at 1.
    `event_id` stays the same over redeliveries, retries and replays: hand it to
    mail and HTTP services as their idempotency key.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int | None
    attempt: int
    event_id: str

    @property
    def timestamp(self) -> datetime | None:
        """The record's timestamp in UTC; None when the producer's broker kept none."""
        if self.timestamp_ms is None:
            return None
        return datetime.fromtimestamp(self.timestamp_ms / 1000, tz=UTC)


@dataclass(frozen=True, slots=True)
class SendResult:
    """Where an acknowledged record stands. The embedded mock broker's timestamp is meaningless."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None


class EncodedRecord(NamedTuple):
    """A record to be sent, as bytes, under its topic's name on the cluster."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None = None
    """None leaves the choice to the key."""
