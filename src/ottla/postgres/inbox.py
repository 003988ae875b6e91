"""The inbox: effects once per (listener, event id), whatever is delivered twice.

The row is the first statement of the transaction that it guards. A second delivery
that comes while the first is open waits for it: then it finds the row, or is the
first itself. Reading before inserting would let both through; a row committed ahead
of the effect would need leases to survive a crash.
"""

# ruff: noqa: S608  the one name put into SQL is the schema's, which `DatabaseSettings` has checked
from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import await_

from ottla.errors import DatabaseUnavailable
from ottla.ports import Claim, InboxKey
from ottla.postgres.attempt import Attempt, flush_and_commit
from ottla.postgres.database import Database, driver_of, our_own
from ottla.postgres.outbox import PostgresOutbox
from ottla.records import EncodedRecord
from ottla.transaction import Outgoing, Transaction

Row = Mapping[str, Any]

_LONGEST_ID = 512
"""Bytes; PostgreSQL indexes no more than about 2,700."""

_PRUNED_BETWEEN = 3
"""How often a row may vanish between our insert and our look at it before we give up for now."""


class PostgresInbox:
    """`ports.Inbox` on PostgreSQL. Safe to share between tasks, `once_in_thread` between threads."""

    def __init__(
        self,
        database: Database,
        new_outgoing: Callable[[], Outgoing] = Outgoing,
        on_stored: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._outbox = PostgresOutbox(database)
        self._new_outgoing = new_outgoing
        self._on_stored = on_stored
        self._sql = _Statements(database.settings.schema)

    async def once(self, key: InboxKey, body: Callable[[Transaction], Awaitable[Any]]) -> Claim:
        """As `ports.Inbox.once`; the body's transaction has an `AsyncSession`."""
        async with self._database.connection() as connection:
            session = AsyncSession(connection, join_transaction_mode="rollback_only", expire_on_commit=False)
            transaction = Transaction(session, key.event_id, self._new_outgoing())
            claim = await connection.run_sync(
                self._once, key, session.sync_session, transaction.outgoing, lambda: await_(body(transaction))
            )
        if transaction.outgoing.records:
            self._on_stored()
        return claim

    def once_in_thread(self, key: InboxKey, body: Callable[[Transaction[Session]], Any]) -> Claim:
        """As `ports.Inbox.once_in_thread`; the body's transaction has a `Session`."""
        with self._database.connection_in_thread() as connection:
            session = Session(connection, join_transaction_mode="rollback_only", expire_on_commit=False)
            transaction = Transaction(session, key.event_id, self._new_outgoing())
            return self._once(connection, key, session, transaction.outgoing, lambda: body(transaction))

    async def bury(self, key: InboxKey, letter: EncodedRecord) -> Claim:
        """As `ports.Inbox.bury`."""
        async with self._database.connection() as connection:
            claim = await connection.run_sync(self._bury, key, letter)
        self._on_stored()
        return claim

    async def prune(self, group: str, older_than: timedelta, *, batch: int = 1000) -> int:
        """Forget events of `group`'s listeners that ended longer ago than `older_than`; returns how many.

        Also those of listeners that it has no more. Other groups share the table, with windows
        of their own. In transactions of `batch` rows, so that no lock is held for long; several
        processes may prune at once.
        """
        async with self._database.connection() as connection:
            listeners = await connection.run_sync(self._listeners, group)
        return sum([await self._prune(listener, older_than, batch) for listener in listeners])

    async def _prune(self, listener: str, older_than: timedelta, batch: int) -> int:
        pruned = 0
        while True:
            async with self._database.connection() as connection:
                deleted = await connection.run_sync(self._prune_batch, listener, older_than, batch)
            pruned += deleted
            if deleted < batch:
                return pruned

    # What follows is written once: it runs in a thread on a synchronous connection, and in a
    # greenlet of SQLAlchemy on an asynchronous one.

    def _once(
        self,
        connection: Connection,
        key: InboxKey,
        session: Session,
        outgoing: Outgoing,
        body: Callable[[], Any],
    ) -> Claim:
        try:
            with Attempt(connection) as attempt:
                claim = self._claim(connection, key, Claim.DONE)
                if claim is Claim.FRESH:
                    body()
                    flush_and_commit(attempt, session, self._outbox, outgoing.records)
                return claim
        finally:
            session.close()

    def _bury(self, connection: Connection, key: InboxKey, letter: EncodedRecord) -> Claim:
        with Attempt(connection) as attempt:
            claim = self._claim(connection, key, Claim.DEAD)
            if claim in {Claim.FRESH, Claim.REUSED}:
                self._outbox.put(connection, [letter])
                with our_own("committing to the inbox"):
                    attempt.commit()
            return claim

    def _listeners(self, connection: Connection, group: str) -> list[str]:
        with Attempt(connection) as attempt, our_own("pruning the inbox"):
            listeners = list(connection.execute(self._sql.listeners, {"group": group}).scalars())
            attempt.commit()
            return listeners

    def _prune_batch(self, connection: Connection, listener: str, older_than: timedelta, batch: int) -> int:
        which = {"listener": listener, "older_than": older_than, "batch": batch}
        with Attempt(connection) as attempt, our_own("pruning the inbox"):
            deleted = connection.execute(self._sql.prune, which).rowcount
            attempt.commit()
            return deleted

    def _claim(self, connection: Connection, key: InboxKey, status: Claim) -> Claim:
        """Insert the row with `status`: FRESH; else what the row that is there says.

        The row of a dead event is a replay's to take over: FRESH as well. The UPDATE waits for
        another replay that is open, and finds nothing dead once that has succeeded.
        """
        row = _row(key, status)
        with our_own("writing to the inbox"):
            for _ in range(_PRUNED_BETWEEN):
                if _insert(connection, self._sql.insert, row):
                    return Claim.FRESH
                if key.is_replay and connection.execute(self._sql.revive, row).rowcount:
                    return Claim.FRESH
                found = connection.execute(self._sql.read, row).one_or_none()
                if found is not None:
                    return Claim(found.status) if bytes(found.digest) == key.digest else Claim.REUSED
        raise DatabaseUnavailable(
            f"the inbox row of event {key.event_id!r} comes and goes: is it being pruned?"
        )


class _Statements:
    """The SQL of the inbox in one schema, whose name `DatabaseSettings` has checked."""

    def __init__(self, schema: str) -> None:
        inbox = f"{schema}.inbox"
        mine = "listener = :listener AND event_id = :event_id"
        self.insert = (
            f"INSERT INTO {inbox} (listener, event_id, digest, status) "
            "VALUES (%(listener)s, %(event_id)s, %(digest)s, %(status)s) "
            "ON CONFLICT (listener, event_id) DO NOTHING RETURNING 1"
        )
        self.revive = text(
            f"UPDATE {inbox} SET status = :status, updated_at = now() "
            f"WHERE {mine} AND digest = :digest AND status = '{Claim.DEAD.value}'"
        )
        self.read = text(f"SELECT status, digest FROM {inbox} WHERE {mine}")
        # One look into the primary key for each listener, however many rows it has. A group's name may
        # have a slash in it, a topic's has none.
        self.listeners = text(
            f"WITH RECURSIVE each AS ((SELECT min(listener) AS listener FROM {inbox}) UNION ALL "
            f"SELECT (SELECT min(listener) FROM {inbox} WHERE listener > each.listener) FROM each "
            "WHERE each.listener IS NOT NULL) "
            "SELECT listener FROM each WHERE substring(listener FROM '^(.*)/') = :group"
        )
        self.prune = text(
            f"DELETE FROM {inbox} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {inbox} "
            "WHERE listener = :listener AND updated_at < now() - CAST(:older_than AS interval) "
            "ORDER BY updated_at LIMIT :batch FOR UPDATE SKIP LOCKED))"
        )


def _row(key: InboxKey, status: Claim) -> Row:
    return {
        "listener": key.listener,
        "event_id": _storable(key.event_id),
        "digest": key.digest,
        "status": status.value,
    }


def _storable(event_id: str) -> str:
    """`event_id`, or a name for it where PostgreSQL could not keep or index the text.

    Producers choose event ids: one that the inbox cannot write must not look like a
    database that is down, for which the listener would wait without end.
    """
    if "\x00" not in event_id and len(event_id.encode()) <= _LONGEST_ID:
        return event_id
    return f"sha256:{hashlib.sha256(event_id.encode()).hexdigest()}"


def _insert(connection: Connection, statement: str, row: Row) -> bool:
    """Whether the row is new. BEGIN and INSERT make one round trip, in a pipeline of the driver's."""
    driver = driver_of(connection)
    if isinstance(driver, psycopg.AsyncConnection):
        return await_(_insert_async(driver, statement, row))
    with driver.pipeline():
        cursor = driver.execute(statement, row)
    return cursor.fetchone() is not None


async def _insert_async(driver: psycopg.AsyncConnection[Any], statement: str, row: Row) -> bool:
    async with driver.pipeline():
        cursor = await driver.execute(statement, row)
    return await cursor.fetchone() is not None
