"""An app that is stopping is told to stop again: by an impatient caller's time-out, or by a second signal.

A stop that is given up half way leaves its members in the group: they go on answering the
coordinator, and hold partitions that nobody reads. Where a handler swallows its
cancellation the loop does not end either, and so they do for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from pathlib import Path

import pytest

from ottla import App, Topic
from tests.conftest import NewTopic
from tests.support.apps import produce, running, settings_for, until
from tests.support.kafka_server import Kafka
from tests.support.processes import noted, noting, service

NOTING = "tests.support.services.noting:app"
PROTOCOLS = pytest.mark.parametrize("protocol", ["classic", "consumer"])


@PROTOCOLS
async def test_it_leaves_its_group_all_the_same_and_the_next_one_has_its_records(
    kafka: Kafka, new_topic: NewTopic, protocol: str
) -> None:
    topic = new_topic()
    kafka.create_topic(f"{topic}-{topic}-dlt")
    produce(kafka, topic, [("a", "stuck")])
    settings = settings_for(kafka, KAFKA_GROUP_PROTOCOL=protocol, KAFKA_DRAIN_S="3")
    begun, may_end = asyncio.Event(), asyncio.Event()
    first, second = App(topic, settings=settings), App(topic, settings=settings)
    handled: list[str] = []

    @first.listener(Topic(topic, str))
    async def swallow(_: str) -> None:
        begun.set()
        while not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()

    @second.listener(Topic(topic, str))
    async def handle(value: str) -> None:
        handled.append(value)

    run = asyncio.create_task(first.run())
    await until(begun.is_set, what="the handler runs")
    told_at = time.monotonic()
    run.cancel()
    await until(lambda: first.unready().get(topic) == "is stopping", what="it is stopping")
    run.cancel()
    ended, _ = await asyncio.wait((run,), timeout=10)
    took_s = time.monotonic() - told_at
    async with running(second):
        await until(lambda: handled, what="the next one handles the record")
    may_end.set()

    assert ended
    assert run.cancelled()
    assert took_s < 3 + 1.5
    assert handled == ["stuck"]


@PROTOCOLS
async def test_its_members_leave_the_group_when_the_loop_ends_all_its_tasks(
    kafka: Kafka, new_topic: NewTopic, protocol: str
) -> None:
    topic = new_topic()
    kafka.create_topic(f"{topic}-{topic}-dlt")
    produce(kafka, topic, [("a", "stuck")])
    settings = settings_for(kafka, KAFKA_GROUP_PROTOCOL=protocol, KAFKA_DRAIN_S="60")
    begun, may_end = asyncio.Event(), asyncio.Event()
    first, second = App(topic, settings=settings), App(topic, settings=settings)
    handled: list[str] = []

    @first.listener(Topic(topic, str))
    async def swallow(_: str) -> None:
        begun.set()
        while not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()

    @second.listener(Topic(topic, str))
    async def handle(value: str) -> None:
        handled.append(value)

    test = asyncio.current_task()
    run = asyncio.create_task(first.run())
    await until(begun.is_set, what="the handler runs")
    run.cancel()
    await until(lambda: first.unready().get(topic) == "is stopping", what="it is stopping")
    for task in asyncio.all_tasks() - {test}:  # as `asyncio.run` does when a second Ctrl-C comes
        task.cancel()
    async with running(second):
        await until(lambda: handled, what="the next one handles the record")
    may_end.set()
    ended, _ = await asyncio.wait((run,), timeout=10)

    assert ended
    assert handled == ["stuck"]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_of_either_kind_ends_the_process_at_once(
    kafka: Kafka, new_topic: NewTopic, tmp_path: Path, second: signal.Signals
) -> None:
    topic = new_topic()
    kafka.create_topic(f"{topic}-{topic}-dlt")
    notes = tmp_path / "notes"
    produce(kafka, topic, [("a", "stuck")])

    held = noting(kafka, topic, notes, HOLD="stuck", KAFKA_DRAIN_S="60")
    with service(NOTING, tmp_path, environment=held) as process:
        await until(lambda: noted(notes, "begun"), what="a handler runs")
        process.send(signal.SIGTERM)
        await process.says("SIGTERM: stopping")
        told_at = time.monotonic()
        process.send(second)
        code = await process.code(within_s=10)
        took_s = time.monotonic() - told_at

    assert code == -second
    assert took_s < 2
