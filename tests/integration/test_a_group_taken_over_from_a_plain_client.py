"""A service that ran on confluent-kafka moves to Ottla and keeps its group.

It goes on where the plain client committed, whatever metadata that wrote beside its
offsets, and a plain client can go on where Ottla committed.
"""

from __future__ import annotations

from confluent_kafka import Consumer, TopicPartition

from ottla import App, Record, Topic
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.kafka_server import Kafka


async def test_it_begins_where_the_plain_client_committed(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    topic = new_topic(partitions=3)
    kafka.create_topic(f"{topic}-{unique}-dlt")
    for partition in range(3):
        produce(kafka, topic, [("key", str(number)) for number in range(20)], partition=partition)
    plain = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "group.id": unique,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "partition.assignment.strategy": "cooperative-sticky",
        }
    )
    plain.subscribe([topic])
    await until(lambda: plain.poll(0) or len(plain.assignment()) == 3, what="the plain client has joined")
    plain.commit(
        offsets=[TopicPartition(topic, 0, 7, metadata="AQD/foreign"), TopicPartition(topic, 1, 20)],
        asynchronous=False,
    )
    plain.close()
    app, handled = App(unique, settings=settings_for(kafka)), list[tuple[int, int]]()

    @app.listener(Topic(topic, str))
    async def on_record(value: str, record: Record) -> None:
        handled.append((record.partition, int(value)))

    async with running(app):
        await until(lambda: len(handled) >= 33, what="what the plain client left is handled")

    assert sorted(handled) == [(0, n) for n in range(7, 20)] + [(2, n) for n in range(20)]
    assert committed(kafka, unique, topic) == {0: 20, 1: 20, 2: 20}
