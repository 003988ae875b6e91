"""Who compresses cannot be told a record is too large for its topic before the broker has seen it."""

from __future__ import annotations

import pytest

from ottla.errors import TopicMissing
from ottla.kafka.cluster import KafkaCluster
from tests.conftest import NewTopic
from tests.support.apps import settings_for
from tests.support.failing import with_producer
from tests.support.kafka_server import Kafka


async def test_it_is_that_of_the_topic_and_unknown_where_records_are_compressed(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = new_topic(config={"max.message.bytes": "1234"})
    plain = KafkaCluster(settings_for(kafka))
    compressing = KafkaCluster(with_producer(settings_for(kafka), compression_type="lz4"))

    assert await plain.largest_batch(topic) == 1234
    assert await compressing.largest_batch(topic) is None


async def test_a_missing_topic_is_told_also_where_records_are_compressed(kafka: Kafka, unique: str) -> None:
    compressing = KafkaCluster(with_producer(settings_for(kafka), compression_type="lz4"))

    with pytest.raises(TopicMissing, match=unique):
        await compressing.largest_batch(unique)
