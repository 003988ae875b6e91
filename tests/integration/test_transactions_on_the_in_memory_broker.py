"""A test of a service with a database: `settle` is not over before what `tx` sends has left the outbox."""

from __future__ import annotations

import psycopg
from pydantic import BaseModel
from sqlalchemy import text

from ottla import App, InPlace, Record, Topic, Transaction
from ottla.testing import InMemoryBroker


class Order(BaseModel):
    order_id: str


ORDERS = Topic("orders", Order, key=lambda order: order.order_id)
INVOICES = Topic("invoices", Order, key=lambda order: order.order_id)
EFFECT = text("INSERT INTO effect VALUES (:event_id, 1)")


async def test_what_services_send_through_transactions_is_handled_before_all_is_settled(
    broker: InMemoryBroker, migrated: str, sql: psycopg.Connection
) -> None:
    shop, billing, mail = App("shop"), App("billing"), App("mail")
    mailed: list[tuple[str, str]] = []

    @billing.listener(ORDERS)
    async def bill(order: Order, record: Record, tx: Transaction) -> None:
        await tx.session.execute(EFFECT, {"event_id": tx.event_id})
        await tx.send(INVOICES, order, event_id=f"invoice-{record.event_id}")
        if record.attempt == 1:
            raise ConnectionError("the tax office is away")

    @mail.listener(INVOICES)
    async def send(order: Order, record: Record) -> None:
        mailed.append((order.order_id, record.event_id))

    async with broker.run(shop, billing, mail, DATABASE_URL=migrated):
        for number in range(5):
            async with shop.transaction() as tx:
                await tx.send(ORDERS, Order(order_id=f"o-{number}"), event_id=f"e-{number}")
        await broker.settle(within_s=30)

    assert sorted(mailed) == [(f"o-{number}", f"invoice-e-{number}") for number in range(5)]
    assert len(broker.records(INVOICES)) == 5
    assert sql.execute("SELECT count(*) FROM effect").fetchone() == (5,)
    assert sql.execute("SELECT count(*) FROM ottla.outbox").fetchone() == (0,)


async def test_a_dead_letter_of_a_transaction_is_there_when_all_is_settled(
    broker: InMemoryBroker, migrated: str, sql: psycopg.Connection
) -> None:
    billing = App("billing")

    @billing.listener(ORDERS, retry=InPlace(attempts=3, first_s=600, max_s=600))
    async def bill(order: Order, tx: Transaction) -> None:
        await tx.session.execute(EFFECT, {"event_id": tx.event_id})
        raise ValueError(order.order_id)

    async with broker.run(billing, DATABASE_URL=migrated):
        await broker.send(ORDERS, Order(order_id="o-1"), event_id="e-1")
        await broker.settle(within_s=30)

    (letter,) = broker.dead_letters(billing, ORDERS)
    assert (letter.event_id, letter.key) == ("e-1", b"o-1")
    assert broker.clock.now() > 900
    assert sql.execute("SELECT count(*) FROM effect").fetchone() == (0,)


async def test_two_members_of_a_group_bill_each_event_once(
    broker: InMemoryBroker, migrated: str, sql: psycopg.Connection
) -> None:
    first, second = App("billing"), App("billing")
    for app in (first, second):

        @app.listener(ORDERS)
        async def bill(order: Order, tx: Transaction) -> None:
            await tx.session.execute(EFFECT, {"event_id": tx.event_id})

    async with broker.run(first, second, DATABASE_URL=migrated):
        assigned = len(first.assigned()), len(second.assigned())
        for number in range(20):
            await broker.send(ORDERS, Order(order_id=f"o-{number % 10}"), event_id=f"e-{number % 10}")
        await broker.settle(within_s=30)

    assert assigned == (2, 1)
    assert sql.execute("SELECT count(*), count(DISTINCT event_id) FROM effect").fetchone() == (10, 10)
    assert broker.dead_letters("billing", ORDERS) == []
