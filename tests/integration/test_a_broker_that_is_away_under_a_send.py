"""A send that no broker acknowledges is not the handler's doing: it costs its record no attempt."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from ottla import App, InPlace, KafkaTemplate, Record, Topic
from tests.support.apps import committed, produce, read_all, running, settings_for, until
from tests.support.failing import dead_letters, with_producer
from tests.support.kafka_server import KafkaServer


class Event(BaseModel):
    number: int


async def test_the_record_waits_for_the_broker_without_an_attempt_or_a_dead_letter(
    kafka_server: KafkaServer,
) -> None:
    for name in ("orders", "invoices", "orders-billing-dlt"):
        kafka_server.create_topic(name)
    app = App("billing", settings=with_producer(settings_for(kafka_server), delivery_timeout_ms=500))
    invoices = Topic("invoices", Event)
    is_away = asyncio.Event()
    attempts: list[tuple[int, int]] = []
    sent: list[int] = []

    @app.listener(Topic("orders", Event), retry=InPlace(attempts=1))
    async def bill(event: Event, record: Record, template: KafkaTemplate) -> None:
        attempts.append((event.number, record.attempt))
        await is_away.wait()
        await template.send(invoices, event)
        sent.append(event.number)

    produce(kafka_server, "orders", [(b"k", b'{"number": 1}'), (b"k", b'{"number": 2}')])
    async with running(app):
        await until(lambda: attempts, what="the handler has begun")
        await asyncio.to_thread(kafka_server.stop)
        is_away.set()
        await until(lambda: "billing/orders" in app.unready(), what="the listener says what it waits for")
        why = app.unready()["billing/orders"]
        await until(lambda: len(attempts) > 1, what="the record is tried again")
        await asyncio.to_thread(kafka_server.start)
        await until(lambda: sent == [1, 2], what="both are handled")
        await until(lambda: not app.unready(), what="the app is ready again")

    assert "invoices" in why
    assert committed(kafka_server, "billing", "orders") == {0: 2}
    assert set(attempts) == {(1, 1), (2, 1)}
    assert {invoice.value() for invoice in read_all(kafka_server, "invoices")} == {
        b'{"number":1}',
        b'{"number":2}',
    }
    assert dead_letters(kafka_server, "orders") == []
