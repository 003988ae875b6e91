"""A slow handler and a long queue: memory is bounded by settings, not by lag."""

from __future__ import annotations

import asyncio

from ottla import App, Topic
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, source_of, until
from tests.support.kafka_server import Kafka

MOST = 100
# While the buffer is full one record each 100 ms is polled for two seconds, then everything pauses.
RESERVE = 21
MB = 1024 * 1024
# What the client has fetched meanwhile comes in one piece: `queued.max.messages.kbytes`, and a fetch over it.
CLIENT_MB = 32 + 1


async def test_the_buffer_stays_within_its_bound_while_it_is_full_paused_and_resumed(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    topic = new_topic(partitions=2)
    kafka.create_topic(f"{topic}-{unique}-dlt")
    app = App(unique, settings=settings_for(kafka, KAFKA_BUFFERED_RECORDS=str(MOST)))
    handled, most, gate = list[int](), 0, asyncio.Event()

    @app.listener(Topic(topic, int), concurrency=8)
    async def on_record(value: int) -> None:
        nonlocal most
        await gate.wait()
        most = max(most, app._engines[0].load().records)
        handled.append(value)

    produce(kafka, topic, [(None, str(number)) for number in range(3000)])
    async with running(app):
        pacing = source_of(app)._pacing
        await until(lambda: pacing.is_paused, what="the partitions are paused")
        when_paused = app._engines[0].load().records
        gate.set()
        await until(lambda: not pacing.is_paused, what="the partitions are resumed")
        await until(lambda: len(handled) >= 3000, what="every record is handled")

    assert MOST <= when_paused <= MOST + RESERVE
    assert most <= MOST + RESERVE
    assert sorted(handled) == list(range(3000))
    assert sum(committed(kafka, unique, topic).values()) == 3000


async def test_the_bound_in_megabytes_holds_too(kafka: Kafka, new_topic: NewTopic, unique: str) -> None:
    topic = new_topic()
    kafka.create_topic(f"{topic}-{unique}-dlt")
    app = App(unique, settings=settings_for(kafka, KAFKA_BUFFERED_MB="1"))
    handled, gate = list[int](), asyncio.Event()

    @app.listener(Topic(topic, bytes), concurrency=4)
    async def on_record(value: bytes) -> None:
        await gate.wait()
        handled.append(len(value))

    produce(kafka, topic, [(None, b"x" * 50_000)] * 1200)
    async with running(app):
        await until(lambda: source_of(app)._pacing.is_paused, what="the partition is paused")
        size = app._engines[0].load().size
        gate.set()
        await until(lambda: len(handled) >= 1200, what="every record is handled")

    assert MB <= size <= (1 + CLIENT_MB) * MB
    assert handled == [50_000] * 1200
    assert committed(kafka, unique, topic) == {0: 1200}
