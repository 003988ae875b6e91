"""The service: `ottla run examples.shop.billing.app:app`."""

from __future__ import annotations

from examples.shop.billing.invoices import Invoice
from examples.shop.contracts import INVOICES, ORDERS, OrderCreated
from ottla import App, InPlace, Transaction

app = App("billing", topics=[INVOICES])


@app.listener(ORDERS, concurrency=64, retry=InPlace(attempts=5, first_s=0.2, max_s=30))
async def on_order_created(event: OrderCreated, tx: Transaction) -> None:
    """Commits with the inbox row: billed once, and told of once, however often the order's event comes."""
    invoice = Invoice.for_order(event)
    tx.session.add(invoice)
    await tx.send(INVOICES, invoice.issued())
