"""The service: `ottla run examples.shop.notifications.app:app`.

Mail cannot be rolled back, so it is at-least-once: the event's id goes along as the
idempotency key, and the mail server sends what it has sent already only once.
"""

from __future__ import annotations

from examples.shop.contracts import ORDERS, OrderCreated
from examples.shop.notifications import mail
from ottla import App, Record

app = App("notifications")


@app.listener(ORDERS)
async def notify(event: OrderCreated, record: Record) -> None:
    """Tell the customer."""
    await mail.send(
        event.customer_id,
        f"Your order {event.order_id} over {event.amount_usd} USD",
        idempotency_key=record.event_id,
    )
