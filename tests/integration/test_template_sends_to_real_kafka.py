"""What `send` promises, read back from the log of a real broker; refusals by the broker itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from pydantic import BaseModel

from ottla.core.identity import EVENT_ID_HEADER
from ottla.errors import RecordTooLarge, SendFailed, SendRefused
from ottla.kafka.producer import KafkaProducer
from ottla.kafka.properties import producer_properties
from ottla.settings import Settings
from ottla.template import KafkaTemplate
from ottla.topics import Topic
from tests.conftest import NewTopic
from tests.support.kafka_server import Kafka


class Order(BaseModel):
    order_id: str


@pytest.fixture
async def template(kafka: Kafka) -> AsyncIterator[KafkaTemplate]:
    settings = Settings.model_validate(
        {
            "kafka": {
                "bootstrap_servers": kafka.bootstrap_servers,
                # Else 30 s until a missing topic is believed to be missing.
                "producer": {"topic.metadata.propagation.max.ms": 500},
            }
        }
    )
    producer = KafkaProducer(producer_properties(settings))
    await producer.start()
    yield KafkaTemplate(producer)
    await producer.close(5)


def records(kafka: Kafka, topic: str, count: int) -> list[Message]:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "reader", "log_level": 2})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        return consumer.consume(count, 30)
    finally:
        consumer.close()


async def test_the_result_says_where_the_record_stands_and_when_it_was_made(
    kafka: Kafka, new_topic: NewTopic, template: KafkaTemplate
) -> None:
    orders = Topic(new_topic(), Order, key=lambda order: order.order_id)
    before_ms = time.time() * 1000

    first = await template.send(orders, Order(order_id="o1"), headers={"trace": "ü", "none": None})
    second = await template.send(orders, None, key="o1", timestamp_ms=1_700_000_000_000)

    written = await asyncio.to_thread(records, kafka, orders.name, 2)
    assert (first.topic, first.partition, first.offset) == (orders.name, 0, 0)
    assert first.timestamp_ms is not None
    assert before_ms - 1000 < first.timestamp_ms < time.time() * 1000 + 1000
    assert (second.offset, second.timestamp_ms) == (1, 1_700_000_000_000)
    assert [(m.key(), m.value()) for m in written] == [(b"o1", b'{"order_id":"o1"}'), (b"o1", None)]
    headers = dict(written[0].headers() or [])
    assert (headers["trace"], headers["none"]) == ("ü".encode(), None)
    event_id = headers[EVENT_ID_HEADER]
    assert isinstance(event_id, bytes)
    assert UUID(event_id.decode()).version == 4


async def test_a_record_over_the_topics_limit_is_refused_by_name_and_a_smaller_one_passes(
    new_topic: NewTopic, template: KafkaTemplate
) -> None:
    small, large = new_topic(config={"max.message.bytes": "1000000"}), new_topic()

    with pytest.raises(RecordTooLarge, match=f"topic '{small}', key b'k'.*max.message.bytes"):
        await template.send(small, b"x" * 5_000_000, key="k")
    after = await template.send(small, b"x", key="k")
    elsewhere = await template.send(large, b"x" * 5_000_000, key="k")

    assert (after.offset, elsewhere.offset) == (0, 0)


async def test_a_topic_that_does_not_exist_is_refused_with_the_cure(
    template: KafkaTemplate, unique: str
) -> None:
    with pytest.raises(SendRefused, match=f"topic '{unique}', key b'k'.*create the topic"):
        await template.send(unique, b"x", key="k")


async def test_a_record_that_the_broker_finds_invalid_is_the_senders_own_failure(
    new_topic: NewTopic, template: KafkaTemplate
) -> None:
    compacted = new_topic(config={"cleanup.policy": "compact"})

    with pytest.raises(SendFailed, match="a compacted topic wants a key") as caught:
        await template.send(compacted, b"x")

    assert type(caught.value) is SendFailed
