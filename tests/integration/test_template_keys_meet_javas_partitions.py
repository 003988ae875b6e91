"""Java and Python services share topics: the same key must lie in the same partition, or its order is lost.

The murmur2 here is written from Kafka's `Utils.murmur2` and held to the vectors of its
own test; the partitions are those that real Kafka acknowledges.
"""

from __future__ import annotations

import asyncio

import pytest

from ottla.kafka.producer import KafkaProducer
from ottla.kafka.properties import producer_properties
from ottla.settings import load_settings
from ottla.template import KafkaTemplate, encode_key
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


def murmur2(data: bytes) -> int:
    """Unsigned; Java's int is the same bits."""
    mask, m, r = 0xFFFFFFFF, 0x5BD1E995, 24
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k = (k ^ k >> r) * m & mask
        h = (h * m & mask) ^ k
    if tail := data[whole:]:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def java_partition(key: bytes, partitions: int) -> int:
    return (murmur2(key) & 0x7FFFFFFF) % partitions


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_murmur2_of_this_test_is_javas(data: bytes, expected: int) -> None:
    assert murmur2(data) == expected & 0xFFFFFFFF


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

    assert found == [java_partition(encode_key(key) or b"", 7) for key in _KEYS]
    assert len(set(found)) == 7
