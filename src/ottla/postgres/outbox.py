"""The outbox: rows that a transaction writes with its effects, and a relay sends.

Rows are inserted just before the commit, in one statement, under the advisory locks of
their stripes. Inserted earlier, or without the locks, rows of one key become visible in
another order than their ids (1,510 and 10 of 7,600 in a measurement with 8 writers and
20 keys), and a relay would send them in the order in which it happens to see them.

A relay reads and deletes on the connection whose session holds the locks of its shards,
so whoever has lost them can neither read nor delete.
"""

# ruff: noqa: S608  the one name put into SQL is the schema's, which `DatabaseSettings` has checked
from __future__ import annotations

import asyncio
import base64
import json
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.util import await_

from ottla.core.outbox import SHARDS, STRIPES, Census, StoredRecord, Wanted, stripe_of, stripes_to_lock
from ottla.ports import OutboxStatus
from ottla.postgres.database import Database, driver_of, our_own
from ottla.records import EncodedRecord, Headers

_TRY_AGAIN_S = 0.5
_PRESENCE_LOCK = -1
"""Shared by all relays, so that they can be counted. Beside the stripes, which have the same class of locks.

One that leads a whole outbox, as relays did before there were shards, holds it alone:
while services are upgraded, or taken back, the two kinds wait for each other.
"""
_FIRST_SHARD_LOCK = STRIPES
"""Behind the stripes."""
_CENSUS = """
SELECT objid::bigint, count(*) FROM pg_locks
WHERE locktype = 'advisory' AND granted AND classid = %s::bigint::oid AND objsubid = 2
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
GROUP BY objid
"""
_MOST_COUNTED = 100_000


class PostgresOutbox:
    """`ports.Outbox` on PostgreSQL, and the writing half for transactions."""

    def __init__(self, database: Database) -> None:
        self._database = database
        schema = database.settings.schema
        self._lock_class = _lock_class(schema)
        self._sql = _Statements(schema)

    def put(self, connection: Connection, records: Sequence[EncodedRecord]) -> None:
        """Insert `records` into the open transaction of `connection`, which must commit next.

        Runs in a thread on a synchronous connection, and in a greenlet of SQLAlchemy on an
        asynchronous one. Waits while another transaction with the same keys commits.
        """
        if not records:
            return
        locks = {
            "class": self._lock_class,
            "stripes": stripes_to_lock(
                None if record.key is None else (record.topic, record.key) for record in records
            ),
        }
        driver = driver_of(connection)
        with our_own("writing to the outbox"):
            if isinstance(driver, psycopg.AsyncConnection):
                await_(_put_async(driver, self._sql, locks, _columns(records)))
            else:
                with driver.pipeline():
                    driver.execute(self._sql.lock, locks)
                    driver.execute(self._sql.insert, _columns(records))

    @asynccontextmanager
    async def relaying(
        self, answered: Callable[[], None] = lambda: None
    ) -> AsyncIterator[PostgresOutboxSession]:
        """As `ports.Outbox.relaying`."""
        async with self._database.relay_connection() as connection:
            driver = driver_of(connection.sync_connection)
            assert isinstance(driver, psycopg.AsyncConnection)  # noqa: S101  (of an asynchronous engine)
            while not await self._is_present(driver):
                answered()
                await asyncio.sleep(_TRY_AGAIN_S)
            answered()
            yield PostgresOutboxSession(driver, self._sql, self._lock_class)

    async def _is_present(self, driver: psycopg.AsyncConnection[Any]) -> bool:
        with our_own("asking for a lock of the outbox"):
            cursor = await driver.execute(
                "SELECT pg_try_advisory_lock_shared(%s::int, %s::int)", [self._lock_class, _PRESENCE_LOCK]
            )
            row = await cursor.fetchone()
        return row is not None and bool(row[0])

    async def status(self) -> OutboxStatus:
        """As `ports.Outbox.status`."""
        async with self._database.connection() as connection:
            with our_own("reading the outbox"):
                row = (await connection.execute(self._sql.status)).one()
                await connection.rollback()
        return OutboxStatus(backlog=row.backlog, oldest_s=row.oldest_s or 0.0)

    async def topics(self) -> list[TopicBacklog]:
        """What waits, per topic; reads every row."""
        async with self._database.connection() as connection:
            with our_own("reading the outbox"):
                rows = (await connection.execute(self._sql.topics)).all()
                await connection.rollback()
        return [TopicBacklog(row.topic, row.records, row.oldest_s) for row in rows]


