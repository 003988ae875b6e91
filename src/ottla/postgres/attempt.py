"""One transaction: how it begins, commits, ends, and whose its failure is (rules in `failures`)."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from ottla.errors import DatabaseUnavailable, Unavailable
from ottla.postgres.database import FAILURE, driver_of
from ottla.postgres.failures import not_now
from ottla.postgres.outbox import PostgresOutbox
from ottla.records import EncodedRecord


class Attempt:
    """One transaction on a connection: committed by `commit`, else nothing of it remains.

    An error that leaves the block is raised as it is after the rollback, or as
    `DatabaseUnavailable` or `TransactionConflict` where the rules say that it is not the handler's.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._driver = driver_of(connection)
        connection.info.pop(FAILURE, None)
        self._transaction = connection.begin()

    def __enter__(self) -> Self:
        return self

    def commit(self) -> None:
        """Commit; a COMMIT without an answer raises `DatabaseUnavailable`: it may have taken place."""
        self.require_whole()
        self._transaction.commit()

    def require_whole(self) -> None:
        """Raise when the body left no transaction that can be committed as one with our row."""
        if not self._transaction.is_active:
            raise RuntimeError(
                "the handler ended the transaction of tx.session itself: leave commit and rollback to Ottla, "
                "use tx.session.begin_nested() for a part that may fail"
            )
        if self._is_aborted():
            # PostgreSQL answers COMMIT with a silent rollback here.
            raise self.connection.info.get(FAILURE) or RuntimeError(
                "a statement of the handler failed, and the handler went on"
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, Exception):
            # Cancelled or interrupted: wait for nobody. PostgreSQL rolls back what loses its connection.
            self.connection.invalidate()
            return
        was_aborted = self._is_aborted() or not self._transaction.is_active
        failure = None if self.connection.invalidated else self.connection.info.get(FAILURE)
        is_dead = not self._roll_back()
        if error is None or isinstance(error, Unavailable):
            return
        if is_dead:
            raise DatabaseUnavailable(
                f"the connection to PostgreSQL was lost in a transaction: {failure or error}"
            ) from error
        if was_aborted and (kind := not_now(failure) or not_now(error)) is not None:
            raise kind(f"PostgreSQL could not finish a transaction: {failure or error}") from error

    def _is_aborted(self) -> bool:
        return self._driver.info.transaction_status is TransactionStatus.INERROR

    def _roll_back(self) -> bool:
        """Whether the connection is still sound; one that is not is thrown away."""
        try:
            self.connection.rollback()
        except (psycopg.Error, SQLAlchemyError):
            self.connection.invalidate()
        if self._driver.closed and not self.connection.invalidated:
            self.connection.invalidate()
        return not self.connection.invalidated


def flush_and_commit(
    attempt: Attempt, session: Session, outbox: PostgresOutbox, records: Sequence[EncodedRecord]
) -> None:
    """End a transaction well: what the session holds, then what is to be sent, then COMMIT.

    The outbox comes last, because its locks are held until the commit.
    """
    attempt.require_whole()
    session.commit()  # flushes; the transaction is not the session's to commit
    attempt.require_whole()
    outbox.put(attempt.connection, records)
    attempt.commit()
