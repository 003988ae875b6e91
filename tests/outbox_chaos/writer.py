"""A process of writers: `python -m tests.outbox_chaos.writer SEED EVENTS WRITER …`; ends when they are done.

It writes as `App.transaction` does, and relays nothing itself. DATABASE_URL names the database.
"""

from __future__ import annotations

import asyncio
import os
import sys

from pydantic import BaseModel
from sqlalchemy import text

from ottla import Topic
from ottla.postgres.database import Database, DatabaseSettings
from ottla.postgres.outbox import PostgresOutbox
from ottla.postgres.transactions import PostgresTransactions
from tests.outbox_chaos.plan import Planned, events_of, transactions

TABLES = """
CREATE TABLE ledger (event_id text PRIMARY KEY, key text NOT NULL, place integer NOT NULL, pause float8);
CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(NEW.pause); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER pause_at_commit AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.pause > 0) EXECUTE FUNCTION pause();
"""
_WRITE = text("INSERT INTO ledger VALUES (:event_id, :key, :place, :pause)")


class Event(BaseModel):
    """What readers are told."""

    event_id: str
    key: str


EVENTS = Topic("outbox-chaos", Event, key=lambda event: event.key)


class _Changed(Exception):
    """The mind of whoever wrote."""


async def _carry_out(transactions: PostgresTransactions, planned: Planned) -> None:
    async with transactions.begin() as tx:
        for place, (event_id, key) in enumerate(zip(planned.event_ids(), planned.keys, strict=True)):
            pause = planned.pause_at_commit_s if place == 0 else 0.0
            await tx.session.execute(
                _WRITE, {"event_id": event_id, "key": key, "place": place, "pause": pause}
            )
            await tx.send(EVENTS, Event(event_id=event_id, key=key), event_id=event_id)
            if place == 0:
                await asyncio.sleep(planned.pause_s)
        if planned.is_rolled_back:
            raise _Changed


async def _write(transactions_of: PostgresTransactions, seed: int, writer: int, events: int) -> None:
    for planned in transactions(seed, writer, events_of(writer, events)):
        try:
            await _carry_out(transactions_of, planned)
        except _Changed:
            continue


async def main(seed: int, events: int, writers: list[int]) -> None:
    database = Database(os.environ["DATABASE_URL"], DatabaseSettings(connections=len(writers)))
    await database.open()
    begun = PostgresTransactions(database, PostgresOutbox(database))
    await asyncio.gather(*(_write(begun, seed, writer, events) for writer in writers))
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), [int(each) for each in sys.argv[3:]]))
