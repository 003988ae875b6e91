"""Orders that scenarios of the outbox write and send: a row and an event, or neither."""

from __future__ import annotations

from collections.abc import Iterable

import psycopg
from pydantic import BaseModel
from sqlalchemy import text

from ottla import App, Topic
from tests.support.apps import read_all, until
from tests.support.kafka_server import Kafka

ROW = text("INSERT INTO placed VALUES (:number)")


class Order(BaseModel):
    """The `number`-th order of its customer."""

    customer: str
    number: int


def orders_topic(name: str) -> Topic[Order]:
    """Orders keyed by their customer."""
    return Topic(name, Order, key=lambda order: order.customer)


def make_table(url: str) -> None:
    """Where the orders are kept."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE placed (number integer NOT NULL)")


def placed(url: str) -> list[int]:
    """The numbers of the rows, as they were written."""
    with psycopg.connect(url, autocommit=True) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM placed ORDER BY ctid")]


async def place(app: App, topic: Topic[Order], order: Order) -> None:
    """As a service would: its row and its event in one transaction."""
    async with app.transaction() as tx:
        await tx.session.execute(ROW, {"number": order.number})
        await tx.send(topic, order)


async def drained(app: App, *, but: int = 0) -> None:
    """Wait until nothing is left in the outbox, `but` so many rows."""

    async def is_drained() -> bool:
        return (await app.outbox()).backlog <= but

    await until(is_drained, what=f"the outbox has {but} rows; refused: {app.outbox_stopped()}")


def sent(kafka: Kafka, topic: str) -> dict[str, list[int]]:
    """Per customer the numbers on the topic, in the order in which they stand there."""
    found: dict[str, list[int]] = {}
    for message in read_all(kafka, topic):
        order = Order.model_validate_json(message.value() or b"")
        found.setdefault(order.customer, []).append(order.number)
    return found


def without_repeats(numbers: Iterable[int]) -> list[int]:
    """As a reader with an inbox sees them: each at its first place."""
    return list(dict.fromkeys(numbers))
