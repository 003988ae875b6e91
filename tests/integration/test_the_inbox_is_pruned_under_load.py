"""Old events are forgotten while handlers run: no effect twice, and nobody waits long for a lock."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import text

from ottla.ports import Claim, InboxKey
from ottla.postgres.database import Database, DatabaseSettings
from ottla.postgres.inbox import PostgresInbox
from ottla.transaction import Transaction

LISTENER = "billing/orders"
OLD, YOUNG = 20_000, 500
EFFECT = text("INSERT INTO effect VALUES (:event_id, 1)")


@pytest.fixture
async def impatient(migrated: str) -> AsyncIterator[PostgresInbox]:
    """Whoever waits longer than a second for a lock is told of a conflict."""
    database = Database(migrated, DatabaseSettings(connections=8, lock_timeout_s=1))
    await database.open()
    yield PostgresInbox(database)
    await database.close()


async def test_each_event_takes_effect_once_and_no_lock_is_held_for_long(
    impatient: PostgresInbox, sql: psycopg.Connection
) -> None:
    sql.execute(
        "INSERT INTO ottla.inbox SELECT %s, 'old-' || n, sha256(n::text::bytea), 'done', "
        "now() - interval '8 days', now() - interval '8 days' FROM generate_series(1, %s) AS n",
        [LISTENER, OLD],
    )
    pruning: list[int] = []

    async def handle(tx: Transaction) -> None:
        await tx.session.execute(EFFECT, {"event_id": tx.event_id})

    async def deliver(number: int) -> Claim:
        return await impatient.once(InboxKey(LISTENER, f"young-{number}", b"d" * 32), handle)

    async def prune_until_all_is_delivered() -> None:
        while not delivered.done() or not pruning:
            pruning.append(await impatient.prune("billing", timedelta(days=7), batch=200))

    delivered = asyncio.gather(*(deliver(number) for number in range(YOUNG) for _ in range(2)))
    await asyncio.gather(delivered, prune_until_all_is_delivered())

    assert sum(pruning) == OLD
    assert Counter(delivered.result()) == {Claim.FRESH: YOUNG, Claim.DONE: YOUNG}
    effects = Counter(event_id for (event_id,) in sql.execute("SELECT event_id FROM effect"))
    assert effects == {f"young-{number}": 1 for number in range(YOUNG)}
    assert sql.execute("SELECT count(*) FROM ottla.inbox").fetchone() == (YOUNG,)
