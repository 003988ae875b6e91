"""An event that is sent twice takes place once; other content under its id is not lost either."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
import pytest
from pydantic import BaseModel
from sqlalchemy import text

from ottla import App, Topic, Transaction
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.failing import KEPT, dead_letters, header, topic_with_dead_letters
from tests.support.kafka_server import Kafka

BEFORE_MIDNIGHT = int(datetime(2024, 2, 29, 23, 59, 59, 999_000, tzinfo=UTC).timestamp() * 1000)
AFTER_MIDNIGHT = BEFORE_MIDNIGHT + 2


class Paid(BaseModel):
    amount: int


def app_that_books(topic: str, kafka: Kafka, database_url: str) -> App:
    app = App("billing", settings=settings_for(kafka, DATABASE_URL=database_url))

    @app.listener(Topic(topic, Paid))
    async def book(event: Paid, tx: Transaction) -> None:
        await tx.session.execute(
            text("INSERT INTO effect VALUES (:event_id, :amount)"),
            {"event_id": tx.event_id, "amount": event.amount},
        )

    return app


@pytest.mark.parametrize(
    "sent",
    [
        ([("ottla-event-id", b"payment-1")], "payment-1"),
        ([("ce_id", b"1"), ("ce_source", b"/shop")], "/shop#1"),
        ([("ce_id", b"payment-1")], "payment-1"),
    ],
    ids=["our header", "CloudEvents", "CloudEvents without a source"],
)
async def test_the_second_record_has_no_effect_also_across_midnight_and_partitions(
    kafka: Kafka,
    new_topic: NewTopic,
    migrated: str,
    sql: psycopg.Connection,
    sent: tuple[list[tuple[str, bytes | None]], str],
) -> None:
    headers, event_id = sent
    topic = topic_with_dead_letters(kafka, new_topic, partitions=2, config=KEPT)
    app = app_that_books(topic, kafka, migrated)
    payment = [(b"k", b'{"amount": 7}')]

    produce(kafka, topic, payment, partition=0, headers=headers, timestamp_ms=BEFORE_MIDNIGHT)
    produce(kafka, topic, payment, partition=0, headers=headers, timestamp_ms=AFTER_MIDNIGHT)
    produce(kafka, topic, payment, partition=1, headers=headers, timestamp_ms=AFTER_MIDNIGHT)
    async with running(app):
        await until(lambda: committed(kafka, "billing", topic) == {0: 2, 1: 1}, what="all is committed")

    assert sql.execute("SELECT event_id, amount FROM effect").fetchall() == [(event_id, 7)]
    assert dead_letters(kafka, topic) == []


async def test_records_without_an_id_are_events_of_their_own(
    kafka: Kafka, new_topic: NewTopic, migrated: str, sql: psycopg.Connection
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic, config=KEPT)
    app = app_that_books(topic, kafka, migrated)

    produce(kafka, topic, [(b"k", b'{"amount": 7}')] * 2, timestamp_ms=BEFORE_MIDNIGHT)
    async with running(app):
        await until(lambda: committed(kafka, "billing", topic) == {0: 2}, what="all is committed")

    assert sql.execute("SELECT event_id FROM effect ORDER BY event_id").fetchall() == [
        (f"{topic}-0-0@{BEFORE_MIDNIGHT}",),
        (f"{topic}-0-1@{BEFORE_MIDNIGHT}",),
    ]


@pytest.mark.parametrize(
    "other", [(b"k", b'{"amount": 8}'), (b"another", b'{"amount": 7}')], ids=["value", "key"]
)
async def test_the_same_id_with_another_key_or_value_is_dead_lettered_and_the_first_effect_stays(
    kafka: Kafka, new_topic: NewTopic, migrated: str, sql: psycopg.Connection, other: tuple[bytes, bytes]
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = app_that_books(topic, kafka, migrated)
    headers: list[tuple[str, bytes | None]] = [("ottla-event-id", b"payment-1")]

    async with running(app):
        produce(kafka, topic, [(b"k", b'{"amount": 7}')], headers=headers)
        await until(lambda: committed(kafka, "billing", topic) == {0: 1}, what="the first is committed")
        produce(kafka, topic, [other, (b"k", b'{"amount": 7}')], headers=headers)
        await until(lambda: committed(kafka, "billing", topic) == {0: 3}, what="all is committed")

    assert sql.execute("SELECT event_id, amount FROM effect").fetchall() == [("payment-1", 7)]
    (letter,) = dead_letters(kafka, topic)
    assert (letter.key(), letter.value()) == other
    assert header(letter, "ottla-dead-letter-reason") == b"event id reused with other content"
    assert sql.execute("SELECT status FROM ottla.inbox").fetchall() == [("done",)]
