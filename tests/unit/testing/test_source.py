"""What the in-memory broker's source tells its sink, and in which order: the engine relies on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from ottla.core.offsets import Committable
from ottla.core.pacing import BufferLimits
from ottla.errors import FatalClientError, SettingsError, Unavailable
from ottla.ports import Gap, Load, Message, Progress, SourcePolicy, Start
from ottla.records import Headers, TopicPartition
from ottla.testing import ManualClock
from ottla.testing.group import Group
from ottla.testing.log import TopicLog
from ottla.testing.source import InMemorySource

ORDERS_0, ORDERS_1 = TopicPartition("orders", 0), TopicPartition("orders", 1)


class Recorder:
    """Fills `ports.RecordSink`."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.epochs: dict[TopicPartition, int] = {}
        self.drained: list[Callable[[], None]] = []
        self.unfinished = 0

    def load(self) -> Load:
        return Load(0, 0, self.unfinished, 0)

    def assigned(self, starts: Sequence[Start]) -> None:
        self.epochs |= {start.partition: start.epoch for start in starts}
        self.told.append(f"assigned {' '.join(f'{s.partition}@{s.offset}' for s in starts)}".strip())

    def records(self, batch: Sequence[Message], size: int) -> None:
        self.unfinished += len(batch)
        self.told.append(f"records {' '.join(f'{m.partition()}@{m.offset()}' for m in batch)}")

    def revoking(self, partitions: Sequence[TopicPartition], drained: Callable[[], None]) -> None:
        self.drained.append(drained)
        self.told.append(f"revoking {' '.join(map(str, partitions))}")

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self.told.append(f"revoked {' '.join(map(str, partitions))}")

    def gap(self, gap: Gap) -> None:
        raise AssertionError(gap)

    def trouble(self, error: Unavailable | None) -> None:
        raise AssertionError(error)

    def fatal(self, error: FatalClientError | SettingsError) -> None:
        raise error


class Member:
    """A source and what it told."""

    def __init__(self, broker: Broker, policy: SourcePolicy) -> None:
        self.sink = Recorder()
        self.source = InMemorySource(
            broker.log, policy, group=broker.group, clock=broker.clock, name="billing/orders"
        )
        self.source.open(self.sink)

    def publish(self, partition: TopicPartition, offset: int, *, epoch: int | None = None) -> None:
        committable = Committable(epoch or self.sink.epochs[partition], offset, is_idle=False)
        self.source.publish(Progress({partition: committable}, 0))


class Broker:
    """A topic of two partitions, and one group."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.log = TopicLog("orders", 2)
        self.group = Group(lambda topic: 2)

    def join(self, policy: SourcePolicy | None = None) -> Member:
        return Member(self, policy or SourcePolicy(drain_s=5))

    def write(self, partition: int, count: int = 1) -> None:
        for _ in range(count):
            self.log.append(key=None, value=b"v", headers=Headers(), timestamp_ms=0, partition=partition)


@pytest.fixture
def broker() -> Broker:
    return Broker()


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_partitions_are_assigned_where_the_group_stands_and_their_records_follow(
    broker: Broker,
) -> None:
    broker.write(0, 3)
    broker.group.committed[ORDERS_0] = 1

    member = broker.join()
    await turn()

    assert member.sink.told == ["assigned orders-0@1 orders-1@0", "records 0@1 0@2"]


async def test_a_revoked_partition_is_drained_first_and_goes_on_with_its_next_owner(broker: Broker) -> None:
    first = broker.join()
    await turn()
    first.publish(ORDERS_1, 0)
    broker.write(1, 2)
    await turn()

    second = broker.join()
    await turn()
    broker.write(1)  # comes while it is revoking
    await turn()
    first.publish(ORDERS_1, 2)
    while_revoking = list(first.sink.told), list(second.sink.told)
    first.sink.drained[0]()
    await turn()

    assert while_revoking == (
        ["assigned orders-0@0 orders-1@0", "records 1@0 1@1", "revoking orders-1"],
        ["assigned"],
    )
    assert first.sink.told[3:] == ["revoked orders-1"]
    assert second.sink.told == ["assigned", "assigned orders-1@2", "records 1@2"]


async def test_what_is_not_drained_in_time_is_revoked_all_the_same(broker: Broker) -> None:
    first = broker.join()
    await turn()
    second = broker.join()
    await turn()

    broker.clock.advance(4.9)
    await turn()
    in_time = list(first.sink.told)
    broker.clock.advance(0.1)
    await turn()

    assert in_time[-1] == "revoking orders-1"
    assert first.sink.told[-1] == "revoked orders-1"
    assert second.sink.told == ["assigned", "assigned orders-1@0"]


async def test_late_words_of_an_old_assignment_change_nothing(broker: Broker) -> None:
    first = broker.join()
    await turn()
    old_epoch = first.sink.epochs[ORDERS_1]
    broker.write(1, 5)
    await turn()
    second = broker.join()
    await turn()
    broker.clock.advance(5)
    await turn()
    await second.source.close(1)
    await turn()  # the partition is back, in a new epoch

    first.publish(ORDERS_1, 5, epoch=old_epoch)
    first.sink.drained[0]()
    await turn()

    assert first.sink.epochs[ORDERS_1] > old_epoch
    assert first.sink.told[2:] == [
        "revoking orders-1",
        "revoked orders-1",
        "assigned orders-1@0",
        "records 1@0 1@1 1@2 1@3 1@4",
    ]
    assert broker.group.committed == {}


async def test_a_group_never_goes_back_to_what_an_older_snapshot_says(broker: Broker) -> None:
    member = broker.join()
    await turn()

    member.publish(ORDERS_0, 5)
    member.publish(ORDERS_0, 3)

    assert broker.group.committed == {ORDERS_0: 5}


async def test_a_full_sink_gets_no_more_than_its_room_from_all_partitions_alike(broker: Broker) -> None:
    broker.write(0, 10)
    broker.write(1, 10)

    member = broker.join(SourcePolicy(limits=BufferLimits(records=4)))
    await turn()
    when_full = list(member.sink.told)
    member.sink.unfinished = 0
    member.publish(ORDERS_0, 2)
    await turn()

    assert when_full[1:] == ["records 0@0 0@1 1@0 1@1"]
    assert member.sink.told[2:] == ["records 0@2 0@3 1@2 1@3"]


async def test_of_a_paused_partition_nothing_comes_until_it_is_resumed(broker: Broker) -> None:
    member = broker.join()
    await turn()

    member.source.pause(ORDERS_0)
    broker.write(0)
    broker.write(1)
    await turn()
    while_paused = member.sink.told[1:]
    member.source.resume(ORDERS_0)
    await turn()

    assert while_paused == ["records 1@0"]
    assert member.sink.told[2:] == ["records 0@0"]


async def test_who_leaves_is_told_so_and_others_take_over(broker: Broker) -> None:
    first, second = broker.join(), broker.join()
    await turn()

    await first.source.close(1)
    broker.write(0)
    await turn()

    assert first.sink.told == ["assigned orders-0@0", "revoking orders-0", "revoked orders-0"]
    assert second.sink.told == ["assigned orders-1@0", "assigned orders-0@0", "records 0@0"]
