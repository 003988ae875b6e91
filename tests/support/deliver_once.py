"""A child process: delivers one event to the inbox, and stands still where it is told to, to be killed.

Says `reached` on stdout there. Arguments: the database's URL, and `insert`, `effect` or `commit`.
"""

from __future__ import annotations

import asyncio
import sys

from sqlalchemy import text

from ottla.ports import InboxKey
from ottla.postgres.database import Database
from ottla.postgres.inbox import PostgresInbox
from ottla.transaction import Transaction


async def _deliver(url: str, stop_after: str) -> None:
    async def stand_still_after(step: str) -> None:
        if step == stop_after:
            print("reached", flush=True)
            await asyncio.Event().wait()

    async def body(tx: Transaction) -> None:
        await stand_still_after("insert")
        await tx.session.execute(text("INSERT INTO effect VALUES (:event_id, 1)"), {"event_id": tx.event_id})
        await stand_still_after("effect")

    database = Database(url)
    await database.open()
    await PostgresInbox(database).once(InboxKey("billing", "order-1", b"d" * 32), body)
    await stand_still_after("commit")


if __name__ == "__main__":
    asyncio.run(_deliver(*sys.argv[1:]))
