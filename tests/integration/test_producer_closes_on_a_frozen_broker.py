"""A stop must end within its bound also when the broker has the request and never answers."""

from __future__ import annotations

import asyncio

from ottla.errors import ProducerClosed
from ottla.kafka.producer import KafkaProducer
from ottla.kafka.properties import producer_properties
from ottla.records import Headers
from ottla.settings import Settings
from tests.support.kafka_server import KafkaServer


async def test_close_ends_within_its_bound_and_fails_what_is_in_flight(kafka_server: KafkaServer) -> None:
    kafka_server.create_topic("orders")
    settings = Settings.model_validate({"kafka": {"bootstrap_servers": kafka_server.bootstrap_servers}})
    producer = KafkaProducer(producer_properties(settings))
    await producer.start()
    await producer.send("orders", key=b"k", value=b"before", headers=Headers(()))
    loop = asyncio.get_running_loop()

    kafka_server.pause()
    sends = [
        asyncio.create_task(producer.send("orders", key=b"k", value=b"v", headers=Headers(())))
        for _ in range(10)
    ]
    await asyncio.sleep(0)
    begin = loop.time()
    await producer.close(1)
    took = loop.time() - begin
    ended = await asyncio.gather(*sends, return_exceptions=True)
    kafka_server.unpause()

    assert took < 5
    assert {type(end) for end in ended} == {ProducerClosed}
