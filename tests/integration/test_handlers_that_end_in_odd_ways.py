"""Handlers are anybody's code: in a thread, too slow, cancelled, or raising what is no `Exception`."""

from __future__ import annotations

import asyncio

import psycopg
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.orm import Session

from ottla import App, InPlace, Order, Topic, Transaction
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.failing import dead_letters, header, topic_with_dead_letters
from tests.support.kafka_server import Kafka

TWICE = InPlace(attempts=2, first_s=0.01, max_s=0.01)


class Event(BaseModel):
    number: int


class OfItsOwn(BaseException):
    pass


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


def json_of(number: int) -> str:
    return Event(number=number).model_dump_json()


async def test_a_def_handler_writes_once_per_event_through_a_synchronous_session(
    kafka: Kafka, new_topic: NewTopic, migrated: str, sql: psycopg.Connection
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic, partitions=2)
    app = App("billing", settings=settings_for(kafka, DATABASE_URL=migrated))

    @app.listener(Topic(topic, Event), retry=TWICE)
    def book(event: Event, tx: Transaction[Session]) -> None:
        tx.session.execute(
            text("INSERT INTO effect VALUES (:event_id, :number)"),
            {"event_id": tx.event_id, "number": event.number},
        )
        if event.number == 7:
            raise ValueError

    produce(kafka, topic, ((f"key-{number % 5}", json_of(number)) for number in range(1, 100)))
    twice = [("key", json_of(100))] * 2
    produce(kafka, topic, twice, headers=[("ottla-event-id", b"sent twice")])
    async with running(app):
        await until(lambda: sum(committed(kafka, "billing", topic).values()) == 101, what="all is committed")

    assert [amount for (amount,) in sql.execute("SELECT amount FROM effect ORDER BY amount")] == [
        number for number in range(1, 101) if number != 7
    ]
    assert [letter.value() for letter in dead_letters(kafka, topic)] == [json_of(7).encode()]


ODD: list[BaseException] = [
    asyncio.CancelledError(),
    TimeoutError(),
    StopIteration(),
    OfItsOwn(),
    SystemExit(3),
    Unspeakable(),
    ValueError("\ud800\x00"),
    ValueError("x" * 3_000_000),
]
SOUND = len(ODD)
ALL_TWICE = [number for number in range(SOUND) for _ in range(2)]


async def test_whatever_a_coroutine_raises_is_a_failed_attempt_and_the_worker_lives_on(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App("billing", settings=settings_for(kafka))
    handled: list[int] = []

    @app.listener(Topic(topic, Event), retry=TWICE, order=Order.PARTITION, concurrency=1)
    async def handle(event: Event) -> None:
        handled.append(event.number)
        if event.number < SOUND:
            raise ODD[event.number]

    produce(kafka, topic, ((b"k", json_of(number)) for number in range(SOUND + 1)))
    async with running(app):
        await until(lambda: committed(kafka, "billing", topic) == {0: SOUND + 1}, what="all is committed")

    assert handled == [*ALL_TWICE, SOUND]
    assert [letter.value() for letter in dead_letters(kafka, topic)] == [
        json_of(number).encode() for number in range(SOUND)
    ]


async def test_whatever_a_thread_raises_is_a_failed_attempt_and_the_worker_lives_on(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App("billing", settings=settings_for(kafka))
    handled: list[int] = []

    @app.listener(Topic(topic, Event), retry=TWICE, order=Order.PARTITION, concurrency=1)
    def handle(event: Event) -> None:
        handled.append(event.number)
        if event.number < SOUND:
            raise ODD[event.number]

    produce(kafka, topic, ((b"k", json_of(number)) for number in range(SOUND + 1)))
    async with running(app):
        await until(lambda: committed(kafka, "billing", topic) == {0: SOUND + 1}, what="all is committed")

    assert handled == [*ALL_TWICE, SOUND]
    assert [letter.value() for letter in dead_letters(kafka, topic)] == [
        json_of(number).encode() for number in range(SOUND)
    ]


async def test_whatever_is_raised_in_a_transaction_leaves_nothing_of_it(
    kafka: Kafka, new_topic: NewTopic, migrated: str, sql: psycopg.Connection
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App("billing", settings=settings_for(kafka, DATABASE_URL=migrated))

    @app.listener(Topic(topic, Event), retry=TWICE, order=Order.PARTITION, concurrency=1)
    async def book(event: Event, tx: Transaction) -> None:
        await tx.session.execute(
            text("INSERT INTO effect VALUES (:event_id, :number)"),
            {"event_id": tx.event_id, "number": event.number + 1},
        )
        if event.number < SOUND:
            raise ODD[event.number]

    produce(kafka, topic, ((b"k", json_of(number)) for number in range(SOUND + 1)))
    async with running(app):
        await until(lambda: committed(kafka, "billing", topic) == {0: SOUND + 1}, what="all is committed")

    assert sql.execute("SELECT amount FROM effect").fetchall() == [(SOUND + 1,)]
    assert len(dead_letters(kafka, topic)) == SOUND


async def test_a_handler_that_runs_into_its_own_time_out_fails_and_keeps_its_worker(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App("billing", settings=settings_for(kafka))
    handled: list[int] = []

    @app.listener(Topic(topic, Event), retry=TWICE, concurrency=1)
    async def handle(event: Event) -> None:
        handled.append(event.number)
        if event.number == 1:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()

    produce(kafka, topic, ((b"k", json_of(number)) for number in range(3)))
    async with running(app):
        await until(lambda: committed(kafka, "billing", topic) == {0: 3}, what="all is committed")

    assert handled == [0, 1, 1, 2]
    (letter,) = dead_letters(kafka, topic)
    assert header(letter, "kafka_dlt-exception-fqcn") == b"builtins.TimeoutError"
