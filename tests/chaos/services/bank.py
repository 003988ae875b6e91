"""Moves money: a transfer debits the payer and tells of it by `tx.send`; the credit arrives by a topic.

The ledger has no unique constraint: that a transfer takes place once is the inbox's doing.
"""

from __future__ import annotations

import uuid

from sqlalchemy import text

from ottla import App, InPlace, Record, Transaction
from tests.chaos.services.deeds import do
from tests.chaos.workload import CREDITS, TRANSFERS, Credit, Transfer

TABLES = """
CREATE TABLE account (name text PRIMARY KEY, cents bigint NOT NULL);
CREATE TABLE ledger (
    id bigint GENERATED ALWAYS AS IDENTITY, entry text NOT NULL, event_id text NOT NULL,
    account text NOT NULL, cents bigint NOT NULL, token text NOT NULL, payee text NOT NULL
);
"""
_BOOK = text(
    "WITH moved AS (UPDATE account SET cents = cents + :cents WHERE name = :account) "
    "INSERT INTO ledger (entry, event_id, account, cents, token, payee) "
    "VALUES (:entry, :event_id, :account, :cents, :token, :payee)"
)
_RETRY = InPlace(attempts=3, first_s=0.1, max_s=0.3)

app = App("bank")


@app.listener(TRANSFERS, concurrency=16, retry=_RETRY)
async def on_transfer(event: Transfer, record: Record, tx: Transaction) -> None:
    """Debits; fails, where it is to, with everything done and nothing committed."""
    token = uuid.uuid4().hex
    await tx.session.execute(
        _BOOK,
        {
            "entry": "debit",
            "event_id": tx.event_id,
            "account": event.payer,
            "cents": -event.cents,
            "token": token,
            "payee": event.payee,
        },
    )
    await tx.send(CREDITS, Credit(payee=event.payee, cents=event.cents, token=token))
    await do(event.deed, event.takes_s, record)


@app.listener(CREDITS, concurrency=16, retry=_RETRY)
async def on_credit(event: Credit, tx: Transaction) -> None:
    await tx.session.execute(
        _BOOK,
        {
            "entry": "credit",
            "event_id": tx.event_id,
            "account": event.payee,
            "cents": event.cents,
            "token": event.token,
            "payee": event.payee,
        },
    )
