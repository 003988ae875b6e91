"""A second member joins while handlers of the first are held.

The most common way to lose or double records: the partition goes while its records are
being handled. In the time given, what runs must end, be committed, and not be handled
again by the next owner; beyond it, its result must count for nothing.
"""

from __future__ import annotations

import asyncio

import pytest

from ottla import App, Record, Topic
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.kafka_server import Kafka
from tests.support.ledger import Ledger, by_key, entry, numbered

PROTOCOLS = {
    "eager": {"KAFKA_ASSIGNOR": "range"},
    "cooperative": {"KAFKA_ASSIGNOR": "cooperative-sticky"},
    "kip-848": {"KAFKA_GROUP_PROTOCOL": "consumer"},
}
KEYS = [f"key-{number}" for number in range(40)]
PARTITIONS = 4
# Only a revoke commits: so it is the revoke's commit that is seen.
NO_OTHER_COMMITS = {"KAFKA_COMMIT_INTERVAL_S": "3600", "KAFKA_COMMIT_RECORDS": "1000000"}
QUICK_HEARTBEATS = {"KAFKA_SESSION_TIMEOUT_S": "1.5"}

protocols = pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS.keys())


def is_draining(app: App) -> bool:
    return any(engine._drains for engine in app._engines)


@protocols
async def test_what_ends_before_the_partition_goes_is_committed_and_not_handled_again(
    kafka: Kafka, new_topic: NewTopic, unique: str, protocol: dict[str, str]
) -> None:
    topic = new_topic(partitions=PARTITIONS)
    kafka.create_topic(f"{topic}-{unique}-dlt")
    settings = settings_for(kafka, KAFKA_GROUP_ID=unique, **protocol, **NO_OTHER_COMMITS, **QUICK_HEARTBEATS)
    first, second = App("first", settings=settings), App("second", settings=settings)
    ledger, of_second = Ledger(), list[str]()

    @first.listener(Topic(topic, bytes))
    async def on_first(_: bytes, record: Record) -> None:
        await ledger.handle(record, held=entry(record)[1] == 2)

    @second.listener(Topic(topic, bytes))
    async def on_second(_: bytes, record: Record) -> None:
        of_second.append(entry(record)[0])
        await ledger.handle(record)

    produce(kafka, topic, numbered(KEYS, range(5)))
    async with running(first):
        await until(lambda: len(ledger.running) == len(KEYS), what="a record of every key is held")
        await second.start()
        try:
            await until(lambda: is_draining(first), what="the first member is asked for its partitions")
            ledger.gate.set()
            await until(lambda: len(ledger.ended) >= len(KEYS) * 5, what="every record is handled")
            await until(lambda: not second.unready(), what="the second has joined")
            produce(kafka, topic, numbered(KEYS, range(5, 8)))
            await until(lambda: len(ledger.ended) >= len(KEYS) * 8, what="the later records are handled")
        finally:
            await second.stop()

    assert by_key(ledger.ended) == {key: list(range(8)) for key in KEYS}
    assert len(ledger.begun) == len(KEYS) * 8
    assert of_second
    assert sum(committed(kafka, unique, topic).values()) == len(KEYS) * 8


@protocols
async def test_what_runs_beyond_the_drain_bound_counts_for_nothing_and_is_redelivered(
    kafka: Kafka, new_topic: NewTopic, unique: str, protocol: dict[str, str]
) -> None:
    topic = new_topic(partitions=PARTITIONS)
    kafka.create_topic(f"{topic}-{unique}-dlt")
    settings = settings_for(
        kafka, KAFKA_GROUP_ID=unique, KAFKA_DRAIN_S="0.5", **protocol, **NO_OTHER_COMMITS, **QUICK_HEARTBEATS
    )
    first, second = App("first", settings=settings), App("second", settings=settings)
    ledger, is_over = Ledger(), asyncio.Event()

    @first.listener(Topic(topic, bytes))
    async def on_first(_: bytes, record: Record) -> None:
        await ledger.handle(record, held=entry(record)[1] == 1 and not is_over.is_set())

    @second.listener(Topic(topic, bytes))
    async def on_second(_: bytes, record: Record) -> None:
        await ledger.handle(record)

    produce(kafka, topic, numbered(KEYS, range(3)))
    async with running(first):
        await until(lambda: len(ledger.running) == len(KEYS), what="a record of every key is held")
        await second.start()
        try:
            await until(lambda: len(ledger.running) < len(KEYS), what="held handlers are cancelled")
            is_over.set()
            ledger.gate.set()
            await until(lambda: len(ledger.ended) >= len(KEYS) * 3, what="every record is handled")
        finally:
            await second.stop()

    assert by_key(ledger.ended) == {key: list(range(3)) for key in KEYS}
    assert len(ledger.begun) > len(ledger.ended)
    assert set(ledger.most_at_once.values()) == {1}
    assert sum(committed(kafka, unique, topic).values()) == len(KEYS) * 3
