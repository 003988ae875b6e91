"""A broker that dies makes a service unready and leaves it alive: to start it anew would cure nothing.

A fleet that restarts in an outage comes back slower than the broker does.
"""

from __future__ import annotations

import asyncio

from ottla import App, Topic
from tests.support.apps import produce, running, settings_for, until
from tests.support.http import Reply, admin_port, ask, samples
from tests.support.kafka_server import KafkaServer

LISTENER = "billing/orders"


async def test_livez_stays_and_readyz_says_what_the_service_says(kafka_server: KafkaServer) -> None:
    kafka = kafka_server
    kafka.create_topic("orders")
    app = App("billing", settings=settings_for(kafka, OTTLA_ADMIN_PORT="0"))
    handled = list[str]()

    @app.listener(Topic("orders", str), dead_letter=False)
    async def handle(value: str) -> None:
        handled.append(value)

    async def asked(path: str) -> Reply:
        return await asyncio.to_thread(ask, admin_port(app), path)

    async with running(app):
        await asyncio.to_thread(kafka.kill)
        await until(lambda: f"{LISTENER} source" in app.unready(), what="health says it")
        while_away = {path: await asked(path) for path in ("/livez", "/readyz", "/metrics")}
        await asyncio.to_thread(kafka.start)
        await until(lambda: not app.unready(), what="it is there again")
        produce(kafka, "orders", [("key", "at last")])
        await until(lambda: handled, what="the record is handled")
        at_last = await asked("/readyz")

    told = samples(while_away["/metrics"].body)
    assert (while_away["/livez"].status, while_away["/livez"].body) == (200, "ok\n")
    assert while_away["/readyz"].status == 503
    assert "KAFKA_BOOTSTRAP_SERVERS" in while_away["/readyz"].json()["reasons"][f"{LISTENER} source"]
    assert told["ottla_ready", ()] == 0
    assert at_last.status == 200
