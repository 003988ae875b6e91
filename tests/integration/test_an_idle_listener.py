"""Nothing to do is a state like any other: ready, and its place in the topic kept."""

from __future__ import annotations

import pytest

from ottla import App, Topic
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.kafka_server import Kafka


def listening(name: str, topic: str, kafka: Kafka, handled: list[str], **settings: str) -> App:
    app = App(name, settings=settings_for(kafka, **settings))

    @app.listener(Topic(topic, str))
    async def on_record(value: str) -> None:
        handled.append(value)

    return app


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_partitions_without_records_have_their_starts_committed(
    kafka: Kafka, new_topic: NewTopic, unique: str, protocol: str
) -> None:
    topic = new_topic(partitions=3)
    kafka.create_topic(f"{topic}-{unique}-dlt")
    produce(kafka, topic, [("key", "one")], partition=1)
    handled = list[str]()
    app = listening(unique, topic, kafka, handled, KAFKA_GROUP_PROTOCOL=protocol)

    async with running(app):
        await until(
            lambda: committed(kafka, unique, topic) == {0: 0, 1: 1, 2: 0}, what="all starts are committed"
        )
        unready = app.unready()

    assert handled == ["one"]
    assert unready == {}


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_a_member_without_partitions_is_ready(
    kafka: Kafka, new_topic: NewTopic, unique: str, protocol: str
) -> None:
    topic = new_topic(partitions=1)
    kafka.create_topic(f"{topic}-{unique}-dlt")
    handled = list[str]()
    members = [listening(unique, topic, kafka, handled, KAFKA_GROUP_PROTOCOL=protocol) for _ in range(2)]

    async with running(*members):
        produce(kafka, topic, [("key", "one")])
        await until(lambda: committed(kafka, unique, topic) == {0: 1}, what="the record is committed")
        unready = [member.unready() for member in members]

    assert handled == ["one"]
    assert unready == [{}, {}]
