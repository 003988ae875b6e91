"""The outbox's contract, on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from ottla.postgres.database import Database
from ottla.postgres.outbox import PostgresOutbox
from ottla.postgres.transactions import PostgresTransactions
from ottla.records import EncodedRecord
from tests.contract.test_outbox import OutboxContract, Writer, record


class PostgresWriter(Writer):
    def __init__(self, database: Database, outbox: PostgresOutbox, sql: psycopg.Connection) -> None:
        self._database = database
        self._outbox = outbox
        self._sql = sql
        self._transactions = PostgresTransactions(database, outbox)

    async def store(self, *records: EncodedRecord) -> None:
        async with self._transactions.begin() as tx:
            tx.outgoing.records.extend(records)

    async def store_and_roll_back(self, *records: EncodedRecord) -> None:
        # The constraint is deferred: COMMIT refuses it, when the rows of the outbox are written.
        with pytest.raises(IntegrityError):
            await self._store_with_orphan(records)

    async def _store_with_orphan(self, records: Sequence[EncodedRecord]) -> None:
        async with self._transactions.begin() as tx:
            tx.outgoing.records.extend(records)
            await tx.session.execute(text("INSERT INTO child VALUES (1)"))

    @asynccontextmanager
    async def holding_open(self, *records: EncodedRecord) -> AsyncIterator[None]:
        # `PostgresTransactions` writes just before its COMMIT, which leaves nothing to hold open.
        async with self._database.connection() as connection, connection.begin():
            await connection.run_sync(self._outbox.put, records)
            yield

    def grow_old(self, seconds: int) -> None:
        self._sql.execute(
            "UPDATE ottla.outbox SET created_at = created_at - make_interval(secs => %s)", [seconds]
        )


class TestPostgresOutbox(OutboxContract):
    @pytest.fixture
    def outbox(self, database: Database) -> PostgresOutbox:
        return PostgresOutbox(database)

    @pytest.fixture
    def writer(self, database: Database, outbox: PostgresOutbox, sql: psycopg.Connection) -> PostgresWriter:
        return PostgresWriter(database, outbox, sql)

    async def test_a_backlog_is_counted_up_to_a_hundred_thousand(
        self, outbox: PostgresOutbox, sql: psycopg.Connection
    ) -> None:
        sql.execute(
            "INSERT INTO ottla.outbox (stripe, topic, headers) "
            "SELECT 0, 'orders', '[]' FROM generate_series(1, 100001)"
        )

        assert (await outbox.status()).backlog == 100_000

    async def test_what_waits_is_told_per_topic(self, outbox: PostgresOutbox, writer: PostgresWriter) -> None:
        await writer.store(record(topic="payments"))
        writer.grow_old(3_600)
        await writer.store(record(topic="payments"), record(topic="mails"))

        mails, payments = await outbox.topics()

        assert (mails.topic, mails.records) == ("mails", 1)
        assert (payments.topic, payments.records) == ("payments", 2)
        assert 0 <= mails.oldest_s < 60
        assert 3_600 <= payments.oldest_s < 3_660
