"""Members of a group on the in-memory broker beside a naive model, whatever comes, goes, ends or is late.

The sinks are models of an engine: they end records when a rule ends them, and speak of old
assignments as threads do that cannot be stopped. Whatever Hypothesis does: a partition has
one owner, its records come without holes from where the group stood, nothing comes after
"revoking", nothing is committed that has not ended, no sink is filled beyond its bound; and
once all is well again every record comes to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ottla.core.offsets import Committable
from ottla.core.pacing import BufferLimits
from ottla.errors import FatalClientError, SettingsError, Unavailable
from ottla.ports import Gap, Load, Message, Progress, SourcePolicy, Start
from ottla.records import Headers, TopicPartition
from ottla.testing import ManualClock
from ottla.testing.group import Group
from ottla.testing.log import TopicLog
from ottla.testing.source import InMemorySource

PARTITIONS = 3
MOST = 8
RESERVE = 21
"""One record each 0.1 s for two seconds while the buffer is full, as `core.pacing` has it."""


@dataclass
class Assignment:
    epoch: int
    next: int
    unfinished: set[int] = field(default_factory=set)
    drained: Callable[[], None] | None = None

    def committable(self) -> Committable:
        lowest = min(self.unfinished, default=self.next)
        return Committable(self.epoch, lowest, is_idle=not self.unfinished)


class Sink:
    """Fills `ports.RecordSink`, and complains about what must not happen."""

    def __init__(self, machine: MembersBesideAModel) -> None:
        self.machine = machine
        self.owned: dict[TopicPartition, Assignment] = {}
        self.gone: dict[TopicPartition, Committable] = {}
        self.late: list[Callable[[], None]] = []
        self.finished = self.taken = 0
        self.source = InMemorySource(
            machine.log,
            SourcePolicy(limits=BufferLimits(records=MOST), drain_s=5),
            group=machine.group,
            clock=machine.clock,
            name="billing/orders",
        )

    def load(self) -> Load:
        unfinished = sum(len(assignment.unfinished) for assignment in self.owned.values())
        return Load(self.taken, 0, unfinished, 0)

    def assigned(self, starts: Sequence[Start]) -> None:
        for partition, epoch, offset in starts:
            assert all(partition not in sink.owned for sink in self.machine.sinks), "two owners"
            assert offset == self.machine.group.committed.get(partition, 0)
            assert partition not in self.gone or epoch > self.gone[partition].epoch
            self.owned[partition] = Assignment(epoch, offset)
        self.publish()

    def records(self, batch: Sequence[Message], size: int) -> None:
        self.taken += len(batch)
        for message in batch:
            assignment = self.owned[TopicPartition(message.topic(), message.partition())]
            assert message.offset() == assignment.next, "a hole, or a record twice"
            assert assignment.drained is None, "a record of a partition that is revoking"
            assignment.next += 1
            assignment.unfinished.add(message.offset())
        assert self.load().records <= MOST + RESERVE

    def revoking(self, partitions: Sequence[TopicPartition], drained: Callable[[], None]) -> None:
        for partition in partitions:
            self.owned[partition].drained = drained

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        for partition in partitions:
            assignment = self.owned.pop(partition)
            assert assignment.drained is not None, "revoked without a word before"
            self.gone[partition] = Committable(assignment.epoch, assignment.next, is_idle=True)
            self.late.append(assignment.drained)
        self.publish()

    def gap(self, gap: Gap) -> None:
        raise AssertionError(gap)

    def trouble(self, error: Unavailable | None) -> None:
        raise AssertionError(error)

    def fatal(self, error: FatalClientError | SettingsError) -> None:
        raise error

    # -- what rules do

    def publish(self) -> None:
        offsets = {partition: each.committable() for partition, each in self.owned.items()}
        self.source.publish(Progress(offsets, self.finished))

    def speak_of_old_assignments(self) -> None:
        """They claim to have finished everything by now, and to be drained."""
        self.source.publish(Progress(self.gone, self.finished))
        late, self.late = self.late, []
        for drained in late:
            drained()

    def finish(self, partition: TopicPartition, offset: int) -> None:
        self.owned[partition].unfinished.remove(offset)
        self.machine.ended.add((partition, offset))
        self.finished += 1
        self.publish()

    def unfinished(self) -> list[tuple[TopicPartition, int]]:
        return [(partition, offset) for partition, each in self.owned.items() for offset in each.unfinished]

    def tell_drained(self) -> None:
        """As the engine does: the end is published before it is told."""
        self.publish()
        for drained in {each.drained for each in self.owned.values() if each.drained is not None}:
            drained()


class MembersBesideAModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.complaints: list[BaseException] = []
        self.loop.set_exception_handler(lambda _, context: self.complaints.append(context["exception"]))
        self.clock = ManualClock()
        self.log = TopicLog("orders", PARTITIONS)
        self.group = Group(lambda topic: PARTITIONS)
        self.sinks: list[Sink] = []
        self.ended: set[tuple[TopicPartition, int]] = set()
        self.committed: dict[TopicPartition, int] = {}

    def on_the_loop(self, call: Callable[[], object]) -> None:
        """Every rule happens inside a turn of the event loop."""

        async def turn() -> None:
            call()

        self.loop.run_until_complete(turn())
        for complaint in self.complaints:
            raise complaint

    @rule(partition=st.integers(0, PARTITIONS - 1), count=st.integers(1, 20))
    def write(self, partition: int, count: int) -> None:
        def append() -> None:
            for _ in range(count):
                self.log.append(key=None, value=b"", headers=Headers(), timestamp_ms=0, partition=partition)

        self.on_the_loop(append)

    @precondition(lambda self: len(self.sinks) < 4)
    @rule()
    def join(self) -> None:
        sink = Sink(self)
        self.sinks.append(sink)
        self.on_the_loop(lambda: sink.source.open(sink))

    @precondition(lambda self: self.sinks)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        sink = data.draw(st.sampled_from(self.sinks))
        self.loop.run_until_complete(sink.source.close(1))
        assert sink.owned == {}
        self.sinks.remove(sink)

    @rule(turns=st.integers(1, 5))
    def turn(self, turns: int) -> None:
        for _ in range(turns):
            self.on_the_loop(lambda: None)

    @precondition(lambda self: any(sink.unfinished() for sink in self.sinks))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        everything = [(sink, *each) for sink in self.sinks for each in sink.unfinished()]
        sink, partition, offset = data.draw(st.sampled_from(everything))
        self.on_the_loop(lambda: sink.finish(partition, offset))

    @precondition(lambda self: any(self.revoking(sink) for sink in self.sinks))
    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        sink = data.draw(st.sampled_from([sink for sink in self.sinks if self.revoking(sink)]))
        self.on_the_loop(sink.tell_drained)

    @precondition(lambda self: any(sink.owned for sink in self.sinks))
    @rule(data=st.data(), is_paused=st.booleans())
    def pause_or_resume(self, data: st.DataObject, *, is_paused: bool) -> None:
        sink = data.draw(st.sampled_from([sink for sink in self.sinks if sink.owned]))
        open_ones = [partition for partition, each in sink.owned.items() if each.drained is None]
        for partition in open_ones[:1]:
            command = sink.source.pause if is_paused else sink.source.resume
            self.on_the_loop(lambda command=command, partition=partition: command(partition))  # type: ignore[misc]

    @precondition(lambda self: any(sink.late for sink in self.sinks))
    @rule()
    def speak_of_old_assignments(self) -> None:
        for sink in self.sinks:
            self.on_the_loop(sink.speak_of_old_assignments)

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.on_the_loop(lambda: self.clock.advance(seconds))

    @staticmethod
    def revoking(sink: Sink) -> bool:
        return any(each.drained is not None for each in sink.owned.values())

    @invariant()
    def nothing_is_committed_that_has_not_ended(self) -> None:
        for partition, offset in self.group.committed.items():
            assert all((partition, below) in self.ended for below in range(offset))
            assert offset >= self.committed.get(partition, 0), "a commit went back"
        self.committed = dict(self.group.committed)

    def teardown(self) -> None:
        """All is well again: every record that was written ends, and is committed."""
        if not self.sinks:
            self.join()
        for _ in range(10_000):
            for sink in self.sinks:
                for partition, each in list(sink.owned.items()):  # a turn can revoke
                    if each.drained is None:
                        self.on_the_loop(lambda sink=sink, partition=partition: sink.source.resume(partition))  # type: ignore[misc]
                for partition, offset in sink.unfinished():
                    self.on_the_loop(
                        lambda sink=sink, partition=partition, offset=offset: sink.finish(partition, offset)  # type: ignore[misc]
                    )
                self.on_the_loop(sink.tell_drained)
            self.turn(3)
            self.wait(0.1)
            if self.is_all_committed():
                break
        assert self.is_all_committed()
        assert not self.group.is_rebalancing
        assert len({partition for sink in self.sinks for partition in sink.owned}) == PARTITIONS
        self.loop.close()

    def is_all_committed(self) -> bool:
        ends = {TopicPartition("orders", number): self.log.end(number) for number in range(PARTITIONS)}
        return self.group.committed == ends


def test_whatever_comes_and_goes_members_keep_their_rules() -> None:
    run_state_machine_as_test(
        MembersBesideAModel, settings=settings(max_examples=100, stateful_step_count=50, deadline=None)
    )
