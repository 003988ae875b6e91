"""The poll thread when a rebalance takes place inside one of its own calls.

A real broker brings these moments about once in a thousand rebalances; a client that
follows a script brings them about each time.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from ottla.core.liveness import standing
from ottla.core.offsets import CommitPolicy, Committable
from ottla.core.start_offsets import Offsets
from ottla.errors import FatalClientError, SettingsError, Unavailable
from ottla.kafka import consumer
from ottla.kafka.consumer import KafkaSource
from ottla.ports import Gap, Load, Message, Progress, SourcePolicy, Start
from ottla.records import TopicPartition
from tests.support.apps import until

ORDERS = TopicPartition("orders", 0)


class Polled:
    """A record as the client gives it."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def topic(self) -> str:
        return ORDERS.topic

    def partition(self) -> int:
        return ORDERS.partition

    def offset(self) -> int:
        return self._offset

    def error(self) -> None:
        return None

    def __len__(self) -> int:
        return 1


class OutOfRange(Polled):
    """The event that the next record of the partition is not in the log."""

    def error(self) -> KafkaError:  # type: ignore[override]
        return KafkaError(KafkaError._AUTO_OFFSET_RESET)


Step = Callable[[], Any]


class ScriptedClient:
    """Does one step of its script in each `poll`, and one in the `consume` behind it."""

    def __init__(self) -> None:
        self.polls: queue.Queue[Step] = queue.Queue()
        self.consumes: queue.Queue[Step] = queue.Queue()
        self.committed_offset = 0
        self.commits: list[int] = []
        self.assigned: list[list[int]] = []
        self.paused: list[TopicPartition] = []
        self.position_now = 0
        self.log = (0, 0)
        self.known: tuple[int, int] | None = None
        self.before_committed: Step = lambda: None
        self.on_commit: Callable[[KafkaError | None, list[ClientPartition]], None]
        self.looks = 0

    def memberid(self) -> str:
        return "a-member"

    def answer(self, offset: int) -> None:
        self.on_commit(None, [ClientPartition(*ORDERS, offset)])

    def subscribe(self, topics: Sequence[str], *, on_assign: Step, on_revoke: Step, on_lost: Step) -> None:
        self._on_assign, self._on_revoke = on_assign, on_revoke

    def assign_at(self, committed_offset: int) -> None:
        self.committed_offset = committed_offset
        self._on_assign(self, [ClientPartition(*ORDERS)])  # type: ignore[call-arg]

    def revoke(self) -> None:
        self._on_revoke(self, [ClientPartition(*ORDERS)])  # type: ignore[call-arg]

    def poll(self, timeout: float) -> Any:
        return self._step(self.polls, timeout)

    def consume(self, most: int, timeout: float) -> list[Any]:
        return self._step(self.consumes, timeout) or []

    @staticmethod
    def _step(steps: queue.Queue[Step], timeout: float) -> Any:
        try:
            step = steps.get(timeout=timeout) if timeout else steps.get_nowait()
        except queue.Empty:
            return None
        return step()

    def committed(self, partitions: Any, timeout: float) -> Any:
        self.before_committed()
        if self.committed_offset == OFFSET_INVALID:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return [ClientPartition(p.topic, p.partition, self.committed_offset) for p in partitions]

    def list_topics(self, topic: str = "", *, timeout: float) -> None:
        self.looks += not topic
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def assign(self, partitions: list[ClientPartition]) -> None:
        self.assigned.append([p.offset for p in partitions])

    incremental_assign = assign

    def incremental_unassign(self, partitions: list[ClientPartition]) -> None: ...
    def resume(self, partitions: list[ClientPartition]) -> None: ...
    def close(self) -> None: ...

    def pause(self, partitions: list[ClientPartition]) -> None:
        self.paused += [TopicPartition(p.topic, p.partition) for p in partitions]

    def get_watermark_offsets(
        self, partition: ClientPartition, timeout: float = -1, *, cached: bool = False
    ) -> tuple[int, int]:
        if not cached:
            return self.log
        if self.known is None:
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
        return self.known

    def position(self, partitions: Any) -> Any:
        return [ClientPartition(*ORDERS, self.position_now)]

    def commit(self, *, offsets: list[ClientPartition], asynchronous: bool) -> None:
        self.commits += [p.offset for p in offsets]


