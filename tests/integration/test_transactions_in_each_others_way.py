"""Transactions meet: a deadlock, a lock that is not given in time, a serialization failure.

The database is well, so it is nobody's failed attempt, and no reason to hold up more than
the record that met it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from ottla import App, InPlace, Record, Topic, Transaction
from ottla.errors import TransactionConflict
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.failing import dead_letters, topic_with_dead_letters
from tests.support.kafka_server import Kafka

ONCE = InPlace(attempts=1)
BOOK = text("INSERT INTO effect VALUES (:value, 1)")
LOCK = text("SELECT FROM parent WHERE id = :id FOR UPDATE")
SAID = "4. conflict of transactions"


class Bank(NamedTuple):
    """Two accounts: `sql` sees what is committed, transactions of `other` stand in the way."""

    url: str
    sql: psycopg.Connection
    other: psycopg.Connection

    def booked(self) -> list[str]:
        return sorted(value for (value,) in self.sql.execute("SELECT event_id FROM effect"))


@pytest.fixture
def bank(migrated: str, sql: psycopg.Connection) -> Iterator[Bank]:
    sql.execute("INSERT INTO parent VALUES (1), (2)")
    with psycopg.connect(migrated) as other:
        yield Bank(migrated, sql, other)
        other.rollback()


def impatient(kafka: Kafka, url: str) -> App:
    return App("billing", settings=settings_for(kafka, DATABASE_URL=url, DATABASE_LOCK_TIMEOUT_S="0.1"))


@pytest.mark.parametrize("is_async", [True, False], ids=["async def", "def"])
async def test_a_record_whose_lock_does_not_come_holds_up_its_key_alone_and_is_no_attempt(
    kafka: Kafka,
    new_topic: NewTopic,
    bank: Bank,
    caplog: pytest.LogCaptureFixture,
    *,
    is_async: bool,
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = impatient(kafka, bank.url)
    attempts: list[int] = []

    async def book(value: str, record: Record, tx: Transaction) -> None:
        attempts.append(record.attempt)
        await tx.session.execute(LOCK, {"id": 1 if value.startswith("blocked") else 2})
        await tx.session.execute(BOOK, {"value": value})

    def book_in_thread(value: str, record: Record, tx: Transaction[Session]) -> None:
        attempts.append(record.attempt)
        tx.session.execute(LOCK, {"id": 1 if value.startswith("blocked") else 2})
        tx.session.execute(BOOK, {"value": value})

    app.listener(Topic(topic, str), retry=ONCE)(book if is_async else book_in_thread)
    bank.other.execute("SELECT FROM parent WHERE id = 1 FOR UPDATE")
    produce(kafka, topic, [("a", "blocked-1"), ("a", "blocked-2"), ("b", "free-1")])
    async with running(app):
        await until(lambda: SAID in caplog.text, what="it has met some conflicts")
        produce(kafka, topic, [("b", "free-2"), ("c", "free-3")])
        await until(lambda: len(bank.booked()) == 3, what="other keys go on")
        meanwhile, unready = bank.booked(), app.unready()
        bank.other.rollback()
        await until(lambda: committed(kafka, "billing", topic) == {0: 5}, what="all is committed")

    assert meanwhile == ["free-1", "free-2", "free-3"]
    assert unready == {}
    assert "starts nothing" not in caplog.text
    assert set(attempts) == {1}
    assert bank.booked() == ["blocked-1", "blocked-2", *meanwhile]
    assert dead_letters(kafka, topic) == []


async def test_two_handlers_that_deadlock_both_have_their_effect_once(
    kafka: Kafka,
    new_topic: NewTopic,
    bank: Bank,
    caplog: pytest.LogCaptureFixture,
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App("billing", settings=settings_for(kafka, DATABASE_URL=bank.url))
    both_hold_one = asyncio.Barrier(2)
    calls: list[str] = []

    @app.listener(Topic(topic, str), retry=ONCE)
    async def book(value: str, tx: Transaction) -> None:
        calls.append(value)
        for number, account in enumerate(value):
            await tx.session.execute(LOCK, {"id": int(account)})
            if number == 0 and calls.count(value) == 1:
                await both_hold_one.wait()
        await tx.session.execute(BOOK, {"value": value})

    produce(kafka, topic, [("a", "12"), ("b", "21")])
    async with running(app):
        await until(lambda: committed(kafka, "billing", topic) == {0: 2}, what="both are done")

    assert len(calls) == 3
    assert bank.booked() == ["12", "21"]
    assert "starts nothing" not in caplog.text
    assert dead_letters(kafka, topic) == []


async def test_a_conflict_while_a_dead_letter_is_buried_does_not_stop_its_partition(
    kafka: Kafka,
    new_topic: NewTopic,
    bank: Bank,
    caplog: pytest.LogCaptureFixture,
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = impatient(kafka, bank.url)

    @app.listener(Topic(topic, str), retry=ONCE)
    async def book(value: str, tx: Transaction) -> None:
        await tx.session.execute(BOOK, {"value": value})

    row = [f"billing/{topic}", b"d" * 32]
    bank.other.execute("INSERT INTO ottla.inbox VALUES (%s, 'e-1', %s, 'done')", row)
    async with running(app):
        produce(kafka, topic, [("a", b"\xff")], headers=[("ottla-event-id", b"e-1")])
        await until(lambda: SAID in caplog.text, what="the burial has met some conflicts")
        produce(kafka, topic, [("b", "free")])
        await until(bank.booked, what="another key goes on")
        unready = app.unready()
        bank.other.rollback()
        await until(lambda: dead_letters(kafka, topic), what="the dead letter is written")

    assert unready == {}
    assert "could not be written" not in caplog.text
    assert [letter.value() for letter in dead_letters(kafka, topic)] == [b"\xff"]


async def test_a_caller_of_transaction_is_told_to_run_it_again(kafka: Kafka, bank: Bank) -> None:
    app = App("orders", settings=settings_for(kafka, DATABASE_URL=bank.url))

    async def book_what_is_not_booked(meanwhile: bool) -> None:  # noqa: FBT001  (of the test's own)
        async with app.transaction() as tx:
            await tx.session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            await tx.session.execute(text("SELECT FROM parent"))
            if meanwhile:
                bank.sql.execute("UPDATE parent SET id = 3 WHERE id = 1")
            await tx.session.execute(text("UPDATE parent SET id = id + 10"))

    async with running(app):
        with pytest.raises(TransactionConflict, match="could not serialize"):
            await book_what_is_not_booked(meanwhile=True)
        await book_what_is_not_booked(meanwhile=False)

    assert sorted(bank.sql.execute("SELECT id FROM parent").fetchall()) == [(12,), (13,)]
