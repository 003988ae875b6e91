"""What a handler wrote before it changed its mind is not there; what was given up stays given up."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import psycopg
import pytest
from pydantic import BaseModel
from sqlalchemy import text

from ottla import App, DeadLetter, Record, Retry, Skip, Topic, Transaction
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.failing import dead_letters, topic_with_dead_letters
from tests.support.kafka_server import Kafka

ID: list[tuple[str, bytes | None]] = [("ottla-event-id", b"payment-1")]
PAYMENT = (b"k", b'{"amount": 7}')


class Paid(BaseModel):
    amount: int


def app_that_books_and_raises(
    topic: str, kafka: Kafka, database_url: str, signal: Exception, calls: list[int]
) -> App:
    """The signal is raised in the first attempt of each delivery, behind the effect."""
    app = App("billing", settings=settings_for(kafka, DATABASE_URL=database_url))

    @app.listener(Topic(topic, Paid))
    async def book(event: Paid, tx: Transaction, record: Record) -> None:
        calls.append(record.attempt)
        await tx.session.execute(
            text("INSERT INTO effect VALUES (:event_id, :amount)"),
            {"event_id": tx.event_id, "amount": event.amount},
        )
        if record.attempt == 1:
            raise signal

    return app


class End(NamedTuple):
    """What is left of an event that is sent twice."""

    signal: Exception
    attempts: list[int]
    effects: list[tuple[int]]
    statuses: list[tuple[str]]


@pytest.mark.parametrize(
    "end",
    [
        End(Skip("not ours"), attempts=[1, 1], effects=[], statuses=[]),
        End(DeadLetter("no such customer"), attempts=[1], effects=[], statuses=[("dead",)]),
        End(Retry(after=timedelta(0)), attempts=[1, 2], effects=[(7,)], statuses=[("done",)]),
    ],
    ids=lambda end: type(end.signal).__name__,
)
async def test_the_effect_of_the_attempt_is_rolled_back_and_a_second_send_ends_as_the_first_did(
    kafka: Kafka, new_topic: NewTopic, migrated: str, sql: psycopg.Connection, end: End
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    calls: list[int] = []
    app = app_that_books_and_raises(topic, kafka, migrated, end.signal, calls)

    produce(kafka, topic, [PAYMENT, PAYMENT], headers=ID)
    async with running(app):
        await until(lambda: committed(kafka, "billing", topic) == {0: 2}, what="all is committed")

    assert calls == end.attempts
    assert sql.execute("SELECT amount FROM effect").fetchall() == end.effects
    assert sql.execute("SELECT status FROM ottla.inbox").fetchall() == end.statuses
    assert len(dead_letters(kafka, topic)) == end.statuses.count(("dead",))
