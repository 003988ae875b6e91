"""Two services on one broker: Spring Kafka's and Ottla's, and all that is seen of them.

The Spring side has no HTTP: it reads `commands`, and tells `seen` what its listeners are
given. The Ottla side is two apps: the service `py-orders`, with Spring's names of topics,
and an observer that reads other topics as bytes. A check may run further apps.
"""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel

from ottla import App, Never, Record, RetryTopics, SendResult, Topic
from ottla.records import Headers
from ottla.topics import Key
from tests.interop.spring_side import Seen, Spring
from tests.support.apps import DEADLINE_S, committed, running, settings_for, until
from tests.support.kafka_server import Kafka

PARTITIONS = 3
RETRIES = RetryTopics(attempts=3, first_s=1.0, factor=2.0)
"""As the Spring side's `attempts = "3", backOff = @BackOff(delay = 1000, multiplier = 2)`."""
_TO_PYTHON, _FROM_PYTHON = "sk.handover-a", "sk.handover-b"
_REPLAYED_TO_PYTHON, _REPLAYED_FROM_PYTHON = "sk.replay-a", "sk.replay-b"
_FAILS_BY_SPRING = (
    "sk.orders-dlt",
    *("sk.pay-retry-1000", "sk.pay-retry-2000", "sk.pay-dlt"),
    f"{_TO_PYTHON}-retry-1000",
    f"{_FROM_PYTHON}-retry-2000",
    f"{_REPLAYED_TO_PYTHON}-dlt",
)
"""Where the Spring side puts records that have failed; the Python side writes to some of them as well."""
_SOUND = (
    *("sk.orders", "sk.pay", _TO_PYTHON, _FROM_PYTHON, _REPLAYED_TO_PYTHON, _REPLAYED_FROM_PYTHON),
    *("py.orders", "py.retries"),
)
_OBSERVED = (
    *_FAILS_BY_SPRING,
    *(_TO_PYTHON, f"{_TO_PYTHON}-retry-2000", f"{_TO_PYTHON}-dlt", f"{_FROM_PYTHON}-retry-1000"),
    *(_REPLAYED_TO_PYTHON, f"{_REPLAYED_TO_PYTHON}-retry-1000", f"{_REPLAYED_FROM_PYTHON}-dlt"),
    "py.orders-dlt",
    *("py.retries-retry-200", "py.retries-retry-400", "py.retries-dlt"),
    *("keys.java", "keys.python"),
)
_UNSEEN = (
    f"{_FROM_PYTHON}-dlt",
    f"{_REPLAYED_TO_PYTHON}-retry-2000",
    *(f"{_REPLAYED_FROM_PYTHON}-retry-1000", f"{_REPLAYED_FROM_PYTHON}-retry-2000"),
)
TOPICS = tuple(dict.fromkeys(("seen", "commands", *_SOUND, *_OBSERVED, *_UNSEEN)))

_START_S = 60.0


class Order(BaseModel):
    """As `ottla.interop.Order` has it."""

    id: str
    qty: int

    def fails_at(self, attempt: int) -> bool:
        """Ids that begin with `fail2` fail twice, others that begin with `fail` always."""
        return attempt <= 2 if self.id.startswith("fail2") else self.id.startswith("fail")


class Call(NamedTuple):
    """What a handler of ours was given."""

    at_ms: int
    order: Order
    record: Record


class BadQuantity(Exception):
    """What the service's listener of orders fails with."""


class NoFunds(Exception):
    """What our listeners with retry topics fail with."""