class Sink:
    """Notes what it is told, and lets every revoke go at once."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.troubles: list[Unavailable | None] = []
        self.before_drain: Step = lambda: None

    def load(self) -> Load:
        return Load(0, 0, 0, 0)

    def assigned(self, starts: Sequence[Start]) -> None:
        self.told += [("assigned", start.offset) for start in starts]

    def records(self, batch: Sequence[Message], size: int) -> None:
        self.told += [message.offset() for message in batch]

    def revoking(self, partitions: Sequence[TopicPartition], drained: Callable[[], None]) -> None:
        self.before_drain()
        drained()

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self.told.append("revoked")

    def gap(self, gap: Gap) -> None:
        self.told.append(gap)

    def trouble(self, error: Unavailable | None) -> None:
        self.troubles.append(error)

    def fatal(self, error: FatalClientError | SettingsError) -> None:
        self.told.append(error)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> ScriptedClient:
    client = ScriptedClient()

    def made(properties: dict[str, Any], logger: object) -> ScriptedClient:
        client.on_commit = properties["on_commit"]
        return client

    monkeypatch.setattr(consumer, "Consumer", made)
    return client


def opened(sink: Sink, *, offsets: Offsets | None = None, **properties: str) -> KafkaSource:
    policy = SourcePolicy(
        drain_s=5, commits=CommitPolicy(interval_s=0), offsets=offsets or Offsets(), is_observed=True
    )
    raw = {name.replace("_", "."): value for name, value in properties.items()}
    source = KafkaSource(raw, ["orders"], policy, name="billing/orders")
    source.open(sink)
    return source


async def some_turns_of(source: KafkaSource) -> None:
    for _ in range(3):
        last = source.polled_at
        await until(lambda last=last: source.polled_at > last, what="the poll thread turns")  # type: ignore[misc]


async def test_a_commit_waits_for_the_answer_to_the_one_before_it(client: ScriptedClient) -> None:
    sink = Sink()
    client.polls.put(lambda: client.assign_at(40))
    client.polls.put(lambda: Polled(40))
    source = opened(sink)
    await until(lambda: 40 in sink.told, what="the record is handed over")

    source.publish(Progress({ORDERS: Committable(1, 41, is_idle=False)}, 1))
    await until(lambda: client.commits == [41], what="the first is sent")
    source.publish(Progress({ORDERS: Committable(1, 42, is_idle=False)}, 2))
    await some_turns_of(source)
    while_it_is_awaited = list(client.commits)
    client.polls.put(lambda: client.answer(41))
    await until(lambda: client.commits == [41, 42], what="the second is sent")
    await source.close(1)

    assert while_it_is_awaited == [41]


async def test_on_stop_the_last_commit_is_sent_behind_the_one_that_is_out(client: ScriptedClient) -> None:
    sink, at_the_answer = Sink(), []
    client.polls.put(lambda: client.assign_at(40))
    client.polls.put(lambda: Polled(40))
    source = opened(sink)
    await until(lambda: 40 in sink.told, what="the record is handed over")
    source.publish(Progress({ORDERS: Committable(1, 41, is_idle=False)}, 1))
    await until(lambda: client.commits == [41], what="the first is sent")
    source.publish(Progress({ORDERS: Committable(1, 42, is_idle=False)}, 2))

    def answer() -> None:
        at_the_answer.append(list(client.commits))
        client.answer(41)

    closing = asyncio.create_task(source.close(5))
    await asyncio.sleep(0)
    client.polls.put(answer)
    client.polls.put(lambda: client.answer(42))
    await closing

    assert at_the_answer == [[41]]
    assert client.commits == [41, 42]


async def test_on_stop_what_is_polled_while_an_answer_is_awaited_is_not_committed(
    client: ScriptedClient,
) -> None:
    sink = Sink()
    client.polls.put(lambda: client.assign_at(40))
    client.polls.put(lambda: Polled(40))
    source = opened(sink)
    await until(lambda: 40 in sink.told, what="the record is handed over")
    client.position_now = 41
    source.publish(Progress({ORDERS: Committable(1, 41, is_idle=True)}, 1))
    await until(lambda: client.commits == [41], what="it is committed, and the answer is out")

    def another() -> Polled:
        client.position_now = 42
        return Polled(41)

    closing = asyncio.create_task(source.close(5))
    await asyncio.sleep(0)
    client.polls.put(lambda: None)  # the turn that is under way
    client.polls.put(another)
    client.polls.put(lambda: client.answer(41))
    await closing

    assert 41 not in sink.told
    assert client.commits == [41]


@pytest.mark.parametrize(("protocol", "is_looked_for"), [("classic", True), ("consumer", False)])
async def test_only_a_client_that_joins_by_metadata_is_made_to_look_for_its_topics(
    client: ScriptedClient, monkeypatch: pytest.MonkeyPatch, *, protocol: str, is_looked_for: bool
) -> None:
    monkeypatch.setattr(consumer, "_LOOK_TO_JOIN_S", 0.0)
    source = opened(Sink(), group_protocol=protocol)

    await some_turns_of(source)
    await source.close(1)

    assert bool(client.looks) is is_looked_for


async def test_a_record_polled_before_its_partition_went_and_came_back_lower_does_not_begin_the_new_epoch(
    client: ScriptedClient,
) -> None:
    sink = Sink()

    def rebalance() -> list[Polled]:
        client.revoke()
        client.assign_at(20)
        return []

    client.polls.put(lambda: client.assign_at(40))
    client.polls.put(lambda: Polled(50))
    client.consumes.put(rebalance)
    client.polls.put(lambda: Polled(20))
    source = opened(sink)
    await until(lambda: 20 in sink.told, what="the new epoch's record is handed over")
    await source.close(1)

    assert sink.told[:4] == [("assigned", 40), "revoked", ("assigned", 20), 20]


async def test_a_revoke_inside_consume_does_not_commit_what_was_polled_and_not_handed_over(
    client: ScriptedClient,
) -> None:
    sink = Sink()

    def revoke() -> list[Polled]:
        client.position_now = 51
        client.revoke()
        return []

    client.polls.put(lambda: client.assign_at(40))
    client.polls.put(lambda: Polled(49))
    source = opened(sink)
    await until(lambda: 49 in sink.told, what="the record is handed over")
    client.position_now = 50
    source.publish(Progress({ORDERS: Committable(1, 50, is_idle=True)}, 1))
    await until(lambda: client.commits, what="the record is committed")
    client.consumes.put(revoke)
    client.polls.put(lambda: Polled(50))
    await until(lambda: "revoked" in sink.told, what="the partition is gone")
    await source.close(1)

    assert client.commits == [50]


async def test_the_position_of_an_earlier_epoch_is_not_committed_in_the_next_one(
    client: ScriptedClient,
) -> None:
    sink = Sink()
    client.position_now = 60  # polled up to there before the partition went; finished up to 40
    client.polls.put(lambda: client.assign_at(40))
    source = opened(sink)
    await until(lambda: sink.told == [("assigned", 40)], what="the partition is assigned")
    source.publish(Progress({ORDERS: Committable(1, 40, is_idle=True)}, 0))
    turns = list[int]()
    client.polls.put(lambda: turns.append(1))
    client.polls.put(lambda: turns.append(2))
    await until(lambda: 2 in turns, what="the poll loop turns, and looks for what to commit")
    client.polls.put(lambda: Polled(40))
    await until(lambda: 40 in sink.told, what="the record is handed over")
    client.position_now = 43  # two transaction markers behind it
    source.publish(Progress({ORDERS: Committable(1, 41, is_idle=True)}, 1))
    await until(lambda: 43 in client.commits, what="the markers are passed")
    await source.close(1)

    assert client.commits == [43]


async def test_a_pause_that_was_meant_for_an_epoch_that_is_over_does_not_hold_the_next_one(
    client: ScriptedClient,
) -> None:
    sink = Sink()
    source = opened(sink)
    sink.before_drain = lambda: source.pause(ORDERS)

    def rebalance() -> None:
        client.revoke()
        client.assign_at(40)

    client.polls.put(lambda: client.assign_at(40))
    await until(lambda: sink.told == [("assigned", 40)], what="the partition is assigned")
    source.publish(Progress({ORDERS: Committable(1, 40, is_idle=True)}, 0))
    client.polls.put(rebalance)
    client.polls.put(lambda: Polled(40))
    await until(lambda: 40 in sink.told, what="the record is handed over")
    await source.close(1)

    assert client.paused == []


async def test_partitions_whose_start_is_not_known_yet_are_not_left_to_the_client(
    client: ScriptedClient,
) -> None:
    sink = Sink()
    client.polls.put(lambda: client.assign_at(OFFSET_INVALID))
    source = opened(sink)
    await until(lambda: sink.troubles, what="trouble is told")
    assigned_at_first = list(client.assigned[:1])

    client.committed_offset = 7
    await until(lambda: sink.told, what="the partition is assigned")
    await source.close(1)

    assert assigned_at_first == [[]]
    assert client.assigned[-1] == [7]
    assert sink.told[0] == ("assigned", 7)
    assert isinstance(sink.troubles[0], Unavailable)


@pytest.mark.parametrize("choice", ["stop", "earliest"])
async def test_what_was_polled_before_a_gap_ends_before_the_gap_is_told_or_skipped(
    client: ScriptedClient, choice: Literal["stop", "earliest"]
) -> None:
    """It cannot come again: with a new epoch, or in a stopped partition, it would be dropped."""
    sink = Sink()
    client.log = (90, 100)
    client.polls.put(lambda: client.assign_at(40))
    client.polls.put(lambda: Polled(40))
    client.consumes.put(lambda: [Polled(41), OutOfRange(42)])
    source = opened(sink, offsets=Offsets(on_out_of_range=choice))
    await until(lambda: 41 in sink.told, what="the records before the gap are handed over")
    source.publish(Progress({ORDERS: Committable(1, 41, is_idle=False)}, 1))
    await until(lambda: 41 in client.commits, what="the first of them is committed")
    assert sink.told == [("assigned", 40), 40, 41]

    source.publish(Progress({ORDERS: Committable(1, 42, is_idle=True)}, 2))
    gap = Gap(ORDERS, 42, 90, 100, is_skipped=choice == "earliest")
    await until(lambda: gap in sink.told, what="the gap is told")
    await source.close(5)

    taken_up_anew = ["revoked", ("assigned", 90)] if choice == "earliest" else []
    assert sink.told[3:] == [*taken_up_anew, gap]
    assert 42 in client.commits


async def test_a_poll_thread_that_stands_is_told_by_its_pulse_and_one_that_turns_is_fresh(
    client: ScriptedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one whose log handler never returns, or whose client does not."""
    monkeypatch.setattr(consumer, "STANDS_S", -4.8)  # its longest wait is five seconds
    stands, goes_on = threading.Event(), threading.Event()

    def stand() -> None:
        stands.set()
        goes_on.wait()

    source = opened(Sink())
    await some_turns_of(source)
    while_it_turned = standing([source.pulse()])
    client.polls.put(stand)
    await until(stands.is_set, what="it stands")
    await until(lambda: standing([source.pulse()]), what="that is told")
    while_it_stood = standing([source.pulse()])
    goes_on.set()
    await until(lambda: not standing([source.pulse()]), what="it turns again")
    await source.close(1)

    assert while_it_turned == []
    assert while_it_stood[0].startswith("billing/orders: its poll loop last turned 0.")


