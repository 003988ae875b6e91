"""The only broker goes, in order or not, while records are produced, handled and committed.

The service stays up, says why nothing comes, and goes on by itself: at least once,
in the order of each key, and no dead letter for what was nobody's fault.
"""

from __future__ import annotations

import asyncio

import pytest

from ottla import App, KafkaTemplate, Record, Topic
from tests.support.apps import committed, read_all, running, settings_for, until
from tests.support.kafka_server import KafkaServer
from tests.support.ledger import Ledger, by_key

KEYS = [f"key-{number}" for number in range(20)]
PER_KEY = 40
ORDERS = Topic("orders", str)
BILLS = Topic("bills", str)


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_everything_is_handled_and_health_says_why_it_waited(
    kafka_server: KafkaServer, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    kafka = kafka_server
    for topic in ("orders", "orders-billing-dlt", "bills"):
        kafka.create_topic(topic, 2)
    app, ledger = App("billing", settings=settings_for(kafka, KAFKA_SESSION_TIMEOUT_S="3")), Ledger()

    @app.listener(Topic("orders", bytes))
    async def on_record(value: bytes, record: Record, template: KafkaTemplate) -> None:
        await ledger.handle(record)
        await template.send(BILLS, value.decode(), key=record.key.decode() if record.key else None)

    async def send_orders(numbers: range) -> None:
        async with asyncio.TaskGroup() as group:
            for number in numbers:
                sends = [group.create_task(app.template.send(ORDERS, str(number), key=key)) for key in KEYS]
                await asyncio.wait(sends)

    async with running(app):
        await send_orders(range(10))
        sending = asyncio.ensure_future(send_orders(range(10, PER_KEY)))
        await until(lambda: len(ledger.ended) > 15 * len(KEYS), what="it is under load")
        await asyncio.to_thread(getattr(kafka, how))
        await until(lambda: "billing/orders source" in app.unready(), what="health says it")
        why = app.unready()["billing/orders source"]
        await asyncio.to_thread(kafka.start)
        await asyncio.wait_for(sending, 60)
        await until(lambda: len(set(ledger.ended)) == len(KEYS) * PER_KEY, what="everything is handled")
        await until(lambda: not app.unready(), what="health is clear again")
        bills = len(read_all(kafka, "bills"))

    assert "KAFKA_BOOTSTRAP_SERVERS" in why
    assert sum(record.name.startswith("ottla") for record in caplog.records) < 50
    first_times = list(dict.fromkeys(ledger.ended))
    assert by_key(first_times) == {key: list(range(PER_KEY)) for key in KEYS}
    assert bills >= len(KEYS) * PER_KEY
    assert read_all(kafka, "orders-billing-dlt") == []
    assert sum(committed(kafka, "billing", "orders").values()) == sum(1 for _ in read_all(kafka, "orders"))
