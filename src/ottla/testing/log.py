"""What the in-memory broker keeps: topics, and the records of their partitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from ottla.records import Headers, TopicPartitionOffset
from ottla.testing.murmur2 import partition_of


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record in its place. Fills `ports.Message`, whose questions are methods, as the client's are."""

    at: TopicPartitionOffset
    raw_key: bytes | None
    raw_value: bytes | None
    raw_headers: Headers
    timestamp_ms: int

    def topic(self) -> str:
        return self.at[0]

    def partition(self) -> int:
        return self.at[1]

    def offset(self) -> int:
        return self.at[2]

    def key(self) -> bytes | None:
        return self.raw_key

    def value(self) -> bytes | None:
        return self.raw_value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return list(self.raw_headers) or None

    def timestamp(self) -> tuple[int, int]:
        return 1, self.timestamp_ms  # 1: CreateTime

    def __len__(self) -> int:
        return len(self.raw_value or b"")


class TopicLog:
    """One topic. Nothing is ever removed from it: the first offset of every partition is 0."""

    def __init__(self, name: str, partitions: int) -> None:
        self.name = name
        self.written: list[StoredRecord] = []
        """All records, in the order in which they were written."""
        self.readers: list[Callable[[], None]] = []
        """Called when there is more to read."""
        self._partitions: list[list[StoredRecord]] = [[] for _ in range(partitions)]
        self._turn = count()

    @property
    def partitions(self) -> int:
        """How many there are."""
        return len(self._partitions)

    def append(
        self,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        timestamp_ms: int,
        partition: int | None = None,
    ) -> StoredRecord:
        """Write a record to `partition`, else to its key's; those without a key take turns.

        Kafka's clients choose by chance there; here a test shall see the same every time.
        """
        if partition is None:
            found = next(self._turn) % self.partitions if key is None else partition_of(key, self.partitions)
        else:
            found = partition
        records = self._partitions[found]
        record = StoredRecord((self.name, found, len(records)), key, value, headers, timestamp_ms)
        records.append(record)
        self.written.append(record)
        for is_more in self.readers:
            is_more()
        return record

    def end(self, partition: int) -> int:
        """The offset that the next record of `partition` will have."""
        return len(self._partitions[partition])

    def read(self, partition: int, offset: int, most: int) -> Sequence[StoredRecord]:
        """At most `most` records from `offset` on."""
        return self._partitions[partition][offset : offset + most]


class Topics:
    """The topics of one broker, each made when it is first asked for."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._logs: dict[str, TopicLog] = {}

    def create(self, name: str, partitions: int) -> None:
        """Make a topic. Raises ValueError when it is there with another number of partitions."""
        log = self._logs.setdefault(name, TopicLog(name, partitions))
        if log.partitions != partitions:
            raise ValueError(f"topic {name} is there with {log.partitions} partitions, not {partitions}")

    def __contains__(self, name: str) -> bool:
        """Whether the topic was made or asked for."""
        return name in self._logs

    def log(self, name: str) -> TopicLog:
        """The topic of that name."""
        if name not in self._logs:
            self.create(name, self._partitions)
        return self._logs[name]

    def partitions(self, name: str) -> int:
        """How many partitions the topic has."""
        return self.log(name).partitions
