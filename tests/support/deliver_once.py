"""A child process: delivers one event to the inbox, and stands still where it is told to, to be killed.

Says `reached` on stdout there. Arguments: the database's URL, and `insert`, `effect` or `commit`;
or `read`, where it freezes by itself while the server sends it more than lies between them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from sqlalchemy import text

from ottla.ports import InboxKey
from ottla.postgres.database import Database, DatabaseSettings
from ottla.postgres.inbox import PostgresInbox
from ottla.transaction import Transaction

IDLE_S = 3.0
LARGE = text("SELECT repeat('x', 1000) FROM pg_sleep(1), generate_series(1, 100000)")


async def _deliver(url: str, stop_after: str) -> None:
    async def stand_still_after(step: str) -> None:
        if step == stop_after:
            print("reached", flush=True)
            await asyncio.Event().wait()

    async def body(tx: Transaction) -> None:
        await stand_still_after("insert")
        await tx.session.execute(text("INSERT INTO effect VALUES (:event_id, 1)"), {"event_id": tx.event_id})
        await stand_still_after("effect")
        if stop_after == "read":
            print("reached", flush=True)
            asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGSTOP)
            await tx.session.execute(LARGE)

    database = Database(url, DatabaseSettings(idle_in_transaction_s=IDLE_S))
    await database.open()
    await PostgresInbox(database).once(InboxKey("billing", "order-1", b"d" * 32), body)
    await stand_still_after("commit")


if __name__ == "__main__":
    asyncio.run(_deliver(*sys.argv[1:]))
