"""Billing as slow as real work is: 5 ms a record. `python -m examples.shop.spike.billing`."""

from __future__ import annotations

import asyncio
import sys

from examples.shop.billing.app import on_order_created
from examples.shop.contracts import ORDERS, OrderCreated
from ottla import App, Transaction
from ottla.cli.main import main as ottla

WORK_S = 0.005

app = App("billing")


@app.listener(ORDERS, concurrency=64)
async def bill_slowly(event: OrderCreated, tx: Transaction) -> None:
    """As billing does, after some work."""
    await asyncio.sleep(WORK_S)
    await on_order_created(event, tx)


if __name__ == "__main__":
    sys.argv = ["ottla", "run", "examples.shop.spike.billing:app"]
    ottla()
