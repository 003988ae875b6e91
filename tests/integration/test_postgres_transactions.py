"""`App.transaction` and `tx.send`: rows and records leave together or not at all, however the block ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from ottla.core.outbox import stripe_of
from ottla.errors import DatabaseUnavailable, NotSerializable, TransactionConflict
from ottla.ports import Claim, InboxKey
from ottla.postgres.database import Database, DatabaseSettings
from ottla.postgres.inbox import PostgresInbox
from ottla.postgres.outbox import PostgresOutbox, _lock_class
from ottla.postgres.transactions import PostgresTransactions
from ottla.transaction import Transaction
from tests.support.apps import until
from tests.support.tcp_proxy import TcpProxy

KEY = InboxKey("billing", "order-1", b"d" * 32)
COMMIT = b"COMMIT\x00"  # and not BEGIN ISOLATION LEVEL READ COMMITTED
EFFECT = text("INSERT INTO effect VALUES ('order-1', 1)")
NEGATIVE = text("INSERT INTO effect VALUES ('order-1', -1)")
ORPHAN = text("INSERT INTO child VALUES (1)")
PID = text("SELECT pg_backend_pid()")


class Base(DeclarativeBase):
    pass


class Effect(Base):
    __tablename__ = "effect"
    event_id: Mapped[str] = mapped_column(primary_key=True)
    amount: Mapped[int]


class BlockFailed(Exception):
    pass


@pytest.fixture
def transactions(database: Database) -> PostgresTransactions:
    return PostgresTransactions(database, PostgresOutbox(database))


async def write_both(tx: Transaction) -> None:
    """A row of the application and a record of the outbox."""
    await tx.session.execute(EFFECT)
    await tx.send("orders", b"placed", key="order-1")


async def nothing(tx: Transaction) -> None: ...


async def run(transactions: PostgresTransactions, block: Callable[[Transaction], Awaitable[Any]]) -> None:
    """A transaction that writes both, then does what `block` says."""
    async with transactions.begin() as tx:
        await write_both(tx)
        await block(tx)


def rows(sql: psycopg.Connection, what: str) -> list[tuple[Any, ...]]:
    return sql.execute(f"SELECT {what}".encode()).fetchall()


def remaining(sql: psycopg.Connection) -> tuple[int, int, int]:
    """How many effects, children and stored records there are."""
    counts = (
        "(SELECT count(*) FROM effect), (SELECT count(*) FROM child), (SELECT count(*) FROM ottla.outbox)"
    )
    ((effects, children, records),) = rows(sql, counts)
    return effects, children, records


async def use_every_connection(transactions: PostgresTransactions, sql: psycopg.Connection) -> None:
    """The pool gives each of its two connections, both at once, and they commit."""
    both_are_open = asyncio.Barrier(2)

    async def one() -> None:
        async with transactions.begin() as tx:
            await write_both(tx)
            await both_are_open.wait()

    before = remaining(sql)
    await asyncio.wait_for(asyncio.gather(one(), one()), 10)
    assert remaining(sql) == (before[0] + 2, before[1], before[2] + 2)


async def test_row_and_record_are_committed_when_the_block_ends(
    transactions: PostgresTransactions, sql: psycopg.Connection
) -> None:
    async with transactions.begin() as tx:
        await write_both(tx)
        during = remaining(sql)

    assert during == (0, 0, 0)
    assert remaining(sql) == (1, 0, 1)
    assert rows(sql, "DISTINCT xmin::text FROM effect") == rows(sql, "xmin::text FROM ottla.outbox")


async def test_what_is_added_to_the_session_is_flushed_and_stays_readable(
    transactions: PostgresTransactions, sql: psycopg.Connection
) -> None:
    made = Effect(event_id="order-1", amount=3)

    async with transactions.begin() as tx:
        tx.session.add(made)

    assert rows(sql, "* FROM effect") == [("order-1", 3)]
    assert made.amount == 3


async def test_each_transaction_has_an_event_id_of_its_own(transactions: PostgresTransactions) -> None:
    async with transactions.begin() as first, transactions.begin() as second:
        assert first.event_id != second.event_id


async def test_records_keep_the_order_of_their_sends(
    transactions: PostgresTransactions, sql: psycopg.Connection
) -> None:
    async with transactions.begin() as tx:
        await tx.send("orders", b"1", key="a")
        await tx.send("orders", b"2", key="b")
        await tx.send("payments", b"3", key="a")
        await tx.send("orders", b"4", key="a")
        await tx.send("orders", b"5")
        await tx.send("orders", b"6", key="a")
        sent = tx.sent

    stored = rows(sql, "topic, key, value FROM ottla.outbox ORDER BY id")
    assert stored == [(each.topic, each.key, each.value) for each in sent]
    assert [value for _, _, value in stored] == [b"1", b"2", b"3", b"4", b"5", b"6"]


async def test_what_the_block_raises_is_raised_and_nothing_remains(
    transactions: PostgresTransactions, sql: psycopg.Connection
) -> None:
    raised = BlockFailed("no")

    async def block(tx: Transaction) -> None:
        raise raised

    with pytest.raises(BlockFailed) as caught:
        await run(transactions, block)

    assert caught.value is raised
    assert remaining(sql) == (0, 0, 0)
    await use_every_connection(transactions, sql)


async def test_a_send_that_fails_stores_nothing_of_that_record_and_the_block_may_go_on(
    transactions: PostgresTransactions, sql: psycopg.Connection
) -> None:
    async with transactions.begin() as tx:
        await write_both(tx)
        with pytest.raises(NotSerializable):
            await tx.send("orders", object(), key="order-1")

    assert remaining(sql) == (1, 0, 1)


async def test_a_statement_that_fails_raises_its_error_and_nothing_remains(
    transactions: PostgresTransactions, sql: psycopg.Connection
) -> None:
    with pytest.raises(IntegrityError):
        await run(transactions, lambda tx: tx.session.execute(NEGATIVE))

    assert remaining(sql) == (0, 0, 0)
    await use_every_connection(transactions, sql)


async def test_a_constraint_that_the_flush_violates_raises_its_error_and_nothing_remains(
    transactions: PostgresTransactions, sql: psycopg.Connection
) -> None:
    async def block(tx: Transaction) -> None:
        tx.session.add(Effect(event_id="order-2", amount=-1))

    with pytest.raises(IntegrityError):
        await run(transactions, block)

    assert remaining(sql) == (0, 0, 0)
    await use_every_connection(transactions, sql)


async def test_a_constraint_that_only_the_commit_finds_violated_leaves_neither_row_nor_record(
    transactions: PostgresTransactions, sql: psycopg.Connection
) -> None:
    with pytest.raises(IntegrityError):
        await run(transactions, lambda tx: tx.session.execute(ORPHAN))

    assert remaining(sql) == (0, 0, 0)
    await use_every_connection(transactions, sql)


async def test_a_part_that_may_fail_has_a_savepoint(
    transactions: PostgresTransactions, sql: psycopg.Connection
) -> None:
    async with transactions.begin() as tx:
        await write_both(tx)
        with pytest.raises(IntegrityError):
            async with tx.session.begin_nested():
                await tx.session.execute(NEGATIVE)

    assert remaining(sql) == (1, 0, 1)


@pytest.mark.parametrize("statements_after", [0, 1])
async def test_a_rollback_by_the_block_fails_it(
    transactions: PostgresTransactions, sql: psycopg.Connection, statements_after: int
) -> None:
    async def block(tx: Transaction) -> None:
        await tx.session.rollback()
        for _ in range(statements_after):
            await tx.session.execute(EFFECT)

    with pytest.raises(RuntimeError, match="begin_nested"):
        await run(transactions, block)

    assert remaining(sql) == (0, 0, 0)
    await use_every_connection(transactions, sql)


async def test_a_block_that_swallows_a_failed_statement_fails_with_it(
    transactions: PostgresTransactions, sql: psycopg.Connection
) -> None:
    async def block(tx: Transaction) -> None:
        with pytest.raises(IntegrityError):
            await tx.session.execute(NEGATIVE)

    with pytest.raises((psycopg.errors.CheckViolation, IntegrityError)):
        await run(transactions, block)

    assert remaining(sql) == (0, 0, 0)
    await use_every_connection(transactions, sql)


async def test_a_block_that_swallows_a_failure_of_the_driver_below_fails(
    transactions: PostgresTransactions, sql: psycopg.Connection
) -> None:
    async def block(tx: Transaction) -> None:
        driver = (await (await tx.session.connection()).get_raw_connection()).driver_connection
        assert driver is not None
        with pytest.raises(psycopg.errors.DivisionByZero):
            await driver.execute("SELECT 1 / 0")

    with pytest.raises(RuntimeError, match="went on"):
        await run(transactions, block)

    assert remaining(sql) == (0, 0, 0)
    await use_every_connection(transactions, sql)


async def test_a_commit_by_the_block_is_only_a_flush(
    transactions: PostgresTransactions, sql: psycopg.Connection
) -> None:
    async def block(tx: Transaction) -> None:
        await tx.session.commit()
        raise BlockFailed

    with pytest.raises(BlockFailed):
        await run(transactions, block)

    assert remaining(sql) == (0, 0, 0)


@pytest.mark.parametrize("while_asking_the_database", [False, True])
async def test_a_cancelled_block_leaves_nothing_and_a_pool_that_works(
    transactions: PostgresTransactions, sql: psycopg.Connection, *, while_asking_the_database: bool
) -> None:
    is_open = asyncio.Event()

    async def hang(tx: Transaction) -> None:
        is_open.set()
        if while_asking_the_database:
            await tx.session.execute(text("SELECT pg_sleep(60)"))
        await asyncio.Event().wait()

    # More often than there are connections: one that were kept would be missed.
    for _ in range(3):
        is_open.clear()
        block = asyncio.create_task(run(transactions, hang))
        await is_open.wait()
        block.cancel()
        with pytest.raises(asyncio.CancelledError):
            await block

    assert remaining(sql) == (0, 0, 0)
    await use_every_connection(transactions, sql)


@pytest.fixture
def stripe_is_taken(migrated: str) -> Iterator[psycopg.Connection]:
    """Another transaction with a record of the same key, which does not end."""
    with psycopg.connect(migrated) as other:
        other.execute(
            "SELECT pg_advisory_xact_lock(%s::int, %s::int)",
            [_lock_class("ottla"), stripe_of("orders", b"order-1")],
        )
        yield other


async def test_a_key_whose_other_transaction_does_not_end_is_told_and_nothing_remains(
    transactions: PostgresTransactions, sql: psycopg.Connection, stripe_is_taken: psycopg.Connection
) -> None:
    with pytest.raises(TransactionConflict, match=r"writing to the outbox: .*lock timeout"):
        await run(transactions, nothing)

    assert remaining(sql) == (0, 0, 0)
    stripe_is_taken.rollback()
    await use_every_connection(transactions, sql)


async def test_a_block_that_is_cancelled_while_its_records_wait_leaves_nothing(
    transactions: PostgresTransactions, sql: psycopg.Connection, stripe_is_taken: psycopg.Connection
) -> None:
    waiting = "FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    block = asyncio.create_task(run(transactions, nothing))
    await until(lambda: rows(sql, waiting), what="the block waits for the stripe")
    block.cancel()

    with pytest.raises(asyncio.CancelledError):
        await block
    stripe_is_taken.rollback()
    await until(lambda: not rows(sql, waiting), what="its backend has given up")
    assert remaining(sql) == (0, 0, 0)
    await use_every_connection(transactions, sql)


async def end_own_backend(tx: Transaction, sql: psycopg.Connection) -> None:
    pid = (await tx.session.execute(PID)).scalar()
    assert sql.execute("SELECT pg_terminate_backend(%s, 5000)", [pid]).fetchone() == (True,)


async def test_a_connection_that_ends_below_a_statement_makes_the_database_unavailable(
    transactions: PostgresTransactions, sql: psycopg.Connection
) -> None:
    async def block(tx: Transaction) -> None:
        await end_own_backend(tx, sql)
        await tx.session.execute(EFFECT)

    with pytest.raises(DatabaseUnavailable):
        await run(transactions, block)

    assert remaining(sql) == (0, 0, 0)
    await use_every_connection(transactions, sql)


@pytest.mark.parametrize("said", [None, BlockFailed("of the block")])
async def test_a_connection_that_ends_unnoticed_is_found_at_the_end_whatever_the_block_says(
    transactions: PostgresTransactions, sql: psycopg.Connection, said: Exception | None
) -> None:
    async def block(tx: Transaction) -> None:
        await end_own_backend(tx, sql)
        if said is not None:
            raise said

    with pytest.raises(DatabaseUnavailable):
        await run(transactions, block)

    assert remaining(sql) == (0, 0, 0)
    await use_every_connection(transactions, sql)


async def test_a_connection_whose_end_the_block_swallows_makes_the_database_unavailable(
    transactions: PostgresTransactions, sql: psycopg.Connection
) -> None:
    async def block(tx: Transaction) -> None:
        await end_own_backend(tx, sql)
        with pytest.raises(DBAPIError):
            await tx.session.execute(EFFECT)

    with pytest.raises(DatabaseUnavailable):
        await run(transactions, block)

    assert remaining(sql) == (0, 0, 0)
    await use_every_connection(transactions, sql)


@pytest.fixture
def proxy(migrated: str) -> Iterator[TcpProxy]:
    url = make_url(migrated)
    assert url.host is not None
    with TcpProxy((url.host, url.port or 5432)) as proxy:
        yield proxy


@pytest.fixture
async def behind_proxy(migrated: str, proxy: TcpProxy) -> AsyncIterator[PostgresTransactions]:
    url = make_url(migrated).set(host="127.0.0.1", port=proxy.port)
    database = Database(url.render_as_string(hide_password=False), DatabaseSettings(connections=2))
    await database.open()
    yield PostgresTransactions(database, PostgresOutbox(database))
    await database.close()


async def test_a_commit_whose_answer_was_lost_makes_the_database_unavailable(
    behind_proxy: PostgresTransactions, proxy: TcpProxy, sql: psycopg.Connection
) -> None:
    proxy.lose_the_answer_to(COMMIT)

    with pytest.raises(DatabaseUnavailable):
        await run(behind_proxy, nothing)

    assert proxy.lost_an_answer.is_set()
    assert remaining(sql) == (1, 0, 1)  # it took place, and both of it
    await use_every_connection(behind_proxy, sql)


async def test_a_body_in_a_thread_sends_without_await_in_the_transaction_of_its_inbox_row(
    inbox: PostgresInbox, sql: psycopg.Connection
) -> None:
    def body(tx: Transaction[Session]) -> None:
        tx.session.execute(EFFECT)
        tx.send("orders", b"1", key="a")
        tx.send("orders", b"2", key="a")

    claim = await asyncio.to_thread(inbox.once_in_thread, KEY, body)

    assert claim is Claim.FRESH
    assert rows(sql, "key, value FROM ottla.outbox ORDER BY id") == [(b"a", b"1"), (b"a", b"2")]
    assert (
        rows(sql, "DISTINCT xmin::text FROM ottla.outbox")
        == rows(sql, "xmin::text FROM ottla.inbox")
        == rows(sql, "xmin::text FROM effect")
    )


async def test_a_body_in_a_thread_that_raises_stores_nothing(
    inbox: PostgresInbox, sql: psycopg.Connection
) -> None:
    raised = BlockFailed("no")

    def body(tx: Transaction[Session]) -> None:
        tx.session.execute(EFFECT)
        tx.send("orders", b"1", key="a")
        raise raised

    with pytest.raises(BlockFailed) as caught:
        await asyncio.to_thread(inbox.once_in_thread, KEY, body)

    assert caught.value is raised
    assert remaining(sql) == (0, 0, 0)
    assert rows(sql, "* FROM ottla.inbox") == []


async def test_a_second_delivery_stores_nothing_more(inbox: PostgresInbox, sql: psycopg.Connection) -> None:
    first = await inbox.once(KEY, write_both)
    second = await inbox.once(KEY, write_both)

    assert (first, second) == (Claim.FRESH, Claim.DONE)
    assert remaining(sql) == (1, 0, 1)
