"""A handler's own errors are raised as they are, after the rollback.

What PostgreSQL refuses only for now, a deadlock or a lock, is not the handler's.
"""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from ottla.errors import TransactionConflict
from ottla.ports import Claim, InboxKey
from ottla.postgres.inbox import PostgresInbox
from ottla.transaction import Transaction

KEY = InboxKey("billing", "order-1", b"d" * 32)
NEGATIVE = text("INSERT INTO effect VALUES ('order-1', -1)")
POSITIVE = text("INSERT INTO effect VALUES ('order-1', 1)")


class Base(DeclarativeBase):
    pass


class Effect(Base):
    __tablename__ = "effect"
    event_id: Mapped[str] = mapped_column(primary_key=True)
    amount: Mapped[int]


def rows(sql: psycopg.Connection, table: str = "effect") -> list[tuple[Any, ...]]:
    return sql.execute(f"SELECT * FROM {table}".encode()).fetchall()


async def test_what_is_added_to_the_session_is_flushed_and_stays_readable(
    inbox: PostgresInbox, sql: psycopg.Connection
) -> None:
    made: list[Effect] = []

    async def body(tx: Transaction) -> None:
        made.append(Effect(event_id=tx.event_id, amount=3))
        tx.session.add(made[0])

    await inbox.once(KEY, body)

    assert rows(sql) == [("order-1", 3)]
    assert made[0].amount == 3


async def test_an_error_of_the_flush_is_the_handlers(inbox: PostgresInbox, sql: psycopg.Connection) -> None:
    async def body(tx: Transaction) -> None:
        tx.session.add(Effect(event_id=tx.event_id, amount=-3))

    with pytest.raises(IntegrityError):
        await inbox.once(KEY, body)

    assert rows(sql) == rows(sql, "ottla.inbox") == []


async def test_an_error_of_a_flush_in_a_thread_is_the_handlers(
    inbox: PostgresInbox, sql: psycopg.Connection
) -> None:
    def body(tx: Transaction[Session]) -> None:
        tx.session.add(Effect(event_id=tx.event_id, amount=-3))

    with pytest.raises(IntegrityError):
        await asyncio.to_thread(inbox.once_in_thread, KEY, body)

    assert rows(sql) == rows(sql, "ottla.inbox") == []


async def test_an_error_that_only_the_commit_finds_is_the_handlers(
    inbox: PostgresInbox, sql: psycopg.Connection
) -> None:
    async def body(tx: Transaction) -> None:
        await tx.session.execute(text("INSERT INTO child VALUES (1)"))

    with pytest.raises(IntegrityError):
        await inbox.once(KEY, body)

    assert rows(sql, "child") == rows(sql, "ottla.inbox") == []


async def test_errors_of_the_handler_show_no_parameters(inbox: PostgresInbox) -> None:
    async def body(tx: Transaction) -> None:
        await tx.session.execute(text("SELECT CAST(:card AS integer) / 0"), {"card": 4111})

    with pytest.raises(DBAPIError) as caught:
        await inbox.once(KEY, body)

    assert "division by zero" in str(caught.value)
    assert "4111" not in str(caught.value)


async def test_a_handler_that_swallows_a_failed_statement_fails_with_it(
    inbox: PostgresInbox, sql: psycopg.Connection
) -> None:
    async def body(tx: Transaction) -> None:
        await tx.session.execute(POSITIVE)
        try:
            await tx.session.execute(NEGATIVE)
        except IntegrityError:
            return

    with pytest.raises((psycopg.errors.CheckViolation, IntegrityError)):
        await inbox.once(KEY, body)

    assert rows(sql) == rows(sql, "ottla.inbox") == []


async def test_a_part_that_may_fail_has_a_savepoint(inbox: PostgresInbox, sql: psycopg.Connection) -> None:
    async def body(tx: Transaction) -> None:
        await tx.session.execute(POSITIVE)
        try:
            async with tx.session.begin_nested():
                await tx.session.execute(NEGATIVE)
        except IntegrityError:
            return

    assert await inbox.once(KEY, body) is Claim.FRESH
    assert rows(sql) == [("order-1", 1)]


