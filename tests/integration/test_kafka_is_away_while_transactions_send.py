"""The service goes on taking orders while Kafka is down, and every event leaves when it is back, in order.

A send that is waited for would make the outage of a broker the outage of the shop.
"""

from __future__ import annotations

import asyncio
import time

from ottla import App
from tests.support.apps import running, settings_for
from tests.support.kafka_server import KafkaServer
from tests.support.orders import (
    Order,
    drained,
    make_table,
    orders_topic,
    place,
    placed,
    sent,
    without_repeats,
)

CUSTOMERS = [f"customer-{number}" for number in range(20)]
ORDERS = orders_topic("orders")


async def place_all(app: App, numbers: range) -> float:
    """Each customer's orders one after the other, the customers side by side; the longest that one took."""
    slowest = 0.0

    async def shop_for(customer: str) -> None:
        nonlocal slowest
        for number in numbers:
            began = time.monotonic()
            await place(app, ORDERS, Order(customer=customer, number=number))
            slowest = max(slowest, time.monotonic() - began)

    await asyncio.gather(*map(shop_for, CUSTOMERS))
    return slowest


async def test_orders_are_taken_while_the_broker_is_frozen_killed_and_started_again(
    kafka_server: KafkaServer, migrated: str
) -> None:
    kafka = kafka_server
    kafka.create_topic("orders", 3)
    make_table(migrated)
    app = App("shop", settings=settings_for(kafka, DATABASE_URL=migrated))

    async with running(app):
        await place_all(app, range(20))
        kafka.pause()
        slowest_frozen = await place_all(app, range(20, 40))
        kafka.kill()
        slowest_down = await place_all(app, range(40, 60))
        waiting = await app.outbox()
        reasons = app.unready()
        await asyncio.to_thread(kafka.start)
        await drained(app)

    assert waiting.backlog >= len(CUSTOMERS) * 20
    assert waiting.oldest_s > 0
    assert reasons == {}
    assert max(slowest_frozen, slowest_down) < 5
    assert len(placed(migrated)) == len(CUSTOMERS) * 60
    assert {customer: without_repeats(numbers) for customer, numbers in sent(kafka, "orders").items()} == {
        customer: list(range(60)) for customer in CUSTOMERS
    }


async def test_a_service_that_starts_while_the_broker_is_down_takes_orders(
    kafka_server: KafkaServer, migrated: str
) -> None:
    kafka = kafka_server
    kafka.create_topic("orders", 3)
    kafka.kill()
    make_table(migrated)
    app = App("shop", settings=settings_for(kafka, DATABASE_URL=migrated))

    async with running(app):
        await place_all(app, range(3))
        await asyncio.to_thread(kafka.start)
        await drained(app)

    assert sent(kafka, "orders") == {customer: [0, 1, 2] for customer in CUSTOMERS}
