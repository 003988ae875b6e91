"""A topic that a transactional producer writes: its markers take offsets and are no records.

The last record's offset + 1 is then never the end of the log; a group that commits it
shows a lag that never goes, and an alert that nobody can silence.
"""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from ottla import App, Topic
from tests.conftest import NewTopic
from tests.support.apps import committed, running, settings_for, until
from tests.support.kafka_server import Kafka


def write(kafka: Kafka, topic: str, transactional_id: str, values: list[str], *, commit: bool) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": transactional_id})
    producer.init_transactions(30)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, "key")
    assert producer.flush(30) == 0
    if commit:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)


def end_of(kafka: Kafka, topic: str) -> int:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "reader"})
    try:
        return consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)[1]
    finally:
        consumer.close()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_the_group_comes_to_the_end_of_the_log_and_sees_nothing_that_was_aborted(
    kafka: Kafka, new_topic: NewTopic, unique: str, protocol: str
) -> None:
    topic = new_topic()
    kafka.create_topic(f"{topic}-{unique}-dlt")
    app = App(unique, settings=settings_for(kafka, KAFKA_GROUP_PROTOCOL=protocol))
    handled = list[str]()

    @app.listener(Topic(topic, str))
    async def on_record(value: str) -> None:
        handled.append(value)

    write(kafka, topic, unique, ["a", "b"], commit=True)
    write(kafka, topic, unique, ["never"], commit=False)
    async with running(app):
        await until(lambda: handled == ["a", "b"], what="the committed records are handled")
        await until(lambda: committed(kafka, unique, topic) == {0: end_of(kafka, topic)}, what="no lag")
        write(kafka, topic, unique, ["never"], commit=False)
        await until(lambda: committed(kafka, unique, topic) == {0: end_of(kafka, topic)}, what="no lag again")
        write(kafka, topic, unique, ["c"], commit=True)
        await until(lambda: handled == ["a", "b", "c"], what="the later record is handled")

    assert handled == ["a", "b", "c"]
    assert end_of(kafka, topic) == 9
