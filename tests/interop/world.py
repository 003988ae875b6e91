"""Two services on one broker: Spring Kafka's and Ottla's, and all that is seen of them.

The Spring side has no HTTP: it reads `commands`, and tells `seen` what its listeners are
given. The Ottla side is two apps: the service `py-orders`, with Spring's names of topics,
and an observer that reads every other topic as bytes.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal

from pydantic import BaseModel

from ottla import App, Never, Record, SendResult, Topic
from ottla.embedded.guarded import GuardedServer
from ottla.topics import Key
from tests.support.apps import running, settings_for, until
from tests.support.kafka_server import ROOT, Kafka, java

PARTITIONS = 3
RETRY_1, RETRY_2, SPRINGS_PAY_DLT = "sk.pay-retry-1000", "sk.pay-retry-2000", "sk.pay-dlt"
_READ_BY_SPRING = ("commands", "sk.orders", "sk.pay")
_READ_BY_THE_SERVICE = ("py.orders",)
_OBSERVED = (
    "sk.orders-dlt",
    RETRY_1,
    RETRY_2,
    SPRINGS_PAY_DLT,
    "py.orders-dlt",
    "keys.java",
    "keys.python",
)
TOPICS = ("seen", *_READ_BY_SPRING, *_READ_BY_THE_SERVICE, *_OBSERVED)

_JAR = ROOT / "tests" / "interop" / "spring" / "target" / "interop.jar"
_LOG = "spring.log"
_START_S = 60.0


class Order(BaseModel):
    """As `ottla.interop.Order` has it."""

    id: str
    qty: int


class HeaderSeen(BaseModel):
    """A header as Java saw it: the simple name of its class; bytes are base64."""

    type: str
    value: Any


class Seen(BaseModel):
    """What a listener of the Spring side was given. `typed` are parameters of their own."""

    listener: str
    at_ms: int
    key: str | None
    value: Any
    headers: dict[str, HeaderSeen]
    typed: dict[str, Any]


class BadQuantity(Exception):
    """What the service fails with."""


class Spring:
    """The Spring side's process; it ends with this one."""

    def __init__(self, kafka: Kafka) -> None:
        self._server = GuardedServer("ottla-interop-")
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("SPRING_", "LOGGING_"))
        }
        self._server.start(
            [
                java(),
                "-Xmx192m",
                "-XX:TieredStopAtLevel=1",  # starts sooner; nothing is measured
                "-jar",
                str(_JAR),
                f"--spring.kafka.bootstrap-servers={kafka.bootstrap_servers}",
            ],
            log=_LOG,
            env=inherited,
        )

    def has_ended(self) -> bool:
        """Whether the process is over."""
        return self._server.exit_code() is not None

    def log(self) -> str:
        """The end of what it has said."""
        return self._server.tail(_LOG, 4_000)

    def close(self) -> None:
        """End the process."""
        self._server.close()


class World:
    """What a check may do, and what was seen so far. Checks share the topics: each has keys of its own."""

    def __init__(self, kafka: Kafka, spring: Spring) -> None:
        self.kafka = kafka
        self._spring = spring
        self.handled: list[tuple[Order, Record]] = []
        """What the service's handler was given."""
        self.waits_for = "nothing"
        """What a check that is cut short was waiting for."""
        # By where they stand: when the observer's group rebalances, a record may come twice.
        self._seen: dict[tuple[int, int], Seen] = {}
        self._records: dict[str, dict[tuple[int, int], Record]] = defaultdict(dict)
        settings = settings_for(kafka, KAFKA_NAMING="spring")
        self.service = App("py-orders", settings=settings)
        self.observer = App("observer", settings=settings)
        self._declare()

    def _declare(self) -> None:
        @self.service.listener(Topic("py.orders", Order), retry=Never())
        async def take(order: Order, record: Record) -> None:
            self.handled.append((order, record))
            if order.qty < 0:
                raise BadQuantity(f"{order.qty} is no quantity") from ValueError(order.qty)

        @self.observer.listener(Topic("seen", Seen), dead_letter=False)
        async def see(seen: Seen, record: Record) -> None:
            self._seen[record.partition, record.offset] = seen

        for name in _OBSERVED:

            @self.observer.listener(Topic(name, bytes), dead_letter=False)
            async def observe(_: bytes | None, record: Record) -> None:
                self._records[record.topic][record.partition, record.offset] = record

    async def fill(self) -> None:
        """Sound records in front of all others: an offset of 0 reads the same in any encoding."""
        for topic in ("py.orders", "sk.orders", "sk.pay"):
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

    async def seen(self, listener: str, key: str, count: int = 1) -> list[Seen]:
        """What `listener` of the Spring side was given under `key`, once that is `count` times."""

        def found() -> list[Seen]:
            return [seen for seen in self._seen.values() if (seen.listener, seen.key) == (listener, key)]

        await self._until(lambda: len(found()) >= count, f"Spring's {listener} sees {key} {count} times")
        return found()

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

    async def handles(self, key: bytes) -> tuple[Order, Record]:
        """What the service's handler is given under `key`."""

        def found() -> list[tuple[Order, Record]]:
            return [handled for handled in self.handled if handled[1].key == key]

        await self._until(found, f"the service handles {key!r}")
        return found()[0]

    async def _until(self, condition: Callable[[], Any], what: str) -> None:
        self.waits_for = what
        await until(condition, what=what)


@asynccontextmanager
async def both_sides(kafka: Kafka, spring: Spring) -> AsyncIterator[World]:
    """Ottla's side runs, and Spring's is ready."""
    world = World(kafka, spring)
    async with AsyncExitStack() as exits:
        await exits.enter_async_context(running(world.service, world.observer))
        await world.until_spring_is_ready()
        await world.fill()
        yield world
