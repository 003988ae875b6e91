"""The contract of brokers, on the in-memory broker of `ottla.testing`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from ottla import App
from ottla.testing import InMemoryBroker
from tests.contract.test_broker import GAPS, BrokerContract, Harness, Written
from tests.contract.test_broker_detours import DetourContract


class InMemoryHarness:
    lacks = GAPS["in-memory"]

    def __init__(self) -> None:
        self.broker = InMemoryBroker()
        self._environment: dict[App, dict[str, str]] = {}

    def new_name(self) -> str:
        return f"n-{uuid.uuid4().hex[:8]}"

    def app(self, name: str, **environment: str) -> App:
        app = App(name)
        self._environment[app] = environment
        return app

    async def create_topic(self, name: str, partitions: int) -> None:
        self.broker.create_topic(name, partitions)

    async def produce(
        self,
        topic: str,
        records: Iterable[tuple[str | bytes | None, str | bytes | None]],
        *,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        timestamp_ms: int | None = None,
    ) -> None:
        for key, value in records:
            await self.broker.send(
                topic, value, key=key, headers=headers, partition=partition, timestamp_ms=timestamp_ms
            )

    async def read(self, topic: str) -> list[Written]:
        return [Written(r.partition, r.key, r.value, r.headers) for r in self.broker.records(topic)]

    async def committed(self, group: str, topic: str) -> Mapping[int, int]:
        return self.broker.committed(group, topic)

    async def remove_before(self, topic: str, partition: int, offset: int) -> None:
        raise AssertionError("a test that needs this asks for Ability.RETENTION first")

    @asynccontextmanager
    async def running(self, *apps: App) -> AsyncIterator[None]:
        environment = {name: value for app in apps for name, value in self._environment[app].items()}
        async with self.broker.run(*apps, **environment):
            yield

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Both loop and clock turn: `settle` would wait for handlers that a test keeps from ending."""
        for _ in range(10_000):
            if condition():
                return
            await asyncio.sleep(0)
            self.broker.clock.advance(0.01)
        raise AssertionError(f"not within 100 s of the clock: {what}")

    async def until_committed(self, group: str, topic: str, count: int) -> None:
        await self.until(
            lambda: sum(self.broker.committed(group, topic).values()) >= count, f"{count} are committed"
        )


class TestInMemoryBroker(BrokerContract, DetourContract):
    @pytest.fixture
    def harness(self) -> Harness:
        return InMemoryHarness()
