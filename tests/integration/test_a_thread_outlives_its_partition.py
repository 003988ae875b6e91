"""A `def` handler still runs in its thread when its partition goes, and comes back.

A thread cannot be cancelled. Its record is redelivered to this very process, and must
wait in its lane until the thread has really ended; what the thread then returns
belongs to an assignment that is over.
"""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from confluent_kafka import Consumer

from ottla import App, Record, Topic
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.kafka_server import Kafka


@pytest.mark.parametrize("assignor", ["range", "cooperative-sticky"])
async def test_the_lane_stays_taken_until_the_thread_has_ended_and_its_result_changes_nothing(
    kafka: Kafka, new_topic: NewTopic, unique: str, assignor: str
) -> None:
    topic = new_topic(partitions=2)
    kafka.create_topic(f"{topic}-{unique}-dlt")
    quick = {"KAFKA_DRAIN_S": "0.3", "KAFKA_SESSION_TIMEOUT_S": "1.5"}
    app = App(unique, settings=settings_for(kafka, KAFKA_ASSIGNOR=assignor, **quick))
    begun, ended, most = Counter[str](), Counter[str](), Counter[str]()
    release = threading.Event()

    @app.listener(Topic(topic, str), concurrency=8)
    def on_record(value: str, record: Record) -> None:
        begun[value] += 1
        most[value] = max(most[value], begun[value] - ended[value])
        if value.startswith("stuck"):
            release.wait()
        ended[value] += 1

    for partition in (0, 1):
        produce(kafka, topic, [(b"stuck", f"stuck-{partition}")], partition=partition)
    other = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "group.id": unique,
            "enable.auto.commit": False,
            "partition.assignment.strategy": assignor,
            "session.timeout.ms": 1500,
            "heartbeat.interval.ms": 500,
        }
    )
    try:
        async with running(app):
            await until(lambda: begun.total() == 2, what="both handlers run in their threads")
            other.subscribe([topic])
            await until(lambda: other.poll(0) or other.assignment(), what="the other member has a partition")
            other.close()
            for partition in (0, 1):
                produce(kafka, topic, [(b"free", f"free-{partition}")], partition=partition)
            await until(lambda: ended["free-0"] and ended["free-1"], what="both partitions are ours again")
            while_stuck = begun["stuck-0"], begun["stuck-1"]
            release.set()
            await until(
                lambda: sum(committed(kafka, unique, topic).values()) == 4, what="everything is committed"
            )
    finally:
        release.set()

    assert while_stuck == (1, 1)
    assert max(begun["stuck-0"], begun["stuck-1"]) == 2
    assert set(most.values()) == {1}
