"""What scenarios of failing records share: their topics, raw producer properties, a header of any bytes."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path

import confluent_kafka
from confluent_kafka import Message as KafkaMessage

from ottla.settings import Settings
from tests.conftest import NewTopic
from tests.support.apps import read_all
from tests.support.kafka_server import Kafka

GROUP = "billing"
KEPT = {"retention.ms": "-1"}
"""For records with timestamps of long ago, which retention would remove within a second."""


def topic_with_dead_letters(
    kafka: Kafka,
    new_topic: NewTopic,
    *,
    partitions: int = 1,
    groups: tuple[str, ...] = (GROUP,),
    config: Mapping[str, str] | None = None,
) -> str:
    """A topic of the test's own, and a dead-letter topic of it for each of `groups`."""
    topic = new_topic(partitions, config)
    for group in groups:
        kafka.create_topic(dead_letter_topic(topic, group), partitions, config)
    return topic


def dead_letter_topic(topic: str, group: str = GROUP) -> str:
    return f"{topic}-{group}-dlt"


def dead_letters(kafka: Kafka, topic: str, group: str = GROUP) -> list[KafkaMessage]:
    """What `group` has given up of `topic` by now."""
    return read_all(kafka, dead_letter_topic(topic, group))


def header(message: KafkaMessage, name: str) -> bytes | None:
    """The last value of a header, as readers take it."""
    value = dict(message.headers() or [])[name]
    return value.encode() if isinstance(value, str) else value


def number_in(message: KafkaMessage, name: str) -> int:
    """A header in Spring's encoding of numbers."""
    return int.from_bytes(header(message, name) or b"", "big")


def with_producer(settings: Settings, **properties: str | int) -> Settings:
    """The settings with librdkafka properties of producers, dots written as underscores."""
    raw = {name.replace("_", "."): value for name, value in properties.items()}
    return settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"producer": raw})})


def produce_with_header_name(kafka: Kafka, topic: str, *, name: bytes, value: bytes) -> None:
    """Write a record whose header has any bytes as its name: a client in C does that, Python's cannot."""
    (library,) = (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka*.so*")
    librdkafka = ctypes.CDLL(str(library))
    for function in ("rd_kafka_conf_new", "rd_kafka_new"):
        getattr(librdkafka, function).restype = ctypes.c_void_p
    said = ctypes.create_string_buffer(512)
    conf = ctypes.c_void_p(librdkafka.rd_kafka_conf_new())
    brokers = kafka.bootstrap_servers.encode()
    assert librdkafka.rd_kafka_conf_set(conf, b"bootstrap.servers", brokers, said, ctypes.c_size_t(512)) == 0
    client = ctypes.c_void_p(librdkafka.rd_kafka_new(0, conf, said, ctypes.c_size_t(512)))  # 0: a producer
    assert client.value, said.value
    sent = librdkafka.rd_kafka_producev(
        client,
        *(1, topic.encode()),  # RD_KAFKA_VTYPE_TOPIC
        *(4, value, ctypes.c_size_t(len(value))),  # RD_KAFKA_VTYPE_VALUE
        *(7, 2),  # RD_KAFKA_VTYPE_MSGFLAGS: copy
        *(9, name, b"any", ctypes.c_ssize_t(3)),  # RD_KAFKA_VTYPE_HEADER
        0,
    )
    assert sent == 0
    assert librdkafka.rd_kafka_flush(client, 30_000) == 0
    librdkafka.rd_kafka_destroy(client)
