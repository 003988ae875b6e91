"""Orders and their table. Knows nothing of Kafka or HTTP."""

from __future__ import annotations

import os
from datetime import date, datetime
from decimal import Decimal
from typing import Self

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import DateTime, Numeric, create_engine, func, make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from examples.shop.contracts import OrderCreated


class Base(DeclarativeBase):
    """The tables of orders."""


class NewOrder(BaseModel):
    """What a customer asks for. Who asks again under the same `order_id` asks for the same order."""

    model_config = ConfigDict(frozen=True)

    order_id: str = Field(pattern=r"^[\w.:-]{1,64}$")
    customer_id: str = Field(pattern=r"^[\w.:-]{1,64}$")
    placed_on: date
    quantity: int = Field(ge=1, le=1_000_000)
    amount_usd: Decimal = Field(ge=0, max_digits=12, decimal_places=2)


class Order(Base):
    """An order that has been placed."""

    __tablename__ = "shop_order"

    order_id: Mapped[str] = mapped_column(primary_key=True)
    customer_id: Mapped[str]
    placed_on: Mapped[date]
    quantity: Mapped[int]
    amount_usd: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    taken_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    @classmethod
    def place(cls, new: NewOrder) -> Self:
        """The order that `new` asks for."""
        return cls(**new.model_dump())

    def is_asked_for_by(self, new: NewOrder) -> bool:
        """Whether `new` asks for this very order."""
        return all(getattr(self, name) == value for name, value in new.model_dump().items())

    def created(self) -> OrderCreated:
        """The event that tells of it."""
        return OrderCreated(
            order_id=self.order_id,
            customer_id=self.customer_id,
            placed_on=self.placed_on,
            quantity=self.quantity,
            amount_usd=self.amount_usd,
        )


def create_tables(url: str) -> None:
    """Make the tables of orders in the database at `url`; those that are there stay."""
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    try:
        Base.metadata.create_all(engine)
    finally:
        engine.dispose()


if __name__ == "__main__":
    create_tables(os.environ["DATABASE_URL"])
