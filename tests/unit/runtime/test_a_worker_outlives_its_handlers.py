"""A worker serves one record after another: what one handler does to its task must not reach the next."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from ottla.core.backoff import InPlace
from ottla.core.decide import Bury, Reason, SendOn
from ottla.core.guard import Guard, GuardState
from ottla.ports import Progress, RecordSink, Start
from ottla.records import TopicPartition
from ottla.runtime.assignment import Delivery
from ottla.runtime.engine import Engine, EnginePolicy
from ottla.runtime.invoker import Call, Invoker
from ottla.runtime.lifecycle import Health, LoopClock

ORDERS = TopicPartition("orders", 0)


@dataclass
class Message:
    at: int
    its_value: bytes

    def topic(self) -> str:
        return ORDERS.topic

    def partition(self) -> int:
        return ORDERS.partition

    def offset(self) -> int:
        return self.at

    def key(self) -> bytes | None:
        return b"key"

    def value(self) -> bytes | None:
        return self.its_value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    def __len__(self) -> int:
        return len(self.its_value)


class Source:
    def open(self, sink: RecordSink) -> None: ...
    def publish(self, progress: Progress) -> None: ...
    def pause(self, partition: TopicPartition) -> None: ...
    def resume(self, partition: TopicPartition) -> None: ...
    def quiesce(self) -> None: ...
    def leave(self, bound_s: float) -> None: ...
    async def close(self, bound_s: float) -> None: ...


@dataclass
class Graves:
    buried: asyncio.Future[SendOn] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def send_on(self, delivery: Delivery, decision: SendOn) -> None:
        self.buried.set_result(decision)


async def test_a_cancellation_that_a_handler_swallows_does_not_cancel_the_next() -> None:
    begun = asyncio.Event()

    async def handle(value: bytes) -> None:
        if value == b"is cancelled itself":
            raise asyncio.CancelledError
        try:
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    graves, crashes = Graves(), list[BaseException]()
    engine = Engine(
        "billing/orders",
        EnginePolicy(concurrency=1, retry=InPlace(attempts=1)),
        source=Source(),
        invoke=Invoker(
            "billing/orders",
            Call(handle, is_async=True, decode=lambda value: value, payload="value"),
            is_fatal=lambda _: False,
            inbox=None,
            threads=None,
        ),
        settlement=graves,
        guard=GuardState(Guard()),
        health=Health(),
        clock=LoopClock(asyncio.get_running_loop()),
        chance=lambda: 0.5,
        on_fatal=crashes.append,
    )

    def poll(epoch: int, messages: Sequence[Message]) -> None:
        engine.assigned([Start(ORDERS, epoch, messages[0].at)])
        engine.records(messages, sum(map(len, messages)))

    engine.start()
    try:
        poll(1, [Message(0, b"swallows its cancellation")])
        await begun.wait()
        engine.revoked([ORDERS])
        poll(2, [Message(1, b"is cancelled itself")])
        decision = await asyncio.wait_for(graves.buried, 5)
    finally:
        await engine.stop(1)

    assert isinstance(decision, Bury)
    assert decision.reason is Reason.EXHAUSTED
    assert crashes == []
