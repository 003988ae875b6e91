"""The broker stops answering, connections open, and the service is told to stop.

A synchronous commit to such a broker has no time-out; a stop that waits for one is
ended by SIGKILL in a deploy. The bound must hold, and what was not committed comes again.
"""

from __future__ import annotations

import asyncio
import time

from ottla import App, KafkaTemplate, Record, Topic
from tests.support.apps import produce, running, settings_for, until
from tests.support.kafka_server import KafkaServer
from tests.support.ledger import Ledger, by_key, entry, numbered

DRAIN_S = 3.0
KEYS = [f"key-{number}" for number in range(10)]
ECHOES = Topic("echoes", str)


async def test_stop_ends_within_its_bound_and_nothing_is_lost(kafka_server: KafkaServer) -> None:
    kafka = kafka_server
    for topic in ("orders", "orders-billing-dlt", "echoes"):
        kafka.create_topic(topic)
    settings = settings_for(kafka, KAFKA_DRAIN_S=str(DRAIN_S))
    app, ledger = App("billing", settings=settings), Ledger()

    @app.listener(Topic("orders", bytes))
    async def on_record(_: bytes, record: Record, template: KafkaTemplate) -> None:
        await ledger.handle(record, held=entry(record)[1] == 2)
        await template.send(ECHOES, "handled")

    produce(kafka, "orders", numbered(KEYS, range(5)))
    await app.start(fail_fast=True)
    await until(lambda: len(ledger.running) == len(KEYS), what="a record of every key is held")
    kafka.pause()
    try:
        ledger.gate.set()
        began = time.monotonic()
        await app.stop()
        took_s = time.monotonic() - began
    finally:
        kafka.unpause()
    before = set(ledger.ended)
    after = App("billing", settings=settings)

    @after.listener(Topic("orders", bytes))
    async def on_record_later(_: bytes, record: Record) -> None:
        await ledger.handle(record)

    async with running(after):
        await until(lambda: len(set(ledger.ended)) == 50, what="every record is handled")

    assert took_s < DRAIN_S + 1
    assert len(before) < 50
    assert {key: sorted(set(numbers)) for key, numbers in by_key(ledger.ended).items()} == {
        key: list(range(5)) for key in KEYS
    }
    assert asyncio.all_tasks() == {asyncio.current_task()}
