"""The contract of brokers, on the embedded broker and on real Kafka: what holds in memory holds there."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import cast

import pytest

from ottla import App, Headers
from ottla.embedded import EmbeddedKafka
from ottla.ports import Message
from tests.contract.test_broker import GAPS, Ability, BrokerContract, Harness, Written
from tests.contract.test_broker_detours import DetourContract
from tests.support.apps import committed, produce, read_all, running, settings_for, until
from tests.support.kafka_server import Kafka


def _written(message: Message) -> Written:
    headers = Headers(message.headers() or ())
    return Written(message.partition(), message.key(), message.value(), headers)


class ServerHarness:
    def __init__(
        self, kafka: Kafka, create_topic: Callable[[str, int], None], lacks: frozenset[Ability]
    ) -> None:
        self.lacks = lacks
        self._kafka = kafka
        self._create_topic = create_topic

    def new_name(self) -> str:
        return f"contract-{uuid.uuid4().hex[:12]}"

    def app(self, name: str, **environment: str) -> App:
        return App(name, settings=settings_for(self._kafka, **environment))

    async def create_topic(self, name: str, partitions: int) -> None:
        await asyncio.to_thread(self._create_topic, name, partitions)

    async def produce(
        self,
        topic: str,
        records: Iterable[tuple[str | bytes | None, str | bytes | None]],
        *,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        timestamp_ms: int | None = None,
    ) -> None:
        def write() -> None:
            produce(
                self._kafka, topic, records, partition=partition, headers=headers, timestamp_ms=timestamp_ms
            )

        await asyncio.to_thread(write)

    async def read(self, topic: str) -> list[Written]:
        found = await asyncio.to_thread(read_all, self._kafka, topic)
        return [_written(cast("Message", message)) for message in found]

    async def committed(self, group: str, topic: str) -> Mapping[int, int]:
        return await asyncio.to_thread(committed, self._kafka, group, topic)

    async def remove_before(self, topic: str, partition: int, offset: int) -> None:
        await asyncio.to_thread(self._kafka.delete_records, topic, partition, offset)

    def running(self, *apps: App) -> AbstractAsyncContextManager[None]:
        return running(*apps)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        await until(condition, what=what)

    async def until_committed(self, group: str, topic: str, count: int) -> None:
        async def is_committed() -> bool:
            return sum((await self.committed(group, topic)).values()) >= count

        await until(is_committed, what=f"{count} are committed")


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka() as server:
        yield server


class TestEmbeddedKafka(BrokerContract, DetourContract):
    @pytest.fixture
    def harness(self, embedded: EmbeddedKafka) -> Harness:
        return ServerHarness(Kafka(embedded.bootstrap_servers), embedded.create_topic, GAPS["embedded"])


class TestKafka(BrokerContract, DetourContract):
    @pytest.fixture
    def harness(self, kafka: Kafka) -> Harness:
        return ServerHarness(kafka, kafka.create_topic, GAPS["kafka"])
