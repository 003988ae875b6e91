"""Java and Python services share topics: the same key must lie in the same partition, or its order is lost.

The partitions are those that real Kafka acknowledges; those expected are told by the partitioner of
the in-memory broker, which is held to the vectors of Java's own test.
"""

from __future__ import annotations

import asyncio

from ottla.kafka.producer import KafkaProducer
from ottla.kafka.properties import producer_properties
from ottla.settings import load_settings
from ottla.template import KafkaTemplate, encode_key
from ottla.testing.murmur2 import partition_of
from ottla.topics import Key
from tests.conftest import NewTopic
from tests.support.kafka_server import Kafka

_KEYS: list[Key] = [
    "",
    "a",
    "order-1",
    "grün",
    b"\xff\x00\xfe",
    42,
    -1,
    *(f"customer-{n}" for n in range(100)),
]


async def test_every_key_lies_where_java_puts_it(kafka: Kafka, new_topic: NewTopic) -> None:
    topic = new_topic(partitions=7)
    settings = load_settings(
        environ={"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "KAFKA_SECURITY": "plaintext"}
    )
    producer = KafkaProducer(producer_properties(settings))
    await producer.start()

    template = KafkaTemplate(producer)
    results = await asyncio.gather(*(template.send(topic, b"v", key=key) for key in _KEYS))
    await producer.close(5)
    found = [result.partition for result in results]

    assert found == [partition_of(encode_key(key) or b"", 7) for key in _KEYS]
    assert len(set(found)) == 7
