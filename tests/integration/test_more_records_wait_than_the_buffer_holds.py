"""More records wait on a retry topic than may be in memory: the others wait on the broker, none is lost."""

from __future__ import annotations

from ottla import App, Record, RetryTopics, Topic
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.failing import GROUP, dead_letters, topic_with_dead_letters
from tests.support.kafka_server import Kafka
from tests.support.retrying import create_retry_topics, due_ms

MOST = 100
RESERVE = 21
"""While the buffer is full one record each 100 ms is polled for two seconds, then the partition pauses."""
SENT = 1_000
RETRY = RetryTopics(attempts=2, first_s=4)


async def test_those_that_are_not_due_stay_within_the_bound_and_all_are_handled(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    (retries,) = create_retry_topics(kafka, topic, RETRY)
    app = App(GROUP, settings=settings_for(kafka, KAFKA_BUFFERED_RECORDS=str(MOST)))
    handled, early, most = list[int](), 0, 0

    @app.listener(Topic(topic, int), retry=RETRY)
    async def handle(value: int, record: Record) -> None:
        nonlocal early
        if record.attempt == 1:
            raise ValueError("not yet")
        early += not handled and most < MOST  # the buffer has been full before the first was due
        early += record.timestamp_ms is not None and due_ms(record) < record.timestamp_ms
        handled.append(value)

    def is_over() -> bool:
        nonlocal most
        most = max(most, *(engine.load().records for engine in app._engines))
        return len(handled) >= SENT

    produce(kafka, topic, [(f"key-{number}", f"{number}") for number in range(SENT)])
    async with running(app):
        await until(is_over, what="every record is handled")
        await until(lambda: committed(kafka, f"{GROUP}-retry", retries) == {0: SENT}, what="all is committed")

    assert early == 0
    assert MOST <= most <= MOST + RESERVE
    assert sorted(handled) == list(range(SENT))
    assert dead_letters(kafka, topic) == []
