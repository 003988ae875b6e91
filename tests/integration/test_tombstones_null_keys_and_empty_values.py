"""Null and empty are different things, on keys and on values, and none of them crashes anything."""

from __future__ import annotations

from pydantic import BaseModel

from ottla import App, Record, Topic
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, read_all, running, settings_for, until
from tests.support.kafka_server import Kafka


class Customer(BaseModel):
    name: str


async def test_a_tombstone_is_none_to_a_handler_that_takes_none_and_a_dead_letter_to_one_that_does_not(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    topic = new_topic()
    tolerant, strict = (App(f"{unique}-{kind}", settings=settings_for(kafka)) for kind in ("t", "s"))
    for app in (tolerant, strict):
        kafka.create_topic(f"{topic}-{app.name}-dlt")
    by_tolerant, by_strict = list[tuple[bytes | None, Customer | None]](), list[str]()

    @tolerant.listener(Topic(topic, Customer))
    async def on_change(customer: Customer | None, record: Record) -> None:
        by_tolerant.append((record.key, customer))

    @strict.listener(Topic(topic, Customer))
    async def on_customer(customer: Customer) -> None:
        by_strict.append(customer.name)

    produce(kafka, topic, [("1", '{"name": "Ada"}'), ("1", None), ("2", '{"name": "Bob"}')])
    async with running(tolerant, strict):
        await until(lambda: len(by_tolerant) == 3 and len(by_strict) == 2, what="all are handled")
        await until(lambda: committed(kafka, strict.name, topic) == {0: 3}, what="the tombstone is done with")
    dead = read_all(kafka, f"{topic}-{strict.name}-dlt")

    assert sorted(by_tolerant, key=str) == [
        (b"1", Customer(name="Ada")),
        (b"1", None),
        (b"2", Customer(name="Bob")),
    ]
    assert sorted(by_strict) == ["Ada", "Bob"]
    assert [(message.key(), message.value()) for message in dead] == [(b"1", None)]
    assert read_all(kafka, f"{topic}-{tolerant.name}-dlt") == []


async def test_null_and_empty_keys_and_values_reach_the_handler_as_they_are(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    topic = new_topic()
    kafka.create_topic(f"{topic}-{unique}-dlt")
    sent: list[tuple[bytes | str | None, bytes | str | None]] = [
        (None, b"null key"),
        (b"", b"empty key"),
        (b"key", b""),
        (None, b""),
        (None, None),
        (b"\xff\x00", b"\x00\xff"),
    ]
    app, handled = App(unique, settings=settings_for(kafka)), dict[int, tuple[bytes | None, bytes | None]]()

    @app.listener(Topic(topic, bytes))
    async def on_record(value: bytes | None, record: Record) -> None:
        handled[record.offset] = record.key, value

    produce(kafka, topic, sent)
    async with running(app):
        await until(lambda: len(handled) == len(sent), what="all are handled")

    assert [handled[offset] for offset in range(len(sent))] == sent
    assert committed(kafka, unique, topic) == {0: len(sent)}