async def test_a_source_that_waited_long_for_its_start_is_as_fresh_as_any(client: ScriptedClient) -> None:
    source = KafkaSource({}, ["orders"], SourcePolicy(), name="billing/orders")
    source.polled_at -= 3600  # its topic was not there

    source.open(Sink())
    pulse = source.pulse()
    await source.close(1)

    assert pulse.age_s < 1


async def test_a_question_to_the_broker_is_a_sign_of_life_of_its_own(client: ScriptedClient) -> None:
    """A rebalance asks about each partition in one turn: many slow answers are no dead loop."""
    ages = list[float]()

    def assign_after_a_while() -> None:
        source.polled_at -= 40
        client.assign_at(40)

    client.before_committed = lambda: ages.append(source.pulse().age_s)
    source = opened(sink := Sink())
    client.polls.put(assign_after_a_while)
    await until(lambda: sink.told, what="the partition is assigned")
    await source.close(1)

    assert ages[0] < 1


@pytest.mark.parametrize(
    ("committable", "lag"),
    [
        (Committable(1, 40, is_idle=True), 60),
        (Committable(1, 41, is_idle=False), 59),
        (Committable(1, 100, is_idle=True), 0),
        (Committable(7, 90, is_idle=True), 60),
    ],
    ids=["nothing done", "one done", "all done", "of another epoch"],
)
async def test_the_lag_reaches_from_what_is_done_to_the_end_that_the_client_knows(
    client: ScriptedClient, monkeypatch: pytest.MonkeyPatch, committable: Committable, lag: int
) -> None:
    monkeypatch.setattr(consumer, "_LAG_S", 0.0)
    sink = Sink()
    client.polls.put(lambda: client.assign_at(40))
    source = opened(sink)
    await until(lambda: sink.told, what="the partition is assigned")
    await some_turns_of(source)
    before_anything_is_known = source.figures().lag
    source.publish(Progress({ORDERS: committable}, 0))
    client.known = (0, 100)
    await some_turns_of(source)
    told = source.figures().lag
    client.polls.put(client.revoke)
    await until(lambda: "revoked" in sink.told, what="the partition is gone")
    await some_turns_of(source)
    without_partitions = source.figures().lag
    await source.close(1)

    assert (before_anything_is_known, told, without_partitions) == (None, lag, 0)


