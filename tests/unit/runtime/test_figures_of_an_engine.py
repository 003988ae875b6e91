"""What an engine tells of its work, while records succeed, fail, wait and are given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from ottla.core.backoff import InPlace
from ottla.core.decide import Conflicted, Ended, Failed, GivenUp, Outcome, Reason, SendOn
from ottla.core.figures import NOTHING, Histogram, WorkFigures
from ottla.core.guard import Guard, GuardState
from ottla.errors import SendTimedOut, TransactionConflict
from ottla.ports import Progress, RecordSink, Start
from ottla.records import TopicPartition
from ottla.runtime.assignment import Delivery
from ottla.runtime.engine import Engine, EnginePolicy
from ottla.runtime.lifecycle import Health
from ottla.testing import ManualClock

ORDERS = TopicPartition("orders", 0)
NO_END = Guard(run=1000, ratio=1)


@dataclass
class Message:
    at: int

    def topic(self) -> str:
        return ORDERS.topic

    def partition(self) -> int:
        return ORDERS.partition

    def offset(self) -> int:
        return self.at

    def key(self) -> bytes | None:
        return str(self.at).encode()

    def value(self) -> bytes | None:
        return b""

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    def __len__(self) -> int:
        return 0


class Source:
    def open(self, sink: RecordSink) -> None: ...
    def publish(self, progress: Progress) -> None: ...
    def pause(self, partition: TopicPartition) -> None: ...
    def resume(self, partition: TopicPartition) -> None: ...
    def quiesce(self) -> None: ...
    def leave(self, bound_s: float) -> None: ...
    async def close(self, bound_s: float) -> None: ...


class Listener:
    """An engine whose handlers end when a test ends them."""

    def __init__(self, *, handler_durations: Histogram | None = None, guard: Guard = NO_END) -> None:
        self.clock = ManualClock()
        self.calls: dict[int, asyncio.Future[Outcome]] = {}
        self.has_dead_letter_topic = True
        self.crashes: list[BaseException] = []
        self.engine = Engine(
            "billing/orders",
            EnginePolicy(retry=InPlace(attempts=2, first_s=1, max_s=1)),
            source=Source(),
            invoke=self._invoke,
            settlement=self,
            guard=GuardState(guard),
            health=Health(),
            clock=self.clock,
            chance=lambda: 0.5,
            on_fatal=self.crashes.append,
            handler_durations=handler_durations,
        )

    async def _invoke(self, delivery: Delivery) -> Outcome:
        self.calls[delivery.offset] = asyncio.get_running_loop().create_future()
        return await self.calls[delivery.offset]

    async def send_on(self, delivery: Delivery, decision: SendOn) -> None:
        if not self.has_dead_letter_topic:
            raise SendTimedOut("nobody is there", topic="orders-dlt")

    async def poll(self, *offsets: int) -> None:
        self.engine.records([Message(offset) for offset in offsets], 0)
        await turn()

    async def end(self, offset: int, outcome: Outcome = Ended.SUCCEEDED) -> None:
        self.calls[offset].set_result(outcome)
        await turn()

    async def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await turn()


async def turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Listener]:
    listener = Listener(**options)
    listener.engine.start()
    listener.engine.assigned([Start(ORDERS, 1, 0)])
    try:
        yield listener
    finally:
        for call in listener.calls.values():
            call.cancel()
        await listener.engine.stop(0.1)
    assert listener.crashes == []


FAILED = Failed(ValueError())
GIVEN_UP = GivenUp(ValueError(), Reason.HANDLER)


async def test_an_idle_engine_has_nothing_to_tell() -> None:
    async with running() as listener:
        assert listener.engine.figures() == WorkFigures()


async def test_what_runs_what_waits_and_what_has_ended_is_told_apart() -> None:
    async with running() as listener:
        await listener.poll(0, 1, 2, 3)
        await listener.end(0)
        await listener.end(1, Ended.SKIPPED)
        await listener.end(2, FAILED)
        figures = listener.engine.figures()

    assert (figures.in_flight, figures.backing_off, figures.buffered) == (1, 1, 2)
    assert (figures.succeeded, figures.skipped, figures.retried) == (1, 1, 1)
    assert (figures.duplicates, figures.dead_lettered, figures.stopped_partitions) == (0, 0, 0)


async def test_a_conflict_of_transactions_is_told_and_is_no_retry() -> None:
    async with running() as listener:
        await listener.poll(0)
        for _ in range(2):
            await listener.end(0, Conflicted(TransactionConflict("a deadlock")))
            await listener.wait(60)
        await listener.end(0)
        figures = listener.engine.figures()

    assert (figures.conflicts, figures.retried, figures.succeeded) == (2, 0, 1)


async def test_the_oldest_record_is_as_old_as_its_poll_until_it_has_ended() -> None:
    async with running() as listener:
        await listener.poll(0, 1)
        await listener.wait(5)
        await listener.poll(2)
        await listener.end(1)
        await listener.wait(3)
        behind_a_stuck_one = listener.engine.figures().oldest_s
        await listener.end(0)
        behind_the_last = listener.engine.figures().oldest_s
        await listener.end(2)
        at_the_end = listener.engine.figures().oldest_s

    assert (behind_a_stuck_one, behind_the_last, at_the_end) == (8, 3, 0)


async def test_a_record_that_is_given_up_is_told_once_its_dead_letter_is_written() -> None:
    async with running() as listener:
        listener.has_dead_letter_topic = False
        await listener.poll(0)
        await listener.end(0, FAILED)
        await listener.wait(1)
        await listener.end(0, FAILED)
        for _ in range(3):
            await listener.wait(5)
        while_it_cannot = listener.engine.figures()
        listener.has_dead_letter_topic = True
        await listener.wait(30)
        once_it_can = listener.engine.figures()

    assert (while_it_cannot.stopped_partitions, while_it_cannot.dead_lettered) == (1, 0)
    assert (once_it_can.stopped_partitions, once_it_can.dead_lettered) == (0, 1)
    assert (once_it_can.succeeded, once_it_can.retried, once_it_can.buffered) == (0, 1, 0)


async def test_what_the_flood_guard_holds_back_is_told() -> None:
    async with running(guard=Guard(run=1, ratio=1)) as listener:
        await listener.poll(0, 1, 2)
        for offset in (0, 1, 2):
            await listener.end(offset, GIVEN_UP)
        figures = listener.engine.figures()

    assert (figures.dead_lettered, figures.held_back, figures.guard_trips) == (1, 2, 1)


async def test_a_count_that_was_told_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prometheus takes it for a restart, and adds all that was counted once more."""
    async with running() as listener:
        await listener.poll(0)
        await listener.end(0)
        engine = listener.engine
        engine._finished += 1  # between the two steps of a dead letter's end
        told_in_between = engine.figures().succeeded
        engine._dead_lettered += 1
        told_afterwards = engine.figures().succeeded

    assert told_in_between == told_afterwards == 2


@pytest.mark.parametrize("make", [Histogram, None], ids=["asked for", "not asked for"])
async def test_each_call_of_the_handler_is_timed_only_where_somebody_asks(
    make: Callable[[], Histogram] | None,
) -> None:
    async with running(**({} if make is None else {"handler_durations": make()})) as listener:
        await listener.poll(0, 1)
        await asyncio.sleep(0.03)
        await listener.end(0)
        await listener.end(1, FAILED)
        await listener.wait(1)
        await listener.end(1)
        handler = listener.engine.figures().handler

    if make is None:
        assert handler == NOTHING
    else:
        assert sum(handler.counts) == 3
        assert 0.05 < handler.sum_s < 5
        assert handler.counts[0] == 1  # the second attempt, which did not wait
