"""A dead letter that cannot be written is not dropped: its partition waits for the topic, and says so."""

from __future__ import annotations

from pydantic import BaseModel

from ottla import App, InPlace, Topic, Transaction
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.failing import (
    dead_letter_topic,
    dead_letters,
    topic_with_dead_letters,
    with_producer,
)
from tests.support.kafka_server import Kafka

ONCE = InPlace(attempts=1)


class Event(BaseModel):
    number: int
    is_poison: bool = False


POISON = Event(number=0, is_poison=True).model_dump_json()
FIRST, SECOND = Event(number=1).model_dump_json(), Event(number=2).model_dump_json()


async def test_while_its_dead_letter_topic_is_missing_one_partition_waits_and_goes_on_by_itself(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic, partitions=2)
    settings = with_producer(
        settings_for(kafka), delivery_timeout_ms=1000, topic_metadata_propagation_max_ms=100
    )
    app = App("billing", settings=settings)
    handled: list[int] = []

    @app.listener(Topic(topic, Event), retry=ONCE)
    async def handle(event: Event) -> None:
        if event.is_poison:
            raise ValueError
        handled.append(event.number)

    async with running(app):
        kafka.delete_topic(dead_letter_topic(topic))
        produce(kafka, topic, [(b"a", POISON)], partition=1)
        await until(lambda: f"{topic}-1" in app.unready(), what="the partition has stopped")
        why = app.unready()[f"{topic}-1"]
        produce(kafka, topic, [(b"b", FIRST)], partition=1)
        produce(kafka, topic, [(b"c", SECOND)], partition=0)
        await until(lambda: committed(kafka, "billing", topic).get(0) == 1, what="the other goes on")
        handled_meanwhile = list(handled)
        # With fewer partitions than it had: the one of the same number is not there any more.
        kafka.create_topic(dead_letter_topic(topic), partitions=1)
        await until(lambda: committed(kafka, "billing", topic).get(1) == 2, what="the first goes on")
        unready_at_last = app.unready()

    assert dead_letter_topic(topic) in why
    assert handled_meanwhile == [2]
    assert handled == [2, 1]
    assert unready_at_last == {}
    assert [letter.value() for letter in dead_letters(kafka, topic)] == [POISON.encode()]


async def test_while_the_broker_refuses_a_dead_letter_its_record_is_not_done(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    kafka.alter_topic(dead_letter_topic(topic), {"max.message.bytes": "100"})
    app = App("billing", settings=settings_for(kafka))

    @app.listener(Topic(topic, Event), retry=ONCE)
    async def handle(event: Event) -> None:
        raise ValueError

    produce(kafka, topic, [(b"a", POISON)])
    async with running(app):
        await until(lambda: f"{topic}-0" in app.unready(), what="the partition has stopped")
        committed_meanwhile = dict(committed(kafka, "billing", topic))
        kafka.alter_topic(dead_letter_topic(topic), {"max.message.bytes": "1000000"})
        await until(lambda: committed(kafka, "billing", topic).get(0) == 1, what="it goes on")

    assert committed_meanwhile == {0: 0}
    assert [letter.value() for letter in dead_letters(kafka, topic)] == [POISON.encode()]


def fail_deep_down(depth: int = 300) -> None:
    if depth == 0:
        raise ValueError("no such customer")
    (fail_deep_down if depth % 2 else fail_further_down)(depth - 1)  # a traceback folds what repeats


def fail_further_down(depth: int) -> None:
    fail_deep_down(depth)


async def test_a_dead_letter_that_is_too_large_with_its_stack_trace_goes_without_it(
    kafka: Kafka, new_topic: NewTopic, migrated: str
) -> None:
    sent, stored = (topic_with_dead_letters(kafka, new_topic) for _ in range(2))
    app = App("billing", settings=settings_for(kafka, DATABASE_URL=migrated))

    @app.listener(Topic(sent, Event), retry=ONCE)
    async def handle(event: Event) -> None:
        fail_deep_down()

    @app.listener(Topic(stored, Event), retry=ONCE)
    async def handle_once(event: Event, tx: Transaction) -> None:
        fail_deep_down()

    for topic in (sent, stored):
        kafka.alter_topic(dead_letter_topic(topic), {"max.message.bytes": "5000"})
        produce(kafka, topic, [(b"a", POISON)])
    async with running(app):
        await until(lambda: dead_letters(kafka, sent) and dead_letters(kafka, stored), what="both arrive")

    for topic in (sent, stored):
        (letter,) = dead_letters(kafka, topic)
        names = {pair[0] for pair in letter.headers() or ()}
        assert letter.value() == POISON.encode()
        assert "kafka_dlt-exception-message" in names
        assert "kafka_dlt-exception-stacktrace" not in names


async def test_without_a_dead_letter_topic_the_partition_stops_at_the_failed_record_until_a_new_start(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = new_topic(partitions=2)
    stopping, mended = (App("billing", settings=settings_for(kafka)) for _ in range(2))
    handled: list[int] = []

    @stopping.listener(Topic(topic, Event), retry=ONCE, dead_letter=False)
    async def fail(event: Event) -> None:
        if event.is_poison:
            raise ValueError("no such customer")
        handled.append(event.number)

    @mended.listener(Topic(topic, Event), dead_letter=False)
    async def handle(event: Event) -> None:
        handled.append(event.number)

    async with running(stopping):
        produce(kafka, topic, [(b"a", POISON), (b"a", FIRST)], partition=0)
        await until(lambda: f"{topic}-0" in stopping.unready(), what="the partition has stopped")
        why = stopping.unready()[f"{topic}-0"]
        produce(kafka, topic, [(b"c", SECOND)], partition=1)
        await until(lambda: committed(kafka, "billing", topic).get(1) == 1, what="the other goes on")
    stood_at = committed(kafka, "billing", topic)[0]
    async with running(mended):
        await until(lambda: committed(kafka, "billing", topic).get(0) == 2, what="all is committed")

    assert "ValueError" in why
    assert "dead_letter=False" in why
    assert stood_at == 0
    assert handled == [2, 0, 1]
