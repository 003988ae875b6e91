"""Retention removes records that a group has not handled yet.

They are lost whatever a client does; what it must not do is jump over them without a
word. By default the partition stops and says which records are gone, while the others
go on; a listener that chose to go on does so, says it, and stands by its new place.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

import pytest
from confluent_kafka import Consumer, TopicPartition

from ottla import App, Offsets, Record, Topic
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.kafka_server import Kafka

PROTOCOLS = pytest.mark.parametrize(
    "protocol",
    [
        {"KAFKA_ASSIGNOR": "range"},
        {"KAFKA_ASSIGNOR": "cooperative-sticky"},
        {"KAFKA_GROUP_PROTOCOL": "consumer"},
    ],
    ids=["eager", "cooperative", "kip-848"],
)


def numbers(first: int, last: int) -> list[tuple[str, str]]:
    return [("key", str(number)) for number in range(first, last)]


async def handle_ten_of_each_partition(kafka: Kafka, topic: str, group: str) -> None:
    for partition in (0, 1):
        produce(kafka, topic, numbers(0, 10), partition=partition)
    app, handled = App(group, settings=settings_for(kafka)), list[str]()

    @app.listener(Topic(topic, str))
    async def on_record(value: str) -> None:
        handled.append(value)

    async with running(app):
        await until(lambda: len(handled) == 20, what="the first records are handled")


@PROTOCOLS
async def test_the_partition_stops_and_says_what_is_gone_while_the_others_go_on(
    kafka: Kafka, new_topic: NewTopic, unique: str, protocol: dict[str, str]
) -> None:
    topic = new_topic(partitions=2)
    kafka.create_topic(f"{topic}-{unique}-dlt")
    await handle_ten_of_each_partition(kafka, topic, unique)
    for partition in (0, 1):
        produce(kafka, topic, numbers(10, 30), partition=partition)
    kafka.delete_records(topic, 0, 25)
    app, handled = App(unique, settings=settings_for(kafka, **protocol)), list[tuple[int, int]]()

    @app.listener(Topic(topic, str))
    async def on_record(value: str, record: Record) -> None:
        handled.append((record.partition, int(value)))

    await app.start(fail_fast=True)
    try:
        await until(lambda: f"{topic}-0" in app.unready(), what="the partition is said to have stopped")
        produce(kafka, topic, numbers(30, 35), partition=1)
        await until(lambda: len(handled) >= 25, what="the other partition goes on")
        unready = app.unready()
    finally:
        await app.stop()

    assert handled == [(1, number) for number in range(10, 35)]
    assert "records 10 to 24 are gone" in unready.pop(f"{topic}-0")
    assert unready == {}
    assert committed(kafka, unique, topic) == {0: 10, 1: 35}


@PROTOCOLS
@pytest.mark.parametrize(("choice", "next_number"), [("earliest", 25), ("latest", 30)])
async def test_a_listener_that_chose_to_goes_on_says_so_and_keeps_its_place(
    kafka: Kafka,
    new_topic: NewTopic,
    unique: str,
    *,
    protocol: dict[str, str],
    choice: Literal["earliest", "latest"],
    next_number: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    topic = new_topic(partitions=2)
    kafka.create_topic(f"{topic}-{unique}-dlt")
    await handle_ten_of_each_partition(kafka, topic, unique)
    for partition in (0, 1):
        produce(kafka, topic, numbers(10, 30), partition=partition)
    kafka.delete_records(topic, 0, 25)
    app, handled = App(unique, settings=settings_for(kafka, **protocol)), list[tuple[int, int]]()

    @app.listener(Topic(topic, str), offsets=Offsets(on_out_of_range=choice))
    async def on_record(value: str, record: Record) -> None:
        handled.append((record.partition, int(value)))

    async with running(app):
        await until(
            lambda: committed(kafka, unique, topic) == {0: 30, 1: 30}, what="both partitions are up to date"
        )
        produce(kafka, topic, numbers(30, 35), partition=0)
        await until(lambda: (0, 34) in handled, what="what comes later is handled")

    assert [number for partition, number in handled if partition == 0] == list(range(next_number, 35))
    assert [number for partition, number in handled if partition == 1] == list(range(10, 30))
    assert committed(kafka, unique, topic) == {0: 35, 1: 30}
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(said) == 1
    assert f"{topic}-0: records 10 to 24 are gone; skipped" in said[0]


@PROTOCOLS
@pytest.mark.parametrize("key", [None, "key"], ids=["side by side", "one after the other"])
async def test_records_that_vanish_while_the_listener_is_behind_are_said_to_be_gone(
    kafka: Kafka,
    new_topic: NewTopic,
    unique: str,
    *,
    protocol: dict[str, str],
    key: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was polled before is handled all the same: it cannot come again."""
    topic = new_topic(partitions=2)
    kafka.create_topic(f"{topic}-{unique}-dlt")
    # A buffer of eight and small fetches: the rest is still on the broker when it is removed.
    settings = settings_for(kafka, KAFKA_BUFFERED_RECORDS="8", **protocol)
    fetch = {
        "queued.min.messages": 1,
        "queued.max.messages.kbytes": 1,
        "fetch.message.max.bytes": 1000,
        "fetch.queue.backoff.ms": 10,
    }
    settings = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"consumer": fetch})})
    app, handled, gate = App(unique, settings=settings), list[tuple[int, int]](), asyncio.Event()

    @app.listener(Topic(topic, str), offsets=Offsets(on_out_of_range="earliest"))
    async def on_record(value: str, record: Record) -> None:
        await gate.wait()
        handled.append((record.partition, int(value[:5])))

    for partition in (0, 1):
        for first in range(0, 400, 20):  # batches of twenty: the broker sends whole ones
            batch = [(key, f"{number:05}".ljust(400)) for number in range(first, first + 20)]
            produce(kafka, topic, batch, partition=partition)
    async with running(app):
        await until(lambda: app._engines[0].load().records >= 8, what="the buffer is full")
        kafka.delete_records(topic, 0, 390)
        gate.set()
        await until(lambda: {(0, 399), (1, 399)} <= set(handled), what="both partitions come to their end")
        await until(
            lambda: committed(kafka, unique, topic) == {0: 400, 1: 400}, what="both partitions are committed"
        )

    of_first = sorted(number for partition, number in handled if partition == 0)
    first_gone = min(set(range(400)) - set(of_first))
    assert first_gone < 390
    assert of_first == [*range(first_gone), *range(390, 400)]
    assert sorted(number for partition, number in handled if partition == 1) == list(range(400))
    assert f"{topic}-0: records {first_gone} to 389 are gone; skipped" in caplog.text


@PROTOCOLS
async def test_a_log_that_ends_before_the_commit_is_read_from_where_the_listener_chose(
    kafka: Kafka, new_topic: NewTopic, unique: str, protocol: dict[str, str]
) -> None:
    """As a topic that was made anew under its name looks to a group whose offsets were kept."""
    topic = new_topic(partitions=1)
    kafka.create_topic(f"{topic}-{unique}-dlt")
    produce(kafka, topic, numbers(0, 10))
    commit_as_a_plain_client(kafka, unique, topic, 100)
    app, handled = App(unique, settings=settings_for(kafka, **protocol)), list[int]()

    @app.listener(Topic(topic, str), offsets=Offsets(on_out_of_range="earliest"))
    async def on_record(value: str) -> None:
        handled.append(int(value))

    async with running(app):
        await until(lambda: len(handled) == 10, what="all that there is is handled")
        await until(lambda: committed(kafka, unique, topic) == {0: 10}, what="the new place is committed")

    assert handled == list(range(10))


def commit_as_a_plain_client(kafka: Kafka, group: str, topic: str, offset: int) -> None:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": group})
    consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    consumer.close()