async def test_rebalances_pauses_and_the_time_of_commits_are_counted(client: ScriptedClient) -> None:
    sink = Sink()
    client.polls.put(lambda: client.assign_at(40))
    client.polls.put(lambda: Polled(40))
    source = opened(sink)
    await until(lambda: 40 in sink.told, what="the record is handed over")
    source.publish(Progress({ORDERS: Committable(1, 41, is_idle=False)}, 1))
    await until(lambda: client.commits == [41], what="it is committed")
    await asyncio.sleep(0.15)  # the broker takes its time
    client.polls.put(lambda: client.answer(41))
    for pause_or_resume in (source.pause, source.pause, source.resume, source.pause):
        pause_or_resume(ORDERS)
    await some_turns_of(source)
    client.polls.put(client.revoke)
    await until(lambda: "revoked" in sink.told, what="the partition is gone")
    figures = source.figures()
    await source.close(1)

    assert (figures.rebalances, figures.pauses) == (2, 2)
    assert sum(figures.commits.counts) == 1
    assert 0.1 < figures.commits.sum_s < 5


async def test_a_property_that_the_client_refuses_is_told_and_the_source_ends() -> None:
    sink = Sink()
    source = KafkaSource({"group.id": "g", "no.such": "x"}, ["orders"], SourcePolicy(), name="billing/orders")

    source.open(sink)
    await until(lambda: sink.told, what="it is told")
    await source.close(1)

    (error,) = sink.told
    assert isinstance(error, SettingsError)
    assert 'No such configuration property: "no.such"' in str(error)
