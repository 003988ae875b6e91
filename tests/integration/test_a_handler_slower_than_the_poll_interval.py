"""A handler takes longer than `max.poll.interval.ms`, waiting, computing, or in a thread.

A client that polls between handlers is taken for dead then: its partitions go to
others and the record is handled again, by everybody in turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from ottla import App, Topic
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, source_of, until
from tests.support.kafka_server import Kafka

INTERVAL_S = 1.0
WORK_S = 2.5 * INTERVAL_S
SHORT = {"KAFKA_MAX_POLL_INTERVAL_S": str(INTERVAL_S), "KAFKA_SESSION_TIMEOUT_S": "1", "KAFKA_DRAIN_S": "0.5"}


async def waiting(_: str) -> None:
    await asyncio.sleep(WORK_S)  # the work itself: time must pass on the broker's clock


async def computing(_: str) -> None:
    until_s = time.monotonic() + WORK_S
    while time.monotonic() < until_s:
        pass


def in_a_thread(_: str) -> None:
    time.sleep(WORK_S)  # the work itself


@pytest.mark.parametrize("handler", [waiting, computing, in_a_thread])
async def test_the_member_stays_and_the_record_is_handled_once(
    kafka: Kafka, new_topic: NewTopic, unique: str, handler: Callable[[str], Any]
) -> None:
    topic = new_topic()
    kafka.create_topic(f"{topic}-{unique}-dlt")
    app = App(unique, settings=settings_for(kafka, **SHORT))
    calls = list[str]()
    if asyncio.iscoroutinefunction(handler):

        @app.listener(Topic(topic, str))
        async def on_record(value: str) -> None:
            calls.append(value)
            await handler(value)
    else:

        @app.listener(Topic(topic, str))
        def on_record_in_thread(value: str) -> None:
            calls.append(value)
            handler(value)

    async with running(app):
        produce(kafka, topic, [("key", "slow")])
        await until(lambda: committed(kafka, unique, topic) == {0: 1}, what="the record is committed")
        assignments = source_of(app)._epoch

    assert calls == ["slow"]
    assert assignments == 1