class TopicBacklog(NamedTuple):
    """What of one topic waits in the outbox."""

    topic: str
    records: int
    oldest_s: float


class PostgresOutboxSession:
    """`ports.OutboxSession`: reads and deletes while its session holds the locks."""

    def __init__(self, driver: psycopg.AsyncConnection[Any], sql: _Statements, lock_class: int) -> None:
        self._driver = driver
        self._sql = sql
        self._lock_class = lock_class

    async def census(self) -> Census:
        """As `ports.OutboxSession.census`."""
        # pg_locks has the two numbers of an advisory lock unsigned.
        counts: dict[int, int] = dict(
            await self._ask("counting the relays of the outbox", _CENSUS, [self._lock_class % 2**32])
        )
        relays = counts.pop(_PRESENCE_LOCK % 2**32, 0)
        shards = range(SHARDS)
        return Census(relays, frozenset(s for s in shards if s + _FIRST_SHARD_LOCK in counts))

    async def lock(self, shards: Sequence[int]) -> list[int]:
        """As `ports.OutboxSession.lock`."""
        return await self._locks("pg_try_advisory_lock", shards)

    async def unlock(self, shards: Sequence[int]) -> None:
        """As `ports.OutboxSession.unlock`."""
        await self._locks("pg_advisory_unlock", shards)

    async def _locks(self, function: str, shards: Sequence[int]) -> list[int]:
        if not shards:
            return []
        statement = f"SELECT shard FROM unnest(%s::int[]) AS shard WHERE {function}(%s::int, shard + %s::int)"
        parameters = [list(shards), self._lock_class, _FIRST_SHARD_LOCK]
        return [shard for (shard,) in await self._ask("locking the outbox", statement, parameters)]

    async def _ask(self, doing: str, statement: str, parameters: list[Any]) -> list[Any]:
        with our_own(doing):
            cursor = await self._driver.execute(statement, parameters)
            return await cursor.fetchall()

    async def read(self, wanted: Wanted) -> list[StoredRecord]:
        """As `ports.OutboxSession.read`."""
        again = await self._rows(self._sql.again, {"ids": wanted.again}) if wanted.again else []
        if not wanted.shards:
            return again
        parameters = {
            "records": wanted.records,
            "bytes": wanted.bytes,
            "but": wanted.but,
            "takes_any": wanted.takes_any,
            "topics": wanted.stopped_topics,
            "key_topics": [topic for topic, _ in wanted.stopped_keys],
            "keys": [key for _, key in wanted.stopped_keys],
        }
        return again + await self._rows(self._sql.read(wanted.shards), parameters)

    async def _rows(self, statement: str, parameters: dict[str, Any]) -> list[StoredRecord]:
        with our_own("reading the outbox"):
            cursor = await self._driver.execute(statement, parameters, binary=True)
            rows = await cursor.fetchall()
        return [
            StoredRecord(id_, topic, key, value, _headers(headers), partition)
            for id_, topic, key, value, headers, partition in rows
        ]

    async def delete(self, ids: Sequence[int]) -> None:
        """As `ports.OutboxSession.delete`."""
        with our_own("deleting from the outbox"):
            await self._driver.execute(self._sql.delete, {"ids": list(ids)})


