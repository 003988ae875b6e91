"""A shard has one leader. One that dies or stands still is followed, and does nothing when it wakes up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

import psycopg
import pytest

from ottla.core.outbox import SHARDS
from ottla.errors import SettingsError, Unavailable
from ottla.postgres.database import Database, DatabaseSettings
from ottla.postgres.migrations import upgrade
from ottla.postgres.outbox import PostgresOutbox, PostgresOutboxSession
from ottla.postgres.transactions import PostgresTransactions
from ottla.records import EncodedRecord, Headers
from tests.support.apps import until
from tests.support.outbox import ALL

RELAYS = DatabaseSettings(connections=2, relay=True)
RELAYS_OR_ENDS = DatabaseSettings(connections=2, relay=True, relay_idle_s=1)


@asynccontextmanager
async def outbox_of(url: str, settings: DatabaseSettings = RELAYS) -> AsyncIterator[PostgresOutbox]:
    """The outbox of a process of its own."""
    database = Database(url, settings)
    await database.open()
    try:
        yield PostgresOutbox(database)
    finally:
        await database.close()


@asynccontextmanager
async def leading(outbox: PostgresOutbox) -> AsyncIterator[PostgresOutboxSession]:
    """All shards, as soon as nobody else holds one, until the block ends."""
    async with outbox.relaying() as session:
        held: set[int] = set()
        while len(held) < SHARDS:
            held.update(await session.lock([shard for shard in ALL.shards if shard not in held]))
            await asyncio.sleep(0.1)
        yield session


class Follower:
    """Waits for the lead, and keeps it until the block ends."""

    def __init__(self, outbox: PostgresOutbox) -> None:
        self._outbox = outbox
        self.leads = asyncio.Event()
        self.values: list[bytes | None] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._lead())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _lead(self) -> None:
        async with leading(self._outbox) as session:
            self.values = [record.value for record in await session.read(ALL)]
            self.leads.set()
            await asyncio.Event().wait()

    def has_led(self) -> bool:
        """Whether it leads; raises what kept it from leading."""
        if self._task.done():
            self._task.result()
        return self.leads.is_set()


def asking(sql: psycopg.Connection) -> int:
    """How many sessions of this database have asked for shards last of all."""
    row = sql.execute(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND query LIKE 'SELECT shard FROM %'"
    ).fetchone()
    assert row is not None
    return int(row[0])


def end_the_leader(sql: psycopg.Connection) -> None:
    """End the backend that holds the shards, and return only when it is gone."""
    ended = sql.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM (SELECT DISTINCT pid FROM pg_locks "
        "WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS leader"
    ).fetchall()
    assert ended == [(True,)]


async def store(outbox: PostgresOutbox, url: str, *values: bytes, schema: str = "ottla") -> None:
    database = Database(url, DatabaseSettings(schema=schema, connections=1))
    await database.open()
    async with PostgresTransactions(database, outbox).begin() as tx:
        for value in values:
            await tx.send("orders", value, key="a")
    await database.close()


async def test_a_leader_whose_backend_ends_is_followed_and_finds_out(
    migrated: str, sql: psycopg.Connection
) -> None:
    async with outbox_of(migrated) as first, outbox_of(migrated) as second:
        await store(first, migrated, b"1", b"2")
        async with leading(first) as session:
            stored = await session.read(ALL)
            async with Follower(second) as follower:
                await until(lambda: asking(sql) == 1, what="the second asks for the lead")
                assert not follower.has_led()

                end_the_leader(sql)
                await until(follower.has_led, what="the second leads", within_s=3)

                with pytest.raises(Unavailable):
                    await session.read(ALL)
                with pytest.raises(Unavailable):
                    await session.delete([each.id for each in stored])
                assert follower.values == [b"1", b"2"]
        assert (await second.status()).backlog == 2


async def test_a_leader_that_ends_is_followed(migrated: str, sql: psycopg.Connection) -> None:
    async with outbox_of(migrated) as first, outbox_of(migrated) as second, AsyncExitStack() as lead:
        await lead.enter_async_context(leading(first))
        async with Follower(second) as follower:
            await until(lambda: asking(sql) == 2, what="both have asked for the lead")
            assert not follower.has_led()

            await lead.aclose()

            await until(follower.has_led, what="the second leads", within_s=3)


async def test_a_leader_whose_connections_are_closed_is_followed_and_finds_out(migrated: str) -> None:
    first = Database(migrated, RELAYS)
    await first.open()
    async with (
        outbox_of(migrated) as second,
        leading(PostgresOutbox(first)) as session,
        Follower(second) as follower,
    ):
        await first.close()

        await until(follower.has_led, what="the second leads", within_s=3)
        with pytest.raises(Unavailable):
            await session.read(ALL)


async def test_a_leader_that_stands_still_is_followed_and_finds_out(migrated: str) -> None:
    async with outbox_of(migrated, RELAYS_OR_ENDS) as first, outbox_of(migrated) as second:
        await store(first, migrated, b"1")
        async with leading(first) as session:
            stored = await session.read(ALL)
            async with Follower(second) as follower:
                # The first asks nothing while this waits: it stands still for longer than `relay_idle_s`.
                await until(follower.has_led, what="the second leads", within_s=4)

                with pytest.raises(Unavailable):
                    await session.read(ALL)
                with pytest.raises(Unavailable):
                    await session.delete([each.id for each in stored])
                assert follower.values == [b"1"]
        assert (await second.status()).backlog == 1


async def test_a_leader_that_asks_keeps_the_lead(migrated: str) -> None:
    async with (
        outbox_of(migrated, RELAYS_OR_ENDS) as first,
        outbox_of(migrated) as second,
        leading(first) as session,
        Follower(second) as follower,
    ):
        for _ in range(5):
            # The session lies idle for less than `relay_idle_s`, and for longer in all.
            await asyncio.sleep(0.4)
            await session.read(ALL)

        assert not follower.has_led()


async def test_one_that_waits_for_the_lead_is_not_taken_for_one_that_stands_still(migrated: str) -> None:
    async with (
        outbox_of(migrated) as first,
        outbox_of(migrated, RELAYS_OR_ENDS) as second,
        AsyncExitStack() as lead,
    ):
        await lead.enter_async_context(leading(first))
        async with Follower(second) as follower:
            # The second lies idle between its questions, and must not lose its session for it.
            await asyncio.sleep(2.5)
            assert not follower.has_led()

            await lead.aclose()

            await until(follower.has_led, what="the second leads", within_s=3)


async def test_one_that_leads_a_whole_outbox_as_before_shards_and_others_bar_each_other(
    migrated: str, sql: psycopg.Connection
) -> None:
    ask = "SELECT pg_try_advisory_lock(%s::int, -1)"
    async with outbox_of(migrated) as first, outbox_of(migrated) as second:
        (lock_class,) = {each._lock_class for each in (first, second)}
        async with first.relaying():
            beside = sql.execute(ask, [lock_class]).fetchone()
        await until(lambda: sql.execute(ask, [lock_class]).fetchone() == (True,), what="the old one leads")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), second.relaying():
                pytest.fail("one beside it relays")

    assert beside == (False,)


async def test_outboxes_of_two_schemas_do_not_meet(migrated: str) -> None:
    upgrade(migrated, "messaging")
    elsewhere = DatabaseSettings(schema="messaging", connections=2, relay=True)
    async with (
        outbox_of(migrated) as first,
        outbox_of(migrated, elsewhere) as second,
        leading(first) as session,
        asyncio.timeout(5),
        leading(second) as other,
    ):
        # The same key is stored while a transaction of the other schema holds its stripe.
        async with first._database.connection() as connection, connection.begin():
            await connection.run_sync(first.put, [EncodedRecord("orders", b"a", b"ours", Headers())])
            await store(second, migrated, b"theirs", schema="messaging")

        assert [record.value for record in await session.read(ALL)] == [b"ours"]
        assert [record.value for record in await other.read(ALL)] == [b"theirs"]


@pytest.mark.parametrize(("connections", "threads"), [(1, 0), (2, 1)])
def test_connections_that_leave_none_beside_the_relay_are_refused(connections: int, threads: int) -> None:
    with pytest.raises(SettingsError, match="DATABASE_CONNECTIONS"):
        DatabaseSettings(connections=connections, threads=threads, relay=True)
