"""The broker refuses one record of the outbox: its key waits behind it, the others go on, and it is said.

One idempotent producer alone would let the key's later records pass the refused one. It
also refuses what shares a batch with that one: those are tried again, and pass.
"""

from __future__ import annotations

import asyncio

import pytest

from ottla import App
from tests.conftest import NewTopic
from tests.support.apps import read_all, running, settings_for, until
from tests.support.http import admin_port, ask, samples
from tests.support.kafka_server import Kafka
from tests.support.orders import Order, drained, make_table, orders_topic, place, sent

STUCK, OTHERS = "x" * 2_000, [f"customer-{number}" for number in range(5)]


def has_more(kafka: Kafka, topic: str, count: int) -> bool:
    return len(read_all(kafka, topic)) > count


async def test_its_key_waits_others_pass_and_it_goes_on_once_it_is_taken(
    kafka: Kafka, new_topic: NewTopic, migrated: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic = orders_topic(new_topic())
    make_table(migrated)
    app = App("shop", settings=settings_for(kafka, DATABASE_URL=migrated, OTTLA_ADMIN_PORT="0"))

    async with running(app):
        await place(app, topic, Order(customer=STUCK, number=0))
        await drained(app)
        kafka.alter_topic(topic.name, {"max.message.bytes": "1000"})  # what we know of it is older
        for number in range(1, 4):
            for customer in (STUCK, *OTHERS):
                await place(app, topic, Order(customer=customer, number=number))
        # In a thread: the relay that is waited for runs on this one, and a look takes a second.
        await until(lambda: asyncio.to_thread(has_more, kafka, topic.name, 15), what="the others pass")
        await until(lambda: len(app.outbox_stopped()) == 1, what="one is stopped")
        stopped = app.outbox_stopped()
        metrics = await asyncio.to_thread(ask, admin_port(app), "/metrics")
        await drained(app, but=3)
        waiting = await app.outbox()
        passed = sent(kafka, topic.name)
        kafka.alter_topic(topic.name, {"max.message.bytes": "1000000"})
        await drained(app)

    others = {customer: [1, 2, 3] for customer in OTHERS}
    (said,) = stopped
    assert "max.message.bytes" in said
    assert topic.name in caplog.text
    assert samples(metrics.body) == {
        ("ottla_ready", ()): 1,
        ("ottla_outbox_leading", ()): 16,
        ("ottla_outbox_stopped_keys", ()): 1,
    }
    assert waiting.backlog == 3
    assert passed == {STUCK: [0], **others}
    assert sent(kafka, topic.name) == {STUCK: [0, 1, 2, 3], **others}
