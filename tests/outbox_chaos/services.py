"""What runs as `ottla run`: a process that relays, and one that reads, each event once by its inbox."""

from __future__ import annotations

from sqlalchemy import text

from ottla import App, Transaction
from tests.outbox_chaos.writer import EVENTS, Event

relay = App("relays")
reader = App("readers")

EFFECTS = "CREATE TABLE effect (event_id text NOT NULL)"
"""No key: a second effect would be a second row."""
_TAKE_EFFECT = text("INSERT INTO effect VALUES (:event_id)")


@reader.listener(EVENTS)
async def take_effect(event: Event, tx: Transaction) -> None:
    await tx.session.execute(_TAKE_EFFECT, {"event_id": event.event_id})
