"""What scenarios do with an app and a broker: settings, records in and out, waiting for what must come."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as KafkaMessage

from ottla.app import App
from ottla.kafka.consumer import KafkaSource
from ottla.settings import Settings, load_settings
from tests.support.kafka_server import Kafka

DEADLINE_S = 30.0
NO_COORDINATOR_YET = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}


def settings_for(kafka: Kafka, **environment: str) -> Settings:
    """Settings that know only `kafka` and what is given, in the form of environment variables."""
    return load_settings(
        environ={
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_SESSION_TIMEOUT_S": "6",
            "OTTLA_CONFIG": "/dev/null",
            **environment,
        }
    )


def source_of(app: App) -> KafkaSource:
    """The consumer of an app that has one listener and runs."""
    (source,) = app._sources
    assert isinstance(source, KafkaSource)
    return source


@asynccontextmanager
async def running(*apps: App) -> AsyncIterator[None]:
    """The apps between start and stop, ready before the block begins."""
    try:
        for app in apps:
            await app.start(fail_fast=True)
        await until(lambda: not any(app.unready() for app in apps), what="every app is ready")
        yield
    finally:
        await asyncio.gather(*(app.stop() for app in apps))


async def until(condition: Callable[[], Any], *, what: str, within_s: float = DEADLINE_S) -> None:
    """Let the event loop turn until `condition` holds, which may be awaited; else fails with `what`."""
    deadline = time.monotonic() + within_s
    while not (await found if inspect.isawaitable(found := condition()) else found):
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        await asyncio.sleep(0.01)


Sent = tuple[bytes | str | None, bytes | str | None]


def produce(
    kafka: Kafka,
    topic: str,
    records: Iterable[Sent],
    *,
    partition: int | None = None,
    headers: Sequence[tuple[str, bytes | None]] | None = None,
    timestamp_ms: int | None = None,
) -> None:
    """Write (key, value) pairs with a plain client and wait until the broker has them."""
    producer = Producer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "message.max.bytes": 10_000_000,
        }
    )
    options: dict[str, Any] = {} if partition is None else {"partition": partition}
    if timestamp_ms is not None:
        options["timestamp"] = timestamp_ms
    failures: list[str] = []

    def delivered(error: KafkaError | None, _: KafkaMessage) -> None:
        if error is not None:
            failures.append(error.str())

    for key, value in records:
        producer.produce(
            topic, key=key, value=value, headers=list(headers or ()), on_delivery=delivered, **options
        )
        producer.poll(0)
    assert producer.flush(DEADLINE_S) == 0, f"{topic}: not every record was acknowledged"
    assert not failures, f"{topic}: not every record was acknowledged: {failures[0]}"


def read_all(kafka: Kafka, topic: str) -> list[KafkaMessage]:
    """Every record of `topic` that is there now, per partition in order."""
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "reader", "enable.auto.commit": False}
    )
    try:
        found: list[KafkaMessage] = []
        ends: dict[int, int] = {}
        starts: list[TopicPartition] = []
        for number in consumer.list_topics(topic, timeout=DEADLINE_S).topics[topic].partitions:
            low, high = _watermarks(consumer, TopicPartition(topic, number))
            if low < high:
                ends[number] = high
                starts.append(TopicPartition(topic, number, low))
        consumer.assign(starts)  # all at once: the client takes half a second to begin with one
        while starts:
            message = consumer.poll(1.0)
            if message is not None and message.error() is not None:
                raise KafkaException(message.error())
            if message is not None and (message.offset() or 0) < ends[message.partition() or 0]:
                found.append(message)
            starts = [at for at in consumer.position(starts) if at.offset < ends[at.partition]]
        found.sort(key=lambda message: (message.partition() or 0, message.offset() or 0))
        return found
    finally:
        consumer.close()


def _watermarks(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    """As the leader says, once a broker that has just made the topic has found out that it leads."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            found: tuple[int, int] = consumer.get_watermark_offsets(partition, timeout=DEADLINE_S)
            return found
        except KafkaException as error:
            if error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def committed(kafka: Kafka, group: str, topic: str) -> Mapping[int, int]:
    """The committed offset of each partition of `topic` that `group` has committed."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": group})
    try:
        numbers = consumer.list_topics(topic, timeout=DEADLINE_S).topics[topic].partitions
        answers = _committed(consumer, [TopicPartition(topic, n) for n in numbers])
        return {answer.partition: answer.offset for answer in answers if answer.offset >= 0}
    finally:
        consumer.close()


def _committed(consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
    """As the coordinator says, once a broker that has just started has found out who that is."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            return consumer.committed(partitions, timeout=DEADLINE_S)
        except KafkaException as error:
            if error.args[0].code() not in NO_COORDINATOR_YET or time.monotonic() > deadline:
                raise
        time.sleep(0.05)
