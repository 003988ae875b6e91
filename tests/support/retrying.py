"""What scenarios of retry topics share: topics beside one of the test's own, and what headers say."""

from __future__ import annotations

from typing import cast

from confluent_kafka import Message as KafkaMessage

from ottla import RetryTopics
from ottla.core.detours import REPLAY_ID_HEADER
from ottla.records import Record
from tests.support.apps import produce
from tests.support.failing import GROUP
from tests.support.kafka_server import Kafka

DUE_HEADER = "retry_topic-backoff-timestamp"


def create_retry_topics(
    kafka: Kafka, topic: str, retry: RetryTopics, *, partitions: int = 1, group: str = GROUP
) -> list[str]:
    """The retry topics of `topic` for `group`, first stage first."""
    names = [f"{topic}-{group}{stage.suffix}" for stage in retry.stages]
    for name in names:
        kafka.create_topic(name, partitions)
    return names


def due_ms(record: Record) -> int:
    """When a record on a retry topic may be handled, as its last header says."""
    raw = record.headers.last(DUE_HEADER)
    assert raw is not None
    return int.from_bytes(raw, "big", signed=True)


def replay(kafka: Kafka, letter: KafkaMessage, topic: str, *, replay_id: bytes = b"r-1") -> None:
    """Send a dead letter to `topic` to be handled again: as it is, and marked."""
    headers = cast("list[tuple[str, bytes | None]]", letter.headers() or [])
    marked = [*headers, (REPLAY_ID_HEADER, replay_id)]
    produce(kafka, topic, [(letter.key(), letter.value())], headers=marked)
