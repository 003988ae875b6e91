"""The broker from pip: topics as declared, groups that take over, and nothing dropped in silence."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from ottla import records
from ottla.embedded import EmbeddedKafka, RecordsDropped
from ottla.embedded.guarded import ServerFailed

GROUP = {
    "group.id": "billing",
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
    "session.timeout.ms": 6000,
    "log_level": 2,
}


@pytest.fixture
def embedded() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka({"orders": 6}) as broker:
        yield broker


def send(broker: EmbeddedKafka, topic: str, *values: bytes, partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "message.max.bytes": 6_000_000})
    for value in values:
        producer.produce(topic, value, b"key", partition, headers=[("event-id", b"1"), ("empty", None)])
    assert producer.flush(30) == 0


def test_topics_have_the_partitions_that_were_asked_for(embedded: EmbeddedKafka) -> None:
    embedded.create_topic("invoices", 3)
    embedded.create_topic("orders", 6)

    topics = Producer({"bootstrap.servers": embedded.bootstrap_servers}).list_topics(timeout=10).topics

    assert {name: len(topic.partitions) for name, topic in topics.items()} == {"orders": 6, "invoices": 3}


def test_a_topic_cannot_be_created_again_with_other_partitions(embedded: EmbeddedKafka) -> None:
    with pytest.raises(ServerFailed, match="orders is there with 6 partitions, not 3"):
        embedded.create_topic("orders", 3)


def test_a_record_of_5_mb_goes_round_with_its_headers(embedded: EmbeddedKafka) -> None:
    send(embedded, "orders", b"x" * 5_000_000)

    consumer = Consumer({"bootstrap.servers": embedded.bootstrap_servers, **GROUP})
    consumer.assign([TopicPartition("orders", 0, 0)])
    message = consumer.poll(30)
    consumer.close()

    assert message is not None
    assert len(message.value() or b"") == 5_000_000
    assert message.headers() == [("event-id", b"1"), ("empty", None)]


def test_a_group_goes_on_where_its_last_member_committed(embedded: EmbeddedKafka) -> None:
    send(embedded, "orders", b"0", b"1", b"2")
    first = Consumer({"bootstrap.servers": embedded.bootstrap_servers, **GROUP})
    first.subscribe(["orders"])
    message = first.poll(30)
    assert message is not None
    first.commit(message=message, asynchronous=False)
    first.close()

    second = Consumer({"bootstrap.servers": embedded.bootstrap_servers, **GROUP})
    second.subscribe(["orders"])
    message = second.poll(30)
    second.close()

    assert message is not None
    assert message.value() == b"1"


def test_a_lone_member_has_its_partitions_within_two_seconds(embedded: EmbeddedKafka) -> None:
    send(embedded, "orders", b"0")
    consumer = Consumer({"bootstrap.servers": embedded.bootstrap_servers, **GROUP})
    consumer.subscribe(["orders"])

    began = time.monotonic()
    message = consumer.poll(30)
    took = time.monotonic() - began
    consumer.close()

    assert message is not None
    assert took < 2


def test_nothing_dropped_is_said_of_a_broker_that_holds_everything(embedded: EmbeddedKafka) -> None:
    send(embedded, "orders", b"x", b"y")

    embedded.check_nothing_dropped()

    assert embedded.watermarks()[records.TopicPartition("orders", 0)] == (0, 2)


def test_dropped_records_are_an_error_that_names_partition_and_offset(embedded: EmbeddedKafka) -> None:
    send(embedded, "orders", *[b"x" * 100_000] * 60, partition=2)

    with pytest.raises(RecordsDropped, match=r"orders-2: \d+") as raised:
        embedded.check_nothing_dropped()

    assert list(raised.value.first_kept) == [records.TopicPartition("orders", 2)]
    assert raised.value.first_kept[records.TopicPartition("orders", 2)] > 0


def test_a_broker_that_is_not_started_says_so() -> None:
    with pytest.raises(ServerFailed, match="not started"):
        _ = EmbeddedKafka().bootstrap_servers
