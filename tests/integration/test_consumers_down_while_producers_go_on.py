"""No member runs for a while, records keep coming; whoever starts next handles them, once each."""

from __future__ import annotations

from ottla import App, Record, Topic
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.kafka_server import Kafka
from tests.support.ledger import Ledger, by_key, numbered

KEYS = [f"key-{number}" for number in range(20)]


def service(name: str, topic: str, kafka: Kafka, ledger: Ledger) -> App:
    app = App(name, settings=settings_for(kafka))

    @app.listener(Topic(topic, bytes))
    async def on_record(_: bytes, record: Record) -> None:
        await ledger.handle(record)

    return app


async def test_what_came_in_between_is_handled_by_whoever_starts_next(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    topic = new_topic(partitions=3)
    kafka.create_topic(f"{topic}-{unique}-dlt")
    ledger = Ledger()

    produce(kafka, topic, numbered(KEYS, range(10)))
    async with running(service(unique, topic, kafka, ledger)):
        await until(lambda: len(ledger.ended) >= 200, what="the first records are handled")
    produce(kafka, topic, numbered(KEYS, range(10, 20)))
    async with running(service(unique, topic, kafka, ledger)):
        produce(kafka, topic, numbered(KEYS, range(20, 30)))
        await until(lambda: len(ledger.ended) >= 600, what="all records are handled")

    assert by_key(ledger.ended) == {key: list(range(30)) for key in KEYS}
    assert sum(committed(kafka, unique, topic).values()) == 600
