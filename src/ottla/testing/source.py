"""A listener's member of a group on the in-memory broker; what `kafka/consumer.py` is on Kafka.

Rules of this file, the same that the engine is promised there:

- A partition is assigned before its records come, each time in a new epoch. It is revoking,
  then drained or late, then revoked; in between nothing more of it comes.
- Every snapshot is committed when it is published, and only what it says of the current epoch.
- `core.pacing` says how much is handed over, and `core.offsets` what there is to commit.
- The sink is called from turns of the event loop of our own, never from inside its own calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from ottla.core.figures import Histogram, SourceFigures
from ottla.core.liveness import Pulse
from ottla.core.offsets import CommitLedger
from ottla.core.pacing import Pacing, Poll, Step
from ottla.ports import Message, Progress, RecordSink, SourcePolicy, Start, Timer
from ottla.records import TopicPartition
from ottla.testing.clock import ManualClock
from ottla.testing.group import Group
from ottla.testing.log import TopicLog

_log = logging.getLogger("ottla.testing")


class InMemorySource:
    """Reads one topic for one listener. Fills `ports.GroupMember` and `group.Member`."""

    def __init__(
        self, log: TopicLog, policy: SourcePolicy, *, group: Group, clock: ManualClock, name: str
    ) -> None:
        self.topic = log.name
        self.name = name
        self.has_joined = False
        self._log = log
        self._policy = policy
        self._group = group
        self._clock = clock
        self._pacing = Pacing(policy.limits)
        self._ledger = CommitLedger(policy.commits)
        self._progress = Progress({}, 0)
        self._epoch = 0
        self._epochs: dict[TopicPartition, int] = {}
        self._next: dict[TopicPartition, int] = {}  # behind the last record handed over
        self._stopped: set[TopicPartition] = set()  # paused by the sink, or being revoked
        self._is_quiet = self._has_left = False
        self._turn: asyncio.Handle | None = None
        self._reserve: Timer | None = None
        self._pauses = self._rebalances = 0
        self._commit_durations = Histogram()

    @property
    def is_reading(self) -> bool:
        """Whether records are about to be handed over."""
        return self._turn is not None

    # -- what the engine asks (ports.GroupMember)

    def is_member(self) -> bool:
        """False: joining is told by an assignment, be it empty."""
        return False

    def pulse(self) -> Pulse:
        """Always fresh: no thread of ours could stand still."""
        return Pulse(self.name, 0.0, 1.0)

    def figures(self) -> SourceFigures:
        """As on Kafka; commits take no time here."""
        told = self._progress.offsets
        lags = [
            self._log.end(partition.partition) - (told[partition].offset if partition in told else offset)
            for partition, offset in tuple(self._next.items())
        ]
        return SourceFigures(sum(lags), self._pauses, self._rebalances, self._commit_durations.now())

    def open(self, sink: RecordSink) -> None:
        """Join the group and begin to read."""
        self._sink = sink
        self._log.readers.append(self._wake)
        self._group.join(self)

    def publish(self, progress: Progress) -> None:
        """Replace the snapshot, and commit what it has to say."""
        self._progress = progress
        self._commit()
        self._wake()

    def pause(self, partition: TopicPartition) -> None:
        """Read no more of `partition`."""
        if partition in self._epochs:
            self._pauses += 1
            self._stopped.add(partition)

    def resume(self, partition: TopicPartition) -> None:
        """Read `partition` again."""
        self._stopped.discard(partition)
        self._wake()

    def quiesce(self) -> None:
        """Read nothing more."""
        self._is_quiet = True

    async def close(self, bound_s: float) -> None:
        """As `leave`, which waits for nobody."""
        self.leave(bound_s)

    def leave(self, _bound_s: float) -> None:
        """Leave at once: the newest snapshot is committed, and whoever calls has waited for handlers."""
        if self._has_left:
            return
        self._has_left = self._is_quiet = True
        self._log.readers.remove(self._wake)
        for pending in (self._turn, self._reserve):
            if pending is not None:
                pending.cancel()
        self._turn = self._reserve = None
        self._sink.revoking(list(self._epochs), lambda: None)
        self._let_go(list(self._epochs))
        self._group.leave(self)

    # -- what the group tells (group.Member)

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Take partitions up, each in a new epoch, where the group or `start` says."""
        self.has_joined = True
        self._rebalances += 1
        starts = []
        for partition in partitions:
            committed = self._group.committed.get(partition)
            self._ledger.assigned(partition, committed)
            self._epoch += 1
            self._epochs[partition] = self._epoch
            self._next[partition] = self._start(partition) if committed is None else committed
            starts.append(Start(partition, self._epoch, self._next[partition]))
        self._sink.assigned(starts)
        self._wake()

    def revoke(self, partitions: Sequence[TopicPartition]) -> None:
        """Give partitions up once what runs of them has ended, or the bound is over."""
        self._rebalances += 1
        self._stopped.update(partitions)
        epochs = {partition: self._epochs[partition] for partition in partitions}
        loop = asyncio.get_running_loop()

        def drained() -> None:
            late.cancel()
            loop.call_soon(release)

        def release() -> None:
            # A handler that ends after the bound tells of an epoch that is over.
            ours = [partition for partition, epoch in epochs.items() if self._epochs.get(partition) == epoch]
            if ours:
                self._let_go(ours)
                self._group.released(self, ours)

        late = self._clock.call_later(self._policy.drain_s, release)
        self._sink.revoking(partitions, drained)

    def _start(self, partition: TopicPartition) -> int:
        return self._log.end(partition.partition) if self._policy.offsets.start == "latest" else 0

    def _let_go(self, ours: Sequence[TopicPartition]) -> None:
        for partition in ours:
            del self._epochs[partition], self._next[partition]
            self._ledger.removed(partition)
            self._stopped.discard(partition)
        self._sink.revoked(ours)

    # -- reading

    def _wake(self) -> None:
        if self._turn is None and not self._is_quiet and self._readable():
            self._turn = asyncio.get_running_loop().call_soon(self._read)

    def _readable(self) -> list[TopicPartition]:
        return [
            partition
            for partition, offset in self._next.items()
            if partition not in self._stopped and offset < self._log.end(partition.partition)
        ]

    def _read(self) -> None:
        self._turn = None
        readable = self._readable()
        if self._is_quiet or not readable:
            return
        load = self._sink.load()
        match self._pacing.next(self._clock.now(), load.records, load.size):
            case Poll(most):
                self._hand_over(self._fetch(readable, most))
                self._wake()
            case Step.RESUME:
                self._wake()
            case Step.WAIT:
                self._look_again_later()
            case Step.PAUSE:
                self._pauses += 1
            case Step.EVENTS:
                pass  # the next snapshot tells of room

    def _fetch(self, readable: Sequence[TopicPartition], most: int) -> list[Message]:
        """At most `most` records, from all partitions alike."""
        batch: list[Message] = []
        for count, partition in enumerate(readable):
            fair = -(-(most - len(batch)) // (len(readable) - count))
            records = self._log.read(partition.partition, self._next[partition], fair)
            self._next[partition] += len(records)
            batch += records
        return batch

    def _hand_over(self, batch: list[Message]) -> None:
        self._sink.records(batch, sum(map(len, batch)))

    def _look_again_later(self) -> None:
        """Full: the pacing lets single records through meanwhile."""
        if self._reserve is not None:
            return

        def look() -> None:
            self._reserve = None
            self._wake()

        self._reserve = self._clock.call_later(self._policy.limits.reserve_interval_s, look)

    # -- commits

    def _commit(self) -> None:
        """At once, and acknowledged at once: there is nobody to wait for."""
        progress = self._progress
        offsets = {
            partition: committable.offset
            for partition, committable in progress.offsets.items()
            if committable.epoch == self._epochs.get(partition)
        }
        for partition, offset in self._ledger.select(self._clock.now(), progress.finished, offsets).items():
            self._group.committed[partition] = offset
            self._ledger.acknowledged(partition, offset)
            self._commit_durations.observe(0.0)
