"""Order where it is promised, while handlers are slow, fail, and are tried again.

Records of a key begin in offset order, retries in place included: a record in back-off
holds its own key back and nobody else's.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from ottla import App, InPlace, Order, Record, Topic
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.kafka_server import Kafka
from tests.support.ledger import Entry, Ledger, by_key, entry, numbered

KEYS = [f"key-{number}" for number in range(200)]
QUICK = InPlace(attempts=5, first_s=0.01, max_s=0.05)


def fails(this: Entry, attempt: int) -> bool:
    """Every seventh record once, every fiftieth three times."""
    mark = KEYS.index(this[0]) + this[1]
    return attempt <= (3 if mark % 50 == 0 else 1 if mark % 7 == 0 else 0)


async def test_each_key_keeps_its_order_while_records_are_slow_and_tried_again(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    topic = new_topic(partitions=6)
    kafka.create_topic(f"{topic}-{unique}-dlt")
    app, ledger = App(unique, settings=settings_for(kafka)), Ledger()
    most_at_once = 0

    @app.listener(Topic(topic, bytes), concurrency=64, retry=QUICK)
    async def on_record(_: bytes, record: Record) -> None:
        nonlocal most_at_once
        this = entry(record)
        ledger.begun.append(this)
        ledger.running.add(this)
        most_at_once = max(most_at_once, len(ledger.running))
        assert sum(key == this[0] for key, _ in ledger.running) == 1, f"{this[0]} runs twice"
        try:
            await asyncio.sleep(0.001 * (hash(this) % 4))  # the work of the handler
            if fails(this, record.attempt):
                raise RuntimeError("try again")
            ledger.ended.append(this)
        finally:
            ledger.running.discard(this)

    produce(kafka, topic, numbered(KEYS, range(20)))
    async with running(app):
        await until(lambda: len(ledger.ended) >= 4000, what="every record is handled")

    assert by_key(ledger.ended) == {key: list(range(20)) for key in KEYS}
    assert all(numbers == sorted(numbers) for numbers in by_key(ledger.begun).values())
    assert Counter(ledger.begun) == {
        (key, number): 1 + sum(fails((key, number), attempt) for attempt in range(1, 5))
        for key in KEYS
        for number in range(20)
    }
    assert 32 < most_at_once <= 64
    assert sum(committed(kafka, unique, topic).values()) == 4000


async def test_order_by_partition_runs_one_record_of_a_partition_at_a_time_in_offset_order(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    topic = new_topic(partitions=4)
    kafka.create_topic(f"{topic}-{unique}-dlt")
    app = App(unique, settings=settings_for(kafka))
    begun, running_now, most = list[tuple[int, int]](), Counter[int](), Counter[int]()
    ended = 0

    @app.listener(Topic(topic, bytes), order=Order.PARTITION, retry=QUICK)
    async def on_record(_: bytes | None, record: Record) -> None:
        nonlocal ended
        begun.append((record.partition, record.offset))
        running_now[record.partition] += 1
        most[record.partition] = max(most[record.partition], running_now[record.partition])
        try:
            await asyncio.sleep(0)
            if record.attempt == 1 and record.offset % 10 == 0:
                raise RuntimeError("try again")
            ended += 1
        finally:
            running_now[record.partition] -= 1

    for partition in range(4):  # null keys too: the partition orders them
        produce(kafka, topic, [(None, b"x"), ("a", b"x"), ("b", None)] * 20, partition=partition)
    async with running(app):
        await until(lambda: ended >= 240, what="every record is handled")

    for partition in range(4):
        offsets = [offset for of, offset in begun if of == partition]
        assert offsets == sorted([*range(60), *range(0, 60, 10)])
    assert set(most.values()) == {1}


async def test_without_order_records_of_one_key_run_side_by_side(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    topic = new_topic()
    kafka.create_topic(f"{topic}-{unique}-dlt")
    app, ledger = App(unique, settings=settings_for(kafka)), Ledger()

    @app.listener(Topic(topic, bytes), order=Order.NONE, concurrency=16)
    async def on_record(_: bytes, record: Record) -> None:
        await ledger.handle(record, held=True)

    produce(kafka, topic, numbered(["key"], range(40)))
    async with running(app):
        await until(lambda: len(ledger.running) == 16, what="as many run as may")
        ledger.gate.set()
        await until(lambda: len(ledger.ended) == 40, what="every record is handled")

    assert ledger.most_at_once == {"key": 16}
    assert committed(kafka, unique, topic) == {0: 40}
