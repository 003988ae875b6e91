"""What may be committed.

Rules of this file:

- A partition's committable offset is the lowest unfinished one, never "the position":
  every loss that a client's default commit causes comes from committing positions.
- Offsets are sparse: transaction markers and compaction leave holes, so nothing here
  counts on the next offset being one higher.
- A tracker lives for one assignment (an epoch). Whatever an older epoch reports goes to
  an older tracker and changes nothing.
- A commit that failed is forgotten, so that it is due again; only an acknowledged one counts.
- One commit of a partition is out at a time. A client sends one again whose connection broke,
  and it would then come behind the next one and take the group back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from ottla.records import TopicPartition

T = TypeVar("T")


class OffsetTracker(Generic[T]):
    """The unfinished records of one partition in one epoch, each with what belongs to it.

    Memory is bounded by the unfinished records, however far done ones reach ahead of a
    stuck one: what is done is told by absence.
    """

    __slots__ = ("_order", "_unfinished", "next_offset")

    def __init__(self, start: int) -> None:
        self.next_offset = start
        self._order: deque[int] = deque()
        self._unfinished: dict[int, T] = {}

    def __len__(self) -> int:
        return len(self._unfinished)

    def polled(self, offset: int, item: T) -> bool:
        """Take up a polled record. False when it lies below what this epoch began with or has seen."""
        if offset < self.next_offset:
            return False
        self.next_offset = offset + 1
        self._order.append(offset)
        self._unfinished[offset] = item
        return True

    def done(self, offset: int) -> None:
        """The record at `offset` has ended. Raises KeyError if it had before."""
        del self._unfinished[offset]

    def lowest(self) -> int:
        """The offset that may be committed: the lowest unfinished, or behind the last polled one."""
        order, unfinished = self._order, self._unfinished
        while order and order[0] not in unfinished:
            order.popleft()
        if len(order) > 2 * len(unfinished) + 1024:
            self._order = order = deque(offset for offset in order if offset in unfinished)
        return order[0] if order else self.next_offset

    def head(self) -> T | None:
        """What belongs to the lowest unfinished record; None when nothing is unfinished."""
        return self._unfinished.get(self.lowest())

    def oldest(self) -> T | None:
        """The same for other threads, which `head` is not: it tidies up. May be one that has just ended."""
        while True:
            try:
                return next(iter(self._unfinished.values()), None)
            except RuntimeError:  # it changed between two steps of ours; look again
                continue

    def unfinished(self) -> list[T]:
        """What belongs to every unfinished record, by ascending offset."""
        return list(self._unfinished.values())


class Committable(NamedTuple):
    """What one partition may commit, as the event loop saw it.

    `is_idle`: every record up to `offset` is finished and none beyond it was seen, so
    whoever knows that none has been polled since may commit the client's position
    instead, which passes transaction markers.
    """

    epoch: int
    offset: int
    is_idle: bool


@dataclass(frozen=True, slots=True)
class CommitPolicy:
    """Commit after so many finished records, or after so many seconds, whichever is first."""

    records: int = 5_000
    interval_s: float = 0.2


class CommitLedger:
    """Which offsets were sent to the broker and which it has acknowledged; says what is due.

    Lives with the poll thread. `finished` counts are totals of the process, so a count
    that is handed over twice does no harm.
    """

    def __init__(self, policy: CommitPolicy) -> None:
        self._policy = policy
        self._sent: dict[TopicPartition, int | None] = {}
        self._acknowledged: dict[TopicPartition, int | None] = {}
        self._last_at = float("-inf")
        self._last_finished = 0

    def assigned(self, partition: TopicPartition, committed: int | None) -> None:
        """A new epoch of `partition` begins at what the group has committed, None for nothing."""
        self._sent[partition] = self._acknowledged[partition] = committed

    def removed(self, partition: TopicPartition) -> None:
        """`partition` is no longer ours."""
        self._sent.pop(partition, None)
        self._acknowledged.pop(partition, None)

    def is_due(self, now: float, finished: int) -> bool:
        """Whether it is time to look for offsets to commit."""
        enough = finished - self._last_finished >= self._policy.records
        return enough or now - self._last_at >= self._policy.interval_s

    def select(
        self,
        now: float,
        finished: int,
        offsets: Mapping[TopicPartition, int],
        *,
        is_last: bool = False,
    ) -> dict[TopicPartition, int]:
        """Of `offsets`, those that the broker does not know yet; from now on they count as sent.

        Where an answer is awaited none is sent, unless it `is_last`: there is no later
        one to send, so the risk of being overtaken is better than not to send it.

        Never less than what was sent in this epoch: a position behind transaction markers
        is more than the offset that the next snapshot names.
        """
        self._last_at, self._last_finished = now, finished
        due = {
            partition: offset
            for partition, offset in offsets.items()
            if partition in self._sent
            and ((sent := self._sent[partition]) is None or offset > sent)
            and (is_last or sent == self._acknowledged[partition])
        }
        self._sent.update(due)
        return due

    def acknowledged(self, partition: TopicPartition, offset: int) -> None:
        """The broker has `offset`."""
        if self._sent.get(partition) == offset:
            self._acknowledged[partition] = offset

    def failed(self, partition: TopicPartition, offset: int) -> None:
        """The commit of `offset` failed: it is due again."""
        if self._sent.get(partition) == offset:
            self._sent[partition] = self._acknowledged[partition]

    def pending(self) -> list[TopicPartition]:
        """Partitions whose last sent commit has no answer yet."""
        return [p for p, sent in self._sent.items() if sent != self._acknowledged[p]]

    def committed(self, partition: TopicPartition) -> int | None:
        """The newest acknowledged offset of `partition`."""
        return self._acknowledged.get(partition)