class World:
    """What a check may do, and what was seen so far. Checks share the topics: each has keys of its own."""

    def __init__(self, kafka: Kafka, spring: Spring) -> None:
        self.kafka = kafka
        self._spring = spring
        self.handled: list[Call] = []
        """What the service's handlers were given."""
        self.waits_for = "nothing"
        """What a check that is cut short was waiting for."""
        # By where they stand: when the observer's group rebalances, a record may come twice.
        self._seen: dict[tuple[int, int], Seen] = {}
        self._records: dict[str, dict[tuple[int, int], Record]] = defaultdict(dict)
        self._settings = settings_for(kafka, KAFKA_NAMING="spring")
        self.service = App("py-orders", settings=self._settings)
        self.observer = App("observer", settings=self._settings)
        self._declare()

    def _declare(self) -> None:
        @self.service.listener(Topic("py.orders", Order), retry=Never())
        async def take(order: Order, record: Record) -> None:
            self.handled.append(Call(_now_ms(), order, record))
            if order.qty < 0:
                raise BadQuantity(f"{order.qty} is no quantity") from ValueError(order.qty)

        retries = RetryTopics(attempts=3, first_s=0.2, factor=2.0)
        _handle(self.service, "py.retries", retries, no_funds, self.handled)

        @self.observer.listener(Topic("seen", Seen), dead_letter=False)
        async def see(seen: Seen, record: Record) -> None:
            self._seen[record.partition, record.offset] = seen

        for name in _OBSERVED:

            @self.observer.listener(Topic(name, bytes), dead_letter=False)
            async def observe(_: bytes | None, record: Record) -> None:
                self._records[record.topic][record.partition, record.offset] = record

    async def fill(self) -> None:
        """Sound records in front of all others: an offset of 0 reads the same in any encoding."""
        for topic in _SOUND:
            for partition in range(PARTITIONS):
                for number in range(2):
                    order = Order(id=f"filler-{number}", qty=1)
                    await self.send(topic, order, key="filler", partition=partition)

    async def until_spring_is_ready(self) -> None:
        """Raises AssertionError when it is not, or has ended."""

        def is_ready() -> bool:
            assert not self._spring.has_ended(), "the Spring application has ended"
            return any(seen.listener == "started" for seen in self._seen.values())

        await until(is_ready, what="the Spring application has started", within_s=_START_S)

    async def send(
        self,
        topic: str,
        value: Order | bytes,
        *,
        key: Key,
        headers: Mapping[str, str | bytes | None] | None = None,
        partition: int | None = None,
    ) -> SendResult:
        """Send by the service's template; an order under Spring's token of its type, which the peer needs."""
        token = {"__TypeId__": "order"} if topic.startswith("sk.") else {}
        return await self.service.template.send(
            topic, value, key=key, headers={**token, **(headers or {})}, partition=partition
        )

    async def spring_sends(
        self,
        mode: Literal["TYPED", "MESSAGE", "RAW"],
        topic: str,
        value: Order | bytes,
        *,
        key: str,
        headers: Mapping[str, str | int] | None = None,
    ) -> None:
        """Have the Spring side send: a ProducerRecord of an order, a Message, or bytes."""
        command: dict[str, Any] = {"topic": topic, "key": key, "mode": mode, "headers": dict(headers or {})}
        if isinstance(value, Order):
            command["order"] = value.model_dump()
        else:
            command["bytes"] = b64encode(value).decode()
        await self.service.template.send("commands", json.dumps(command).encode())

    async def spring_starts(self, *listeners: str) -> None:
        """Have listeners of the Spring side read, by their ids; they may not have joined their groups yet."""
        await self._commands("START", listeners)

    async def spring_stops(self, *listeners: str) -> None:
        """Have them leave their groups; returns when they have."""
        await self._commands("STOP", listeners)

    async def _commands(self, mode: str, listeners: tuple[str, ...]) -> None:
        for listener in listeners:
            command = {"mode": mode, "listener": listener}
            await self.service.template.send("commands", json.dumps(command).encode())

        def obeyed() -> set[str]:
            return {seen.value for seen in self._seen.values() if seen.listener == mode}

        await self._until(lambda: obeyed() >= set(listeners), f"Spring has obeyed: {mode} {listeners}")

    @asynccontextmanager
    async def handling(
        self, topic: str, *, group: str, act: Callable[[Order, int], None] | None = None
    ) -> AsyncIterator[list[Call]]:
        """A service of `group` listens to `topic` with RETRIES and does `act`; what it is given."""
        app, calls = App(group, settings=self._settings), list[Call]()
        _handle(app, topic, RETRIES, act or no_funds, calls)
        async with running(app):
            yield calls

    async def calls(self, calls: list[Call], key: str, count: int) -> list[Call]:
        """Those under `key`, once that is `count` times."""

        def found() -> list[Call]:
            return [call for call in calls if call.record.key == key.encode()]

        await self._until(lambda: len(found()) >= count, f"our handler is given {key!r} {count} times")
        return found()

    async def commits(self, group: str, record: Record) -> None:
        """Return once `group` of either side has committed `record`."""

        async def is_committed() -> bool:
            offsets = await asyncio.to_thread(committed, self.kafka, group, record.topic)
            return offsets.get(record.partition, 0) > record.offset

        await self._until(is_committed, f"{group} commits offset {record.offset} of {record.topic}")

    def failed_by_spring(self) -> dict[str, list[Headers]]:
        """The headers of what the Spring side has put on retry and dead-letter topics, by topic."""
        return {
            topic: [
                record.headers for record in self._records[topic].values() if _is_of_spring(record.headers)
            ]
            for topic in _FAILS_BY_SPRING
        }

    async def seen(self, listener: str, key: str, count: int = 1) -> list[Seen]:
        """What `listener` of the Spring side was given under `key`, once that is `count` times."""
        what = f"Spring's {listener} sees {key} {count} times"
        await self._until(lambda: len(self.seen_so_far(listener, key)) >= count, what)
        return self.seen_so_far(listener, key)

    def seen_so_far(self, listener: str, key: str) -> list[Seen]:
        """What is known by now of what `listener` of the Spring side was given under `key`."""
        return [seen for seen in self._seen.values() if (seen.listener, seen.key) == (listener, key)]

    async def record(self, topic: str, key: bytes) -> Record:
        """The first record of `key` that the observer reads on `topic`."""

        def found() -> list[Record]:
            return [record for record in self._records[topic].values() if record.key == key]

        await self._until(found, f"{topic} has a record of {key!r}")
        return found()[0]

    async def records(self, topic: str, count: int) -> list[Record]:
        """What the observer has read on `topic`, once that is `count` records."""
        await self._until(lambda: len(self._records[topic]) >= count, f"{topic} has {count} records")
        return list(self._records[topic].values())

    def topics(self) -> set[str]:
        """The names of all topics on the broker, whoever made them."""
        return set(self.kafka.admin().list_topics(timeout=DEADLINE_S).topics)

    async def handles(self, key: str) -> tuple[Order, Record]:
        """What the service's handler is given under `key`."""
        (call, *_) = await self.calls(self.handled, key, 1)
        return call.order, call.record

    async def _until(self, condition: Callable[[], Any], what: str) -> None:
        self.waits_for = what
        await until(condition, what=what)


def no_funds(order: Order, attempt: int) -> None:
    """Fail as the order's id says."""
    if order.fails_at(attempt):
        raise NoFunds(f"no funds at {attempt}") from ValueError(order.id)


def _handle(
    app: App, topic: str, retry: RetryTopics, act: Callable[[Order, int], None], calls: list[Call]
) -> None:
    @app.listener(Topic(topic, Order), retry=retry)
    async def handle(order: Order, record: Record) -> None:
        calls.append(Call(_now_ms(), order, record))
        act(order, record.attempt)


def _is_of_spring(headers: Headers) -> bool:
    """By the names and bytes of Java alone, for our reading of them is what is checked."""
    return any(
        name.endswith("exception-fqcn") and (value or b"").startswith(b"org.springframework.")
        for name, value in headers
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def both_sides(kafka: Kafka, spring: Spring) -> AsyncIterator[World]:
    """Ottla's side runs, and Spring's is ready."""
    world = World(kafka, spring)
    async with AsyncExitStack() as exits:
        await exits.enter_async_context(running(world.service, world.observer))
        await world.until_spring_is_ready()
        await world.fill()
        yield world
