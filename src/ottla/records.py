"""Values that travel: a record, its headers, and where it stands in Kafka. All frozen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


TopicPartitionOffset: TypeAlias = tuple[str, int, int]
"""Where a record stands: its topic, partition and offset.

A plain tuple, so that a test of a handler writes `Record(("orders", 0, 17))` and imports
nothing for it, and because one is made for every record.
"""


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


_NO_HEADERS = Headers()


@dataclass(frozen=True, slots=True)
class Record:
    """What a handler can know of the record it is given.

    `at` is topic, partition and offset; `key` and `value` are the bytes of the wire. `attempt`
    counts from 1: a record that waits in place begins again at 1 after a restart; one that comes by
    a retry topic brings its attempt along.
    `event_id` stays the same over redeliveries, retries and replays: hand it to
    mail and HTTP services as their idempotency key.

    All is filled in for a handler. The defaults are for tests that call one.
    """

    at: TopicPartitionOffset = ("test", 0, 0)
    key: bytes | None = None
    value: bytes | None = None
    headers: Headers = _NO_HEADERS
    timestamp_ms: int | None = None
    attempt: int = 1
    event_id: str = "test-0-0"

    @property
    def topic(self) -> str:
        """The topic that it came by, by its name on the cluster: the listener's own, or a retry topic."""
        return self.at[0]

    @property
    def partition(self) -> int:
        """Its partition of that topic."""
        return self.at[1]

    @property
    def offset(self) -> int:
        """Its offset in that partition."""
        return self.at[2]

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
