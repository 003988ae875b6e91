"""Handlers speak by raising: what is fatal, what to try again and when, what to give up or pass over."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel

from ottla import App, DeadLetter, InPlace, Record, Retry, Skip, Topic
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.failing import dead_letters, header, topic_with_dead_letters
from tests.support.kafka_server import Kafka

QUICK = InPlace(attempts=4, first_s=0.01, max_s=0.01)
SLOW = InPlace(attempts=4, first_s=3600, max_s=3600)


class Event(BaseModel):
    number: int


class CardRefused(Exception):
    pass


class CardExpired(CardRefused):
    pass


async def test_a_fatal_exception_or_one_derived_from_it_goes_to_the_dead_letter_topic_at_once(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App("billing", settings=settings_for(kafka))
    attempts: list[int] = []

    @app.listener(Topic(topic, Event), retry=SLOW, fatal=(CardRefused,))
    async def handle(event: Event, record: Record) -> None:
        attempts.append(record.attempt)
        raise CardExpired

    produce(kafka, topic, [(b"k", b'{"number": 1}')])
    async with running(app):
        await until(lambda: committed(kafka, "billing", topic).get(0) == 1, what="all is committed")

    assert attempts == [1]
    (letter,) = dead_letters(kafka, topic)
    assert header(letter, "ottla-dead-letter-reason") == b"fatal exception"
    assert (header(letter, "kafka_dlt-exception-fqcn") or b"").endswith(b".CardExpired")


async def test_each_call_sees_the_number_of_its_attempt(kafka: Kafka, new_topic: NewTopic) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App("billing", settings=settings_for(kafka))
    attempts: list[tuple[int, int]] = []

    @app.listener(Topic(topic, Event), retry=QUICK)
    async def handle(event: Event, record: Record) -> None:
        attempts.append((event.number, record.attempt))
        if event.number == 1 or record.attempt < 3:
            raise ValueError

    produce(kafka, topic, [(b"k", b'{"number": 1}'), (b"k", b'{"number": 2}')])
    async with running(app):
        await until(lambda: committed(kafka, "billing", topic).get(0) == 2, what="all is committed")

    assert attempts == [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (2, 3)]
    assert len(dead_letters(kafka, topic)) == 1


async def test_a_retry_comes_when_the_handler_says_and_counts_as_an_attempt(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App("billing", settings=settings_for(kafka))
    attempts: list[int] = []

    @app.listener(Topic(topic, Event), retry=SLOW)
    async def handle(event: Event, record: Record) -> None:
        attempts.append(record.attempt)
        raise Retry(after=timedelta(0), reason="the bank is closed")

    produce(kafka, topic, [(b"k", b'{"number": 1}')])
    async with running(app):
        await until(lambda: committed(kafka, "billing", topic).get(0) == 1, what="all is committed")

    assert attempts == [1, 2, 3, 4]
    (letter,) = dead_letters(kafka, topic)
    assert b"the bank is closed" in (header(letter, "kafka_dlt-exception-message") or b"")


async def test_what_the_handler_gives_up_goes_to_the_dead_letter_topic_with_its_reason(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App("billing", settings=settings_for(kafka))
    attempts: list[int] = []

    @app.listener(Topic(topic, Event), retry=QUICK)
    async def handle(event: Event, record: Record) -> None:
        attempts.append(record.attempt)
        raise DeadLetter("a customer of 1997")

    produce(kafka, topic, [(b"k", b'{"number": 1}')])
    async with running(app):
        await until(lambda: committed(kafka, "billing", topic).get(0) == 1, what="all is committed")

    assert attempts == [1]
    (letter,) = dead_letters(kafka, topic)
    assert header(letter, "ottla-dead-letter-reason") == b"the handler gave it up"
    assert b"a customer of 1997" in (header(letter, "kafka_dlt-exception-message") or b"")


async def test_what_the_handler_skips_is_done_and_nowhere_else(kafka: Kafka, new_topic: NewTopic) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App("billing", settings=settings_for(kafka))
    attempts: list[tuple[int, int]] = []

    @app.listener(Topic(topic, Event), retry=QUICK)
    async def handle(event: Event, record: Record) -> None:
        attempts.append((event.number, record.attempt))
        if event.number == 1:
            raise Skip("not ours")

    produce(kafka, topic, [(b"k", b'{"number": 1}'), (b"k", b'{"number": 2}')])
    async with running(app):
        await until(lambda: committed(kafka, "billing", topic).get(0) == 2, what="all is committed")

    assert attempts == [(1, 1), (2, 1)]
    assert dead_letters(kafka, topic) == []
