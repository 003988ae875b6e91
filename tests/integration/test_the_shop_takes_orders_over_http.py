"""The shop as its services run: orders over HTTP, billing, notifications; one killed in the middle of it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from examples.shop.billing.invoices import create_tables as create_invoices
from examples.shop.orders.orders import create_tables as create_orders
from ottla import App, Topic
from ottla.embedded.guarded import free_port
from ottla.postgres.migrations import upgrade
from tests.conftest import NewTopic
from tests.support.apps import produce, read_all, settings_for, until
from tests.support.failing import topic_with_dead_letters
from tests.support.kafka_server import Kafka
from tests.support.processes import program, service

ORDERS = 60


@dataclass
class Shop:
    """Where everything is; each service may be started again."""

    kafka: Kafka
    orders: str
    invoices: str
    database_url: str
    folder: Path
    group: str
    mail_port: int
    port: int

    @property
    def environment(self) -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA_SESSION_TIMEOUT_S": "6",
            "TOPICS__ORDERS": self.orders,
            "TOPICS__INVOICES": self.invoices,
        }

    def http(self, api: str, port: int, **environment: str) -> Any:
        arguments = (api, "--port", str(port), "--log-level", "warning")
        return program("uvicorn", self.folder, *arguments, environment={**self.environment, **environment})

    def taking_orders(self) -> Any:
        return self.http("examples.shop.orders.api:api", self.port, DATABASE_URL=self.database_url)

    def billing(self) -> Any:
        return service(
            "examples.shop.billing.app:app",
            self.folder,
            environment={
                **self.environment,
                "KAFKA_GROUP_ID": f"{self.group}-billing",
                "DATABASE_URL": self.database_url,
            },
        )

    def notifications(self) -> Any:
        return service(
            "examples.shop.notifications.app:app",
            self.folder,
            environment={
                **self.environment,
                "KAFKA_GROUP_ID": f"{self.group}-notifications",
                "MAIL_URL": f"http://127.0.0.1:{self.mail_port}",
            },
        )

    def mail(self) -> Any:
        return self.http("examples.shop.notifications.mail_server:api", self.mail_port)

    async def mails_sent(self, least: int) -> int:
        """How many mails were sent, once there are `least`."""
        async with client_of(self.mail_port) as client:

            async def sent() -> int:
                return int((await client.get("/counts")).json()["sent"])

            async def are_enough() -> bool:
                return await sent() >= least

            await until(are_enough, what=f"{least} mails are sent")
            return await sent()

    def billed(self) -> list[str]:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return [order for (order,) in connection.execute("SELECT order_id FROM invoice")]


@pytest.fixture
def shop(kafka: Kafka, new_topic: NewTopic, unique: str, database_url: str, tmp_path: Path) -> Shop:
    upgrade(database_url)
    create_orders(database_url)
    create_invoices(database_url)
    groups = (f"{unique}-billing", f"{unique}-notifications")
    orders = topic_with_dead_letters(kafka, new_topic, partitions=3, groups=groups)
    invoices = new_topic(partitions=3)
    return Shop(kafka, orders, invoices, database_url, tmp_path, unique, free_port(), free_port())


def new_order(number: int, **changes: Any) -> dict[str, Any]:
    order = {
        "order_id": f"order-{number}",
        "customer_id": f"customer-{number % 7}",
        "placed_on": "1997-01-01",
        "quantity": 1,
        "amount_usd": "11.77",
    }
    return order | changes


@asynccontextmanager
async def client_of(port: int) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        yield client


async def is_ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


async def test_an_order_is_placed_once_found_and_told_apart_from_another(shop: Shop) -> None:
    with shop.taking_orders():
        async with client_of(shop.port) as client:
            await until(lambda: is_ready(client), what="orders are taken")
            first = await client.post("/orders", json=new_order(1))
            again = await client.post("/orders", json=new_order(1))
            twins = await asyncio.gather(*(client.post("/orders", json=new_order(2)) for _ in range(8)))
            other = await client.post("/orders", json=new_order(1, quantity=2))
            broken = await client.post("/orders", json=new_order(3, quantity=0))
            found = await client.get("/orders/order-1")
            missing = await client.get("/orders/order-9")
            await until(lambda: len(read_all(shop.kafka, shop.orders)) == 2, what="both events arrive")

    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert sorted(answer.status_code for answer in twins) == [200] * 7 + [201]
    assert (broken.status_code, missing.status_code) == (422, 404)
    assert first.json() == again.json() == found.json() == new_order(1)


async def test_every_order_is_billed_once_and_mailed_about_though_services_are_killed(shop: Shop) -> None:
    with ExitStack() as exits:
        for start in (shop.mail, shop.notifications):
            exits.enter_context(start())
        killed = [exits.enter_context(start()) for start in (shop.billing, shop.taking_orders)]
        async with client_of(shop.port) as client:
            await until(lambda: is_ready(client), what="orders are taken")
            for number in range(ORDERS // 2):
                await client.post("/orders", json=new_order(number))
            for each in killed:
                each.send(signal.SIGKILL)
                await each.code()
            for start in (shop.billing, shop.taking_orders):
                exits.enter_context(start())
            await until(lambda: is_ready(client), what="orders are taken")
            for number in range(ORDERS // 3, ORDERS):
                await client.post("/orders", json=new_order(number))
            await until(lambda: len(shop.billed()) == ORDERS, what="all are billed")
            await until(lambda: len(read_all(shop.kafka, shop.invoices)) >= ORDERS, what="all are told of")
            mails = await shop.mails_sent(ORDERS)

    assert sorted(shop.billed()) == sorted(f"order-{number}" for number in range(ORDERS))
    assert mails == ORDERS
    keys = {message.key() for message in read_all(shop.kafka, shop.invoices)}
    assert keys == {f"order-{number}".encode() for number in range(ORDERS)}


async def test_listeners_run_in_a_web_process_whose_own_lifespan_opens_the_app(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app, order = App("billing", settings=settings_for(kafka)), []

    @app.listener(Topic(topic, str))
    async def on_text(text: str) -> None:
        order.append(text)

    @asynccontextmanager
    async def own_lifespan(api: FastAPI) -> AsyncIterator[None]:
        order.append("opened")
        async with app.lifespan(api):
            yield
        order.append("closed")

    api = FastAPI(lifespan=own_lifespan)
    produce(kafka, topic, [("key", "handled")])
    async with api.router.lifespan_context(api):
        await until(lambda: "handled" in order, what="the record is handled")

    assert order == ["opened", "handled", "closed"]
