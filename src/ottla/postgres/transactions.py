"""Transactions that belong to no record: what an HTTP request writes, and the events that go with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncSession

from ottla.postgres.attempt import Attempt, flush_and_commit
from ottla.postgres.database import Database
from ottla.postgres.outbox import PostgresOutbox
from ottla.template import new_id
from ottla.transaction import Outgoing, Transaction


class PostgresTransactions:
    """Begins transactions on the connections of a `Database`. Safe to share between tasks."""

    def __init__(
        self, database: Database, outbox: PostgresOutbox, new_outgoing: Callable[[], Outgoing] = Outgoing
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._new_outgoing = new_outgoing

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Transaction]:
        """One transaction: committed when the block ends, rolled back when it raises.

        What the block raises is raised after the rollback. Raises `DatabaseUnavailable`
        where PostgreSQL is to blame; a COMMIT whose answer was lost raises it too, and
        may have taken place. Raises `TransactionConflict` where nothing did, because of another one.
        """
        async with self._database.connection() as connection:
            session = AsyncSession(connection, join_transaction_mode="rollback_only", expire_on_commit=False)
            transaction = Transaction(session, new_id(), self._new_outgoing())
            attempt = await connection.run_sync(Attempt)
            try:
                yield transaction
                await connection.run_sync(
                    lambda _: flush_and_commit(
                        attempt, session.sync_session, self._outbox, transaction.outgoing.records
                    )
                )
            except BaseException as error:
                await connection.run_sync(_roll_back, attempt, error)
                raise
            finally:
                await connection.run_sync(lambda _: session.sync_session.close())


def _roll_back(_: Connection, attempt: Attempt, error: BaseException) -> None:
    """End `attempt` by its rules, which may raise another error: that PostgreSQL is to blame."""
    attempt.__exit__(type(error), error, error.__traceback__)
