"""Connections end: by an operator, a crash, a network, a proxy. No record may pay for that.

Whatever a handler raises over a dead connection is the world's failure, not an attempt
of the handler's; and a COMMIT whose answer was lost must be told by the next delivery.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from ottla.errors import DatabaseUnavailable, DeadLetter
from ottla.ports import Claim, InboxKey
from ottla.postgres.database import Database, DatabaseSettings
from ottla.postgres.inbox import PostgresInbox
from ottla.records import EncodedRecord, Headers
from ottla.transaction import Transaction
from tests.support.tcp_proxy import TcpProxy

KEY = InboxKey("billing", "order-1", b"d" * 32)
COMMIT = b"COMMIT\x00"  # and not BEGIN ISOLATION LEVEL READ COMMITTED
EFFECT = text("INSERT INTO effect VALUES ('order-1', 1)")
PID = text("SELECT pg_backend_pid()")


async def effect(tx: Transaction) -> None:
    await tx.session.execute(EFFECT)


def end_backend(sql: psycopg.Connection, pid: int | None) -> None:
    """End a backend, and return only when it is gone."""
    assert sql.execute("SELECT pg_terminate_backend(%s, 5000)", [pid]).fetchone() == (True,)


def count(sql: psycopg.Connection, table: str = "effect") -> int:
    row = sql.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


async def _kill_own(tx: Transaction, sql: psycopg.Connection) -> None:
    await effect(tx)
    end_backend(sql, (await tx.session.execute(PID)).scalar())


async def test_a_connection_that_ends_below_a_statement_is_no_failure_of_the_handler(
    inbox: PostgresInbox, sql: psycopg.Connection
) -> None:
    async def body(tx: Transaction) -> None:
        await _kill_own(tx, sql)
        await tx.session.execute(EFFECT)

    with pytest.raises(DatabaseUnavailable):
        await inbox.once(KEY, body)

    assert count(sql) == count(sql, "ottla.inbox") == 0
    assert await inbox.once(KEY, effect) is Claim.FRESH


@pytest.mark.parametrize("said", [ValueError("wrapped"), DeadLetter("gave up"), None])
async def test_nothing_that_a_handler_says_after_its_connection_ended_is_believed(
    inbox: PostgresInbox, sql: psycopg.Connection, said: Exception | None
) -> None:
    async def body(tx: Transaction) -> None:
        await _kill_own(tx, sql)
        try:
            await tx.session.execute(EFFECT)
        except DBAPIError:
            if said is not None:
                raise said from None

    with pytest.raises(DatabaseUnavailable):
        await inbox.once(KEY, body)

    assert count(sql) == 0


async def test_a_connection_that_ends_unnoticed_while_the_handler_works_elsewhere_is_found_at_its_end(
    inbox: PostgresInbox, sql: psycopg.Connection
) -> None:
    async def fails_for_its_own_reasons(tx: Transaction) -> None:
        await _kill_own(tx, sql)
        raise ValueError("of the handler")

    with pytest.raises(DatabaseUnavailable):
        await inbox.once(KEY, lambda tx: _kill_own(tx, sql))
    with pytest.raises(DatabaseUnavailable):
        await inbox.once(KEY, fails_for_its_own_reasons)

    assert count(sql) == 0


async def test_the_same_holds_in_a_thread(inbox: PostgresInbox, sql: psycopg.Connection) -> None:
    def body(tx: Transaction[Session]) -> None:
        end_backend(sql, tx.session.execute(PID).scalar())
        try:
            tx.session.execute(EFFECT)
        except DBAPIError as error:
            raise ValueError("wrapped") from error

    with pytest.raises(DatabaseUnavailable):
        await asyncio.to_thread(inbox.once_in_thread, KEY, body)

    assert (
        await asyncio.to_thread(inbox.once_in_thread, KEY, lambda tx: tx.session.execute(EFFECT))
        is Claim.FRESH
    )
    assert count(sql) == 1


async def test_connections_that_ended_while_idle_are_replaced_without_an_error(
    inbox: PostgresInbox, sql: psycopg.Connection
) -> None:
    keys = [InboxKey("billing", f"order-{number}", b"d" * 32) for number in range(8)]
    await asyncio.gather(*(inbox.once(key, effect) for key in keys[:4]))
    ended = sql.execute(
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
        "WHERE application_name = 'ottla' AND datname = current_database()"
    ).fetchone()

    claims = await asyncio.gather(*(inbox.once(key, effect) for key in keys[4:]))

    assert ended is not None
    assert ended[0] > 0
    assert claims == [Claim.FRESH] * 4


async def test_a_handler_that_leaves_its_transaction_idle_for_too_long_is_ended(
    migrated: str, sql: psycopg.Connection
) -> None:
    database = Database(migrated, DatabaseSettings(connections=1, idle_in_transaction_s=0.1))
    await database.open()
    inbox = PostgresInbox(database)

    async def dawdle(tx: Transaction) -> None:
        await effect(tx)
        pid = (await tx.session.execute(PID)).scalar()
        while sql.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone():
            sql.execute("SELECT pg_sleep(0.01)")

    with pytest.raises(DatabaseUnavailable, match="idle-in-transaction"):
        await inbox.once(KEY, dawdle)
    await database.close()


@pytest.fixture
def proxy(migrated: str) -> Iterator[TcpProxy]:
    url = make_url(migrated)
    assert url.host is not None
    with TcpProxy((url.host, url.port or 5432)) as proxy:
        yield proxy


@pytest.fixture
async def behind_proxy(migrated: str, proxy: TcpProxy) -> AsyncIterator[Database]:
    url = make_url(migrated).set(host="127.0.0.1", port=proxy.port)
    settings = DatabaseSettings(connections=2, threads=1)
    database = Database(url.render_as_string(hide_password=False), settings)
    await database.open()
    yield database
    await database.close()


async def test_a_commit_whose_answer_was_lost_is_found_done(
    behind_proxy: Database, proxy: TcpProxy, sql: psycopg.Connection
) -> None:
    inbox = PostgresInbox(behind_proxy)
    proxy.lose_the_answer_to(COMMIT)

    with pytest.raises(DatabaseUnavailable):
        await inbox.once(KEY, effect)

    assert proxy.lost_an_answer.is_set()
    assert await inbox.once(KEY, effect) is Claim.DONE
    assert count(sql) == 1


async def test_a_commit_whose_answer_was_lost_in_a_thread_is_found_done(
    behind_proxy: Database, proxy: TcpProxy, sql: psycopg.Connection
) -> None:
    inbox = PostgresInbox(behind_proxy)
    proxy.lose_the_answer_to(COMMIT)

    def body(tx: Transaction[Session]) -> None:
        tx.session.execute(EFFECT)

    with pytest.raises(DatabaseUnavailable):
        await asyncio.to_thread(inbox.once_in_thread, KEY, body)

    assert await asyncio.to_thread(inbox.once_in_thread, KEY, body) is Claim.DONE
    assert count(sql) == 1


async def test_a_burial_whose_answer_was_lost_is_found_with_one_letter(
    behind_proxy: Database, proxy: TcpProxy, sql: psycopg.Connection
) -> None:
    letter = EncodedRecord("orders-billing-dlt", b"key", b"value", Headers())
    inbox = PostgresInbox(behind_proxy)
    proxy.lose_the_answer_to(COMMIT)

    with pytest.raises(DatabaseUnavailable):
        await inbox.bury(KEY, letter)

    assert await inbox.bury(KEY, letter) is Claim.DEAD
    assert sql.execute("SELECT topic, value FROM ottla.outbox").fetchall() == [
        ("orders-billing-dlt", b"value")
    ]


async def test_closing_waits_for_no_answer_of_a_database_that_hangs(
    behind_proxy: Database, proxy: TcpProxy
) -> None:
    inbox = PostgresInbox(behind_proxy)
    is_open = asyncio.Event()

    async def hang(tx: Transaction) -> None:
        await effect(tx)
        proxy.fall_silent()
        is_open.set()
        await tx.session.execute(EFFECT)

    delivery = asyncio.create_task(inbox.once(KEY, hang))
    await is_open.wait()
    began = time.monotonic()

    await behind_proxy.close()

    with pytest.raises(DatabaseUnavailable):
        await delivery
    assert time.monotonic() - began < 1


async def test_closing_ends_a_thread_that_waits_for_a_database_that_hangs(
    behind_proxy: Database, proxy: TcpProxy
) -> None:
    inbox = PostgresInbox(behind_proxy)
    loop, is_open = asyncio.get_running_loop(), asyncio.Event()

    def hang(tx: Transaction[Any]) -> None:
        tx.session.execute(EFFECT)
        proxy.fall_silent()
        loop.call_soon_threadsafe(is_open.set)
        tx.session.execute(EFFECT)

    delivery = asyncio.create_task(asyncio.to_thread(inbox.once_in_thread, KEY, hang))
    await is_open.wait()
    began = time.monotonic()

    await behind_proxy.close()

    with pytest.raises(DatabaseUnavailable):
        await delivery
    assert time.monotonic() - began < 1


async def test_after_closing_nothing_begins(database: Database) -> None:
    inbox = PostgresInbox(database)
    await database.close()

    with pytest.raises(DatabaseUnavailable, match="closed"):
        await inbox.once(KEY, effect)
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await asyncio.to_thread(inbox.once_in_thread, KEY, lambda _tx: None)
