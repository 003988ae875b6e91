"""Retry topics under load: no record is handled before it is due, and nothing waits for one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import NamedTuple

from pydantic import BaseModel

from ottla import App, Record, RetryTopics, Topic
from tests.conftest import NewTopic
from tests.support.apps import Sent, committed, produce, running, settings_for, until
from tests.support.failing import GROUP, dead_letters, topic_with_dead_letters
from tests.support.kafka_server import Kafka
from tests.support.retrying import create_retry_topics, due_ms

RETRY = RetryTopics(attempts=3, first_s=0.5, factor=2)
PARTITIONS = 3
BATCHES, A_BATCH = 40, 60
SENT = BATCHES * A_BATCH
FAILS_EVERY = 10


class Event(BaseModel):
    number: int


class Call(NamedTuple):
    number: int
    attempt: int
    early_ms: int


def a_batch(number: int) -> list[Sent]:
    """60 records of 20 keys; failing ones share their keys with healthy ones."""
    numbers = range(number * A_BATCH, (number + 1) * A_BATCH)
    return [(f"key-{n % 20}", Event(number=n).model_dump_json()) for n in numbers]


async def test_under_load_each_record_waits_until_it_is_due_and_the_others_go_on(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic, partitions=PARTITIONS)
    create_retry_topics(kafka, topic, RETRY, partitions=PARTITIONS)
    app = App(GROUP, settings=settings_for(kafka))
    calls: list[Call] = []

    @app.listener(Topic(topic, Event), retry=RETRY)
    async def handle(event: Event, record: Record) -> None:
        now_ms = time.time_ns() // 1_000_000
        early_ms = due_ms(record) - now_ms if record.attempt > 1 else 0
        calls.append(Call(event.number, record.attempt, early_ms))
        if event.number % FAILS_EVERY == 0 and record.attempt < 3:
            raise ValueError("not yet")

    async with running(app):
        for number in range(BATCHES):
            await asyncio.to_thread(produce, kafka, topic, a_batch(number))
            await asyncio.sleep(0.05)  # the load itself
        failing = SENT // FAILS_EVERY
        await until(lambda: len(calls) >= SENT + 2 * failing, what="all retries are made")
        await until(lambda: sum(committed(kafka, GROUP, topic).values()) == SENT, what="all is committed")

    assert [call for call in calls if call.early_ms > 0] == []
    assert Counter(call.attempt for call in calls) == {1: SENT, 2: failing, 3: failing}
    assert dead_letters(kafka, topic) == []
    # While each waited, others of its own key, of other keys and of other partitions were handled;
    # the last batches have nobody behind them.
    places = {(call.number, call.attempt): place for place, call in enumerate(calls)}
    for number in range(0, SENT // 2, FAILS_EVERY):
        meanwhile = calls[places[number, 1] + 1 : places[number, 2]]
        keys = {call.number % 20 for call in meanwhile if call.attempt == 1}
        assert len(keys) == 20
