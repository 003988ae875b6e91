"""The inbox's contract, on PostgreSQL."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from ottla.ports import InboxKey
from ottla.transaction import Transaction
from tests.contract.test_inbox import InboxContract, Ledger

EFFECT = text("INSERT INTO effect VALUES (:event_id, 1)")


class PostgresLedger(Ledger):
    def __init__(self, sql: psycopg.Connection) -> None:
        self._sql = sql

    async def write(self, tx: Transaction) -> None:
        await tx.session.execute(EFFECT, {"event_id": tx.event_id})

    def write_in_thread(self, tx: Transaction[Any]) -> None:
        tx.session.execute(EFFECT, {"event_id": tx.event_id})

    def effects(self) -> list[str]:
        return [event_id for (event_id,) in self._sql.execute("SELECT event_id FROM effect")]

    def letters(self) -> list[bytes]:
        return [value for (value,) in self._sql.execute("SELECT value FROM ottla.outbox ORDER BY id")]

    def grow_old(self, key: InboxKey) -> None:
        self._sql.execute(
            "UPDATE ottla.inbox SET updated_at = now() - interval '8 days' WHERE event_id = %s",
            [key.event_id],
        )


class TestPostgresInbox(InboxContract):
    @pytest.fixture
    def ledger(self, sql: psycopg.Connection) -> PostgresLedger:
        return PostgresLedger(sql)
