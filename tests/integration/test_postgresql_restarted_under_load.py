"""A database that is away for seconds is nobody's failed attempt, else it would dead-letter all in flight."""

from __future__ import annotations

import asyncio
from collections import Counter

import psycopg
from pydantic import BaseModel
from sqlalchemy import text

from ottla import App, InPlace, Topic, Transaction
from ottla.embedded import EmbeddedPostgres
from ottla.postgres.migrations import upgrade
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.failing import dead_letters, topic_with_dead_letters
from tests.support.kafka_server import Kafka

AWAY_S = 10
SENT = 1_500


class Event(BaseModel):
    number: int


def keyed(numbers: range) -> list[tuple[str, str]]:
    return [(f"key-{number % 50}", Event(number=number).model_dump_json()) for number in numbers]


def make_ledger(url: str) -> None:
    """No key: a second effect would be a second row."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE ledger (number integer NOT NULL)")


def read_ledger(url: str) -> Counter[int]:
    with psycopg.connect(url, autocommit=True) as connection:
        return Counter(number for (number,) in connection.execute("SELECT number FROM ledger"))


def app_that_books(topic: str, kafka: Kafka, url: str) -> App:
    app = App("billing", settings=settings_for(kafka, DATABASE_URL=url))

    @app.listener(Topic(topic, Event), retry=InPlace(attempts=1))
    async def book(event: Event, tx: Transaction) -> None:
        await tx.session.execute(text("INSERT INTO ledger VALUES (:number)"), {"number": event.number})

    return app


async def test_every_event_takes_place_once_and_none_is_dead_lettered(
    kafka: Kafka, new_topic: NewTopic, postgres_server: EmbeddedPostgres
) -> None:
    url = postgres_server.url
    upgrade(url)
    make_ledger(url)
    topic = topic_with_dead_letters(kafka, new_topic, partitions=2)
    app = app_that_books(topic, kafka, url)

    produce(kafka, topic, keyed(range(SENT)))
    async with running(app):
        await until(lambda: sum(committed(kafka, "billing", topic).values()) > 100, what="it is under load")
        committed_before = sum(committed(kafka, "billing", topic).values())
        postgres_server.stop("immediate")
        await until(lambda: len(app.unready()) == 2, what="listener and relay say that they are not ready")
        why = dict(app.unready())
        await asyncio.sleep(AWAY_S)  # the outage itself: nothing is waited for
        still_why = dict(app.unready())
        postgres_server.start()
        await until(lambda: not app.unready(), what="the app is ready again")
        await until(lambda: sum(committed(kafka, "billing", topic).values()) == SENT, what="all is committed")

    assert 100 < committed_before < SENT
    assert "PostgreSQL" in "".join(why.values())
    assert still_why.keys() == why.keys() == {f"billing/{topic}", "billing outbox"}
    assert read_ledger(url) == Counter(range(SENT))
    assert dead_letters(kafka, topic) == []


async def test_a_database_that_is_down_at_start_is_waited_for(
    kafka: Kafka, new_topic: NewTopic, postgres_server: EmbeddedPostgres
) -> None:
    url = postgres_server.url
    upgrade(url)
    make_ledger(url)
    postgres_server.stop()
    topic = topic_with_dead_letters(kafka, new_topic)
    app = app_that_books(topic, kafka, url)

    produce(kafka, topic, keyed(range(10)))
    await app.start()
    try:
        await until(lambda: "PostgreSQL" in "".join(app.unready().values()), what="the app says what is down")
        postgres_server.start()
        await until(lambda: committed(kafka, "billing", topic).get(0) == 10, what="all is committed")
        unready_at_last = app.unready()
    finally:
        await app.stop()

    assert unready_at_last == {}
    assert read_ledger(url) == Counter(range(10))


async def test_a_database_that_is_not_migrated_names_the_cure_and_goes_on_after_it(
    kafka: Kafka, new_topic: NewTopic, database_url: str
) -> None:
    make_ledger(database_url)
    topic = topic_with_dead_letters(kafka, new_topic)
    app = app_that_books(topic, kafka, database_url)

    produce(kafka, topic, keyed(range(10)))
    await app.start()
    try:
        await until(lambda: "ottla db upgrade" in "".join(app.unready().values()), what="the cure is named")
        await asyncio.to_thread(upgrade, database_url)
        await until(lambda: committed(kafka, "billing", topic).get(0) == 10, what="all is committed")
        unready_at_last = app.unready()
    finally:
        await app.stop()

    assert unready_at_last == {}
    assert read_ledger(database_url) == Counter(range(10))


async def test_a_record_given_up_while_the_database_is_away_is_buried_when_it_is_back(
    kafka: Kafka, new_topic: NewTopic, postgres_server: EmbeddedPostgres
) -> None:
    url = postgres_server.url
    upgrade(url)
    make_ledger(url)
    topic = topic_with_dead_letters(kafka, new_topic)
    app = app_that_books(topic, kafka, url)

    async with running(app):
        postgres_server.stop()
        produce(kafka, topic, [("key", b"undecodable")])
        await until(lambda: f"{topic}-0" in app.unready(), what="the partition has stopped")
        dead_letters_meanwhile = dead_letters(kafka, topic)
        postgres_server.start()
        produce(kafka, topic, keyed(range(3)))
        await until(lambda: committed(kafka, "billing", topic).get(0) == 4, what="all is committed")

    assert dead_letters_meanwhile == []
    assert [letter.value() for letter in dead_letters(kafka, topic)] == [b"undecodable"]
    assert read_ledger(url) == Counter(range(3))


async def test_a_service_without_listeners_is_unready_while_its_database_is_away(
    kafka: Kafka, postgres_server: EmbeddedPostgres
) -> None:
    upgrade(postgres_server.url)
    settings = settings_for(kafka, DATABASE_URL=postgres_server.url)
    leader, other = App("orders", settings=settings), App("shipping", settings=settings)

    async with running(leader, other):
        postgres_server.stop("immediate")
        await until(lambda: leader.unready() and other.unready(), what="both say so")
        why = leader.unready() | other.unready()
        postgres_server.start()
        await until(lambda: not leader.unready() and not other.unready(), what="both are ready again")

    assert why.keys() == {"orders outbox", "shipping outbox"}
