"""A topic is deleted and made anew, and its leaders are other brokers: librdkafka 2.16 never finds those.

It keeps the old topic's leader epochs, beside which the new ones are out of date, and sends
to the old leaders until each record has timed out. Source: librdkafka #4898.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ottla.errors import SendFailed, SendTimedOut
from ottla.kafka.producer import KafkaProducer
from ottla.kafka.properties import producer_properties
from ottla.records import Headers
from tests.support.apps import settings_for, until
from tests.support.kafka_cluster import KafkaCluster

PARTITIONS = 6
TIMES_OUT_S = 8
NONE = Headers(())


@asynccontextmanager
async def started(cluster: KafkaCluster) -> AsyncIterator[KafkaProducer]:
    properties = producer_properties(settings_for(cluster))
    producer = KafkaProducer(properties | {"delivery.timeout.ms": str(TIMES_OUT_S * 1000)})
    await producer.start()
    try:
        yield producer
    finally:
        await producer.close(10)


async def send(producer: KafkaProducer, topic: str, partition: int) -> None:
    """Until it is acknowledged."""
    while True:
        try:
            await producer.send(topic, key=b"k", value=b"v", headers=NONE, partition=partition)
        except SendFailed:
            await asyncio.sleep(0.1)
        else:
            return


async def flow(producer: KafkaProducer, topic: str, is_over: asyncio.Event) -> list[int]:
    """Sends of one key, a hundred a second, none waiting for the one before; their offsets."""
    sends = []
    while not is_over.is_set():
        sends.append(asyncio.create_task(producer.send(topic, key=b"one", value=b"v", headers=NONE)))
        await asyncio.sleep(0.01)
    return [written.offset for written in await asyncio.gather(*sends)]


def leaders(cluster: KafkaCluster, topic: str) -> list[int]:
    told = cluster.admin().list_topics(topic, timeout=10).topics[topic].partitions
    return [told[number].leader for number in sorted(told)]


async def move_all_leaders(cluster: KafkaCluster, producer: KafkaProducer, topic: str) -> None:
    """Each broker restarts, so that leaders have a later epoch, and the client knows it."""
    for broker in cluster.brokers:
        await asyncio.to_thread(broker.stop)
        await asyncio.gather(*(send(producer, topic, number) for number in range(PARTITIONS)))
        await asyncio.to_thread(broker.start)
        await until(lambda: cluster.is_whole(topic), what="the broker is in sync", within_s=60)


@pytest.mark.timeout(240)
async def test_sends_reach_it_and_the_order_of_other_topics_is_kept() -> None:
    with KafkaCluster() as cluster:
        for topic, partitions in (("letters", PARTITIONS), ("steady", 1)):
            cluster.create_topic(topic, partitions)
        async with started(cluster) as producer:
            await asyncio.gather(*(send(producer, "letters", number) for number in range(PARTITIONS)))
            await move_all_leaders(cluster, producer, "letters")
            before = leaders(cluster, "letters")

            while True:  # until a leader is another broker
                cluster.delete_topic("letters")
                cluster.create_topic("letters", PARTITIONS)
                if leaders(cluster, "letters") != before:
                    break
            is_over = asyncio.Event()
            steady = asyncio.create_task(flow(producer, "steady", is_over))
            try:
                sends = [
                    producer.send("letters", key=b"k", value=b"v", headers=NONE, partition=number)
                    for number in range(PARTITIONS)
                ]
                first = await asyncio.gather(*sends, return_exceptions=True)
                async with asyncio.timeout(2 * TIMES_OUT_S):
                    await asyncio.gather(*(send(producer, "letters", number) for number in range(PARTITIONS)))
            finally:
                is_over.set()
            offsets = await steady

    assert any(isinstance(result, SendTimedOut) for result in first), first
    assert offsets == list(range(len(offsets)))