async def test_a_commit_by_the_handler_is_only_a_flush(inbox: PostgresInbox, sql: psycopg.Connection) -> None:
    async def body(tx: Transaction) -> None:
        await tx.session.execute(POSITIVE)
        await tx.session.commit()
        await tx.session.execute(NEGATIVE)

    with pytest.raises(IntegrityError):
        await inbox.once(KEY, body)

    assert rows(sql) == rows(sql, "ottla.inbox") == []


@pytest.mark.parametrize("statements_after", [0, 1])
async def test_a_rollback_by_the_handler_fails_it(
    inbox: PostgresInbox, sql: psycopg.Connection, statements_after: int
) -> None:
    async def body(tx: Transaction) -> None:
        await tx.session.execute(POSITIVE)
        await tx.session.rollback()
        for _ in range(statements_after):
            await tx.session.execute(POSITIVE)

    with pytest.raises(RuntimeError, match="begin_nested"):
        await inbox.once(KEY, body)

    assert rows(sql) == rows(sql, "ottla.inbox") == []
    assert await inbox.once(KEY, lambda tx: tx.session.execute(POSITIVE)) is Claim.FRESH


async def test_a_deadlock_is_no_failure_of_the_handler(inbox: PostgresInbox, sql: psycopg.Connection) -> None:
    sql.execute("INSERT INTO parent VALUES (1), (2)")
    both_hold_one = asyncio.Barrier(2)

    async def body(tx: Transaction, first: int, second: int) -> None:
        await tx.session.execute(text("SELECT FROM parent WHERE id = :id FOR UPDATE"), {"id": first})
        await both_hold_one.wait()
        await tx.session.execute(text("SET LOCAL lock_timeout = 0"))
        await tx.session.execute(text("SELECT FROM parent WHERE id = :id FOR UPDATE"), {"id": second})

    ends = await asyncio.gather(
        inbox.once(InboxKey("a", "1", KEY.digest), lambda tx: body(tx, 1, 2)),
        inbox.once(InboxKey("b", "2", KEY.digest), lambda tx: body(tx, 2, 1)),
        return_exceptions=True,
    )

    assert Claim.FRESH in ends
    assert [type(end) for end in ends if end is not Claim.FRESH] == [TransactionConflict]


async def test_a_lock_that_is_not_given_in_time_is_no_failure_of_the_handler(
    inbox: PostgresInbox, migrated: str
) -> None:
    with psycopg.connect(migrated) as other:
        other.execute("LOCK TABLE effect")

        with pytest.raises(TransactionConflict, match="lock timeout"):
            await inbox.once(KEY, lambda tx: tx.session.execute(POSITIVE))


async def test_a_lock_that_the_handler_would_not_wait_for_is_its_own_affair(
    inbox: PostgresInbox, migrated: str
) -> None:
    with psycopg.connect(migrated) as other:
        other.execute("LOCK TABLE effect")

        with pytest.raises(OperationalError, match="could not obtain lock"):
            await inbox.once(KEY, lambda tx: tx.session.execute(text("LOCK TABLE effect NOWAIT")))


async def test_waiting_too_long_for_the_row_of_another_process_is_no_failure_of_the_handler(
    inbox: PostgresInbox, migrated: str
) -> None:
    with psycopg.connect(migrated) as other:
        other.execute("INSERT INTO ottla.inbox VALUES ('billing', 'order-1', %s, 'done')", [KEY.digest])

        with pytest.raises(TransactionConflict, match="lock timeout"):
            await inbox.once(KEY, lambda tx: tx.session.execute(POSITIVE))

    assert await inbox.once(KEY, lambda tx: tx.session.execute(POSITIVE)) is Claim.DONE


async def test_a_failure_of_another_database_is_the_handlers_own(inbox: PostgresInbox) -> None:
    async def body(tx: Transaction) -> None:
        await tx.session.execute(POSITIVE)
        await psycopg.AsyncConnection.connect("host=127.0.0.1 port=1 connect_timeout=1")

    with pytest.raises(psycopg.OperationalError):
        await inbox.once(KEY, body)


async def test_tables_that_are_missing_only_for_the_handler_are_its_own_affair(inbox: PostgresInbox) -> None:
    with pytest.raises(DBAPIError, match="does not exist"):
        await inbox.once(KEY, lambda tx: tx.session.execute(text("SELECT FROM nowhere")))
