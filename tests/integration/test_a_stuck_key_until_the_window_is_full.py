"""A record that is tried for hours may not hold its partition for ever: the window says how far others go."""

from __future__ import annotations

from pydantic import BaseModel

from ottla import App, InPlace, Record, Topic
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.failing import dead_letters, header, topic_with_dead_letters
from tests.support.kafka_server import Kafka

PATIENT = InPlace(attempts=100, first_s=3600, max_s=3600)
WINDOW = 50
SENT = 400


class Event(BaseModel):
    number: int


def keyed() -> list[tuple[str, str]]:
    """The first record has a key of its own; nine keys share the others."""
    return [
        (f"key-{number % 9}" if number else "stuck", Event(number=number).model_dump_json())
        for number in range(SENT)
    ]


async def test_a_full_window_cuts_the_retries_of_the_stuck_record_short(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App("billing", settings=settings_for(kafka, KAFKA_WINDOW=str(WINDOW)))
    handled: list[int] = []

    @app.listener(Topic(topic, Event), retry=PATIENT)
    async def handle(event: Event) -> None:
        if event.number == 0:
            raise ValueError("no such customer")
        handled.append(event.number)

    produce(kafka, topic, keyed())
    async with running(app):
        await until(lambda: committed(kafka, "billing", topic) == {0: SENT}, what="all is committed")

    assert sorted(handled) == list(range(1, SENT))
    (letter,) = dead_letters(kafka, topic)
    assert letter.key() == b"stuck"
    assert header(letter, "ottla-dead-letter-reason") == (
        b"retries cut short: the uncommitted window is full"
    )
    assert b"no such customer" in (header(letter, "kafka_dlt-exception-message") or b"")


async def test_by_choice_the_partition_waits_for_the_stuck_record_and_then_goes_on(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App("billing", settings=settings_for(kafka, KAFKA_WINDOW=str(WINDOW)))
    handled: list[int] = []
    attempts: list[int] = []
    is_open = False

    @app.listener(
        Topic(topic, Event),
        retry=InPlace(attempts=100_000, first_s=0.05, max_s=0.05, when_window_full="wait"),
    )
    async def handle(event: Event, record: Record) -> None:
        if event.number == 0 and not is_open:
            attempts.append(record.attempt)
            raise ValueError
        handled.append(event.number)

    produce(kafka, topic, keyed())
    async with running(app):
        await until(lambda: len(handled) == WINDOW - 1, what="the others have come to the window's end")
        seen = len(attempts)
        await until(lambda: len(attempts) > seen + 5, what="the stuck record is still being tried")
        handled_meanwhile, committed_meanwhile = list(handled), committed(kafka, "billing", topic)
        is_open = True
        await until(lambda: committed(kafka, "billing", topic) == {0: SENT}, what="all is committed")

    assert sorted(handled_meanwhile) == list(range(1, WINDOW))
    assert committed_meanwhile == {0: 0}
    assert sorted(handled) == list(range(SENT))
    assert dead_letters(kafka, topic) == []
