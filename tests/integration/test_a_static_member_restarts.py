"""A process with KAFKA_GROUP_INSTANCE_ID restarts within the session time-out, as in a rolling deploy.

The group keeps its partitions for it: the other members go on undisturbed, and it has the same ones again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from ottla import App, Topic
from ottla.errors import FatalClientError
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, source_of, until
from tests.support.kafka_server import Kafka
from tests.support.ledger import numbered

PROTOCOLS = pytest.mark.parametrize("protocol", ["classic", "consumer"])
KEYS = [f"key-{number}" for number in range(20)]


def member(kafka: Kafka, topic: str, protocol: str, instance_id: str | None) -> App:
    environment = {"KAFKA_GROUP_PROTOCOL": protocol, "KAFKA_SESSION_TIMEOUT_S": "30"}
    if instance_id is not None:
        environment["KAFKA_GROUP_INSTANCE_ID"] = instance_id
    app = App(topic, settings=settings_for(kafka, **environment))

    @app.listener(Topic(topic, str))
    async def handle(_: str) -> None: ...

    return app


@asynccontextmanager
async def two_members(
    kafka: Kafka, topic: str, protocol: str, instance_ids: Sequence[str | None]
) -> AsyncIterator[tuple[App, App]]:
    """Both have two of the four partitions."""
    kafka.create_topic(f"{topic}-{topic}-dlt", 4)
    first, second = (member(kafka, topic, protocol, instance_id) for instance_id in instance_ids)
    async with running(first, second):
        await until(lambda: len(first.assigned()) == len(second.assigned()) == 2, what="each has two")
        yield first, second


@PROTOCOLS
async def test_it_has_its_partitions_again_and_nobody_else_is_disturbed(
    kafka: Kafka, new_topic: NewTopic, protocol: str
) -> None:
    topic = new_topic(partitions=4)

    async with two_members(kafka, topic, protocol, ["pod-0", "pod-1"]) as (staying, restarting):
        before, rebalances = restarting.assigned(), source_of(staying).figures().rebalances
        await restarting.stop()
        produce(kafka, topic, numbered(KEYS, range(5)))
        await restarting.start()
        await until(lambda: len(restarting.assigned()) == 2, what="it has two again")
        await until(lambda: sum(committed(kafka, topic, topic).values()) == 100, what="all is handled")
        after, rebalances_after = restarting.assigned(), source_of(staying).figures().rebalances

    assert sorted(after) == sorted(before)
    assert rebalances_after == rebalances


@PROTOCOLS
async def test_without_such_a_name_the_group_gives_its_partitions_away(
    kafka: Kafka, new_topic: NewTopic, protocol: str
) -> None:
    topic = new_topic(partitions=4)

    async with two_members(kafka, topic, protocol, [None, None]) as (staying, leaving):
        rebalances = source_of(staying).figures().rebalances
        await leaving.stop()
        await until(lambda: len(staying.assigned()) == 4, what="the other one has all")
        rebalances_after = source_of(staying).figures().rebalances

    assert rebalances_after > rebalances


@PROTOCOLS
async def test_two_processes_of_one_name_end_in_an_error_that_names_the_setting(
    kafka: Kafka, new_topic: NewTopic, protocol: str
) -> None:
    topic = new_topic()
    kafka.create_topic(f"{topic}-{topic}-dlt")
    apps = [member(kafka, topic, protocol, "pod-0") for _ in range(2)]

    first = asyncio.create_task(apps[0].run())
    await until(apps[0].assigned, what="the first has joined")
    second = asyncio.create_task(apps[1].run())
    done, running = await asyncio.wait((first, second), timeout=30, return_when=asyncio.FIRST_COMPLETED)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    (fenced,) = done

    with pytest.raises(FatalClientError, match="KAFKA_GROUP_INSTANCE_ID"):
        await fenced
