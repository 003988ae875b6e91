"""Invoices and their table. Knows nothing of Kafka."""

from __future__ import annotations

import os
from datetime import datetime
from decimal import Decimal
from typing import Self

from sqlalchemy import BigInteger, DateTime, Identity, Numeric, create_engine, func, make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from examples.shop.contracts import InvoiceIssued, OrderCreated


class Base(DeclarativeBase):
    """The tables of billing."""


class Invoice(Base):
    """What a customer owes for one order.

    There is deliberately no unique constraint on `order_id`: that an order is billed
    once is the inbox's doing, and the demo counts whether it does it.
    """

    __tablename__ = "invoice"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    order_id: Mapped[str] = mapped_column(index=True)
    customer_id: Mapped[str]
    amount_usd: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    issued_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    issued_by: Mapped[int] = mapped_column(default=os.getpid)  # the process, for audits

    @classmethod
    def for_order(cls, event: OrderCreated) -> Self:
        """The invoice of the order that `event` tells of."""
        return cls(order_id=event.order_id, customer_id=event.customer_id, amount_usd=event.amount_usd)

    def issued(self) -> InvoiceIssued:
        """The event that tells of it."""
        return InvoiceIssued(order_id=self.order_id, customer_id=self.customer_id, amount_usd=self.amount_usd)


def create_tables(url: str) -> None:
    """Make billing's tables in the database at `url`; those that are there stay."""
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    try:
        Base.metadata.create_all(engine)
    finally:
        engine.dispose()


if __name__ == "__main__":
    create_tables(os.environ["DATABASE_URL"])
