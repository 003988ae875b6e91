"""A key's rows become visible in the order of their ids, however many write at once.

A relay that has sent one record of a key sends none below it before: what became visible
late would be sent late. Sequences alone give no such order, since a transaction may take
its id first and commit last.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator

import psycopg
import pytest
from sqlalchemy import Connection, text

from ottla.postgres.database import Database, DatabaseSettings
from ottla.postgres.outbox import PostgresOutbox
from ottla.postgres.transactions import PostgresTransactions
from ottla.records import EncodedRecord, Headers
from tests.support.apps import until

WRITERS = 8
KEYS = [f"key-{number}" for number in range(20)]
LASTS_S = 3.0
LEAST_ROWS = 500


@pytest.fixture
async def wide_database(migrated: str) -> AsyncIterator[Database]:
    """A `Database` with a connection for each writer."""
    database = Database(migrated, DatabaseSettings(connections=10))
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def slow_commits(sql: psycopg.Connection) -> None:
    """COMMIT takes up to 10 ms where there is an effect: ids are taken, and their rows not visible."""
    sql.execute(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(random() * 0.01); RETURN NULL; END $$"
    )
    sql.execute(
        "CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON effect DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION dawdle()"
    )


class Reader:
    """Looks at what is committed, and counts rows that come after a later one of their key."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self._connection = connection
        self._below = 0  # every id up to here has been seen
        self._seen: set[int] = set()
        self._highest: dict[bytes, int] = defaultdict(int)
        self.rows = 0
        self.late = 0

    async def look(self) -> None:
        cursor = await self._connection.execute(
            "SELECT id, key FROM ottla.outbox WHERE id > %s ORDER BY id", [self._below]
        )
        for id_, key in await cursor.fetchall():
            if id_ not in self._seen:
                self.rows += 1
                self.late += id_ < self._highest[key]
                self._seen.add(id_)
                self._highest[key] = max(id_, self._highest[key])
        while self._below + 1 in self._seen:
            self._below += 1
            self._seen.discard(self._below)

    async def look_until(self, done: asyncio.Event) -> None:
        while not done.is_set():
            await self.look()
        await self.look()


@pytest.fixture
async def reader(migrated: str) -> AsyncIterator[Reader]:
    async with await psycopg.AsyncConnection.connect(migrated, autocommit=True) as connection:
        yield Reader(connection)


async def write(transactions: PostgresTransactions, seed: int) -> int:
    """Transactions of random length for `LASTS_S`, one after the other; how many rows they stored."""
    chance, stored = random.Random(seed), 0
    loop = asyncio.get_running_loop()
    ends = loop.time() + LASTS_S
    while loop.time() < ends:
        async with transactions.begin() as tx:
            for key in chance.choices(KEYS, k=chance.randint(1, 3)):
                await tx.send("orders", b"placed", key=key)
                stored += 1
            await tx.session.execute(text("INSERT INTO effect VALUES ('order-1', 1)"))
            await tx.session.execute(text("SELECT pg_sleep(:s)"), {"s": chance.uniform(0, 0.005)})
    return stored


async def test_no_row_becomes_visible_after_a_later_one_of_its_key(
    wide_database: Database, reader: Reader, slow_commits: None
) -> None:
    transactions = PostgresTransactions(wide_database, PostgresOutbox(wide_database))
    done = asyncio.Event()

    looking = asyncio.create_task(reader.look_until(done))
    stored = await asyncio.gather(*(write(transactions, seed) for seed in range(WRITERS)))
    done.set()
    await looking

    assert reader.late == 0
    assert reader.rows == sum(stored) >= LEAST_ROWS


def put(connection: Connection, outbox: PostgresOutbox, key: bytes | None, value: bytes) -> None:
    outbox.put(connection, [EncodedRecord("orders", key, value, Headers())])


async def store(database: Database, outbox: PostgresOutbox, key: bytes | None, value: bytes) -> None:
    async with database.connection() as connection, connection.begin():
        await connection.run_sync(put, outbox, key, value)


def waits(sql: psycopg.Connection) -> bool:
    """Whether somebody waits for a stripe."""
    return bool(
        sql.execute("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchall(),
    )


def values(sql: psycopg.Connection) -> list[bytes]:
    return [value for (value,) in sql.execute("SELECT value FROM ottla.outbox ORDER BY id")]


async def test_a_transaction_waits_for_one_of_its_key_that_has_its_ids_and_not_for_others(
    wide_database: Database, sql: psycopg.Connection
) -> None:
    outbox = PostgresOutbox(wide_database)

    async with wide_database.connection() as connection, connection.begin():
        await connection.run_sync(put, outbox, b"a", b"first")
        second = asyncio.create_task(store(wide_database, outbox, b"a", b"second"))
        await until(lambda: waits(sql), what="the second waits for the first")
        await store(wide_database, outbox, b"b", b"another key")
        await store(wide_database, outbox, None, b"no key")
        during = values(sql)
    await second

    assert during == [b"another key", b"no key"]
    assert values(sql) == [b"first", b"another key", b"no key", b"second"]


async def test_without_the_locks_a_row_comes_late_and_the_reader_counts_it(
    wide_database: Database, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = PostgresOutbox(wide_database)
    monkeypatch.setattr(outbox._sql, "lock", "SELECT 1")

    async with wide_database.connection() as connection, connection.begin():
        await connection.run_sync(put, outbox, b"a", b"first")
        await store(wide_database, outbox, b"a", b"second")
        await reader.look()
    await reader.look()

    assert (reader.rows, reader.late) == (2, 1)
