"""What the services of the shop share: their topics, and the events on them."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

from ottla import Topic
from ottla.serde import Avro


class OrderCreated(BaseModel):
    """A customer has placed an order."""

    model_config = ConfigDict(frozen=True)

    order_id: str = Field(pattern=r"^[\w.:-]{1,64}$")
    customer_id: str = Field(pattern=r"^[\w.:-]{1,64}$")
    placed_on: date
    quantity: int = Field(ge=1, le=1_000_000)
    amount_usd: Decimal = Field(ge=0, max_digits=12, decimal_places=2)

    @property
    def event_id(self) -> str:
        """The same whoever tells of the order, and however often: it is one event."""
        return f"order-created:{self.order_id}"


class InvoiceIssued(BaseModel):
    """An order has been billed."""

    model_config = ConfigDict(frozen=True)

    order_id: str
    customer_id: str
    amount_usd: Decimal = Field(max_digits=12, decimal_places=2)


AVRO = Avro(namespace="examples.shop", or_json=True)
"""Avro where SCHEMA_REGISTRY_URL is set, JSON where it is not."""

ORDERS = Topic("orders", OrderCreated, key=lambda event: event.order_id, partitions=6, format=AVRO)
INVOICES = Topic("invoices", InvoiceIssued, key=lambda event: event.order_id, partitions=6, format=AVRO)