class _Statements:
    """The SQL of the outbox in one schema, whose name `DatabaseSettings` has checked."""

    def __init__(self, schema: str) -> None:
        outbox = f"{schema}.outbox"
        self.lock = (
            "SELECT pg_advisory_xact_lock(%(class)s::int, stripe) FROM "
            "(SELECT stripe FROM unnest(%(stripes)s::int[]) AS stripe ORDER BY stripe) AS ascending"
        )
        self.insert = (
            f"INSERT INTO {outbox} (stripe, topic, key, value, headers, partition) "
            "SELECT stripe, topic, key, value, headers::json, partition FROM unnest("
            "%(stripes)s::smallint[], %(topics)s::text[], %(keys)s::bytea[], %(values)s::bytea[], "
            "%(headers)s::text[], %(partitions)s::int[]"
            ") WITH ORDINALITY AS sent (stripe, topic, key, value, headers, partition, place) ORDER BY place"
        )
        self._outbox = outbox
        self.again = (
            f"SELECT id, topic, key, value, headers::text, partition FROM {outbox} "
            "WHERE id = ANY (%(ids)s::bigint[]) ORDER BY id"
        )
        self.delete = f"DELETE FROM {outbox} WHERE id = ANY (%(ids)s::bigint[])"
        self.status = text(
            f"SELECT (SELECT count(*) FROM (SELECT FROM {outbox} LIMIT {_MOST_COUNTED}) AS rows) AS backlog, "
            "(SELECT extract(epoch FROM clock_timestamp() - created_at)::float "
            f"FROM {outbox} ORDER BY id LIMIT 1) AS oldest_s"
        )
        self.topics = text(
            "SELECT topic, count(*) AS records, "
            f"extract(epoch FROM clock_timestamp() - min(created_at))::float AS oldest_s FROM {outbox} "
            "GROUP BY topic ORDER BY topic"
        )

    def read(self, shards: Sequence[int]) -> str:
        """The lowest rows of `shards`: of all by the primary key, of some by the index that has theirs.

        A range of that index for each is read side by side, and no further than needed; with
        `= ANY` PostgreSQL would read all their rows and sort them.
        """
        rows = self._lowest("true")
        if len(shards) < SHARDS:
            of_each = (f"({self._lowest(f'stripe %% {SHARDS} = {each:d}')})" for each in shards)
            rows = f"SELECT * FROM ({' UNION ALL '.join(of_each)}) AS of_each ORDER BY id LIMIT %(records)s"
        return (
            "SELECT id, topic, key, value, headers::text, partition FROM ("
            "SELECT *, row_number() OVER (ORDER BY id) AS place, "
            "sum(coalesce(octet_length(key), 0) + coalesce(octet_length(value), 0)) OVER (ORDER BY id) "
            f"AS size FROM ({rows}) AS lowest) AS counted "
            "WHERE size <= %(bytes)s OR (place = 1 AND %(takes_any)s) ORDER BY id"
        )

    def _lowest(self, which: str) -> str:
        """What is not excluded. Stopped keys are no join: it would not keep the order of an index."""
        return (
            f"SELECT * FROM {self._outbox} WHERE {which} AND id <> ALL (%(but)s::bigint[]) "
            "AND topic <> ALL (%(topics)s::text[]) AND (key IS NULL OR (topic, key) NOT IN ("
            "SELECT * FROM unnest(%(key_topics)s::text[], %(keys)s::bytea[]))) "
            "ORDER BY id LIMIT %(records)s"
        )


async def _put_async(
    driver: psycopg.AsyncConnection[Any], sql: _Statements, locks: dict[str, Any], columns: dict[str, Any]
) -> None:
    async with driver.pipeline():
        await driver.execute(sql.lock, locks)
        await driver.execute(sql.insert, columns)


def _columns(records: Sequence[EncodedRecord]) -> dict[str, Any]:
    return {
        "stripes": [stripe_of(record.topic, record.key) for record in records],
        "topics": [record.topic for record in records],
        "keys": [record.key for record in records],
        "values": [record.value for record in records],
        "headers": [_json(record.headers) for record in records],
        "partitions": [record.partition for record in records],
    }


def _json(headers: Headers) -> str:
    """Names as they are, so that a person can read them; values in base64, since they are any bytes."""
    return json.dumps(
        [[name, None if value is None else base64.b64encode(value).decode()] for name, value in headers]
    )


def _headers(stored: str) -> Headers:
    return Headers(
        (name, None if value is None else base64.b64decode(value)) for name, value in json.loads(stored)
    )


def _lock_class(schema: str) -> int:
    """The class of this outbox's advisory locks, a signed 32-bit number: two schemas do not meet."""
    return int.from_bytes(
        zlib.crc32(f"ottla.outbox.{schema}".encode()).to_bytes(4, "big"), "big", signed=True
    )
