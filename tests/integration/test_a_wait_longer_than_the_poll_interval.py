"""A failed record waits for longer than `max.poll.interval.ms`: the group keeps its member all the while.

Spring Kafka's back-off in place had to stay below it; a pause of the partition did away with
that, and with the records of all other keys.
"""

from __future__ import annotations

from ottla import App, InPlace, Record, RetryTopics, Topic
from ottla.kafka.consumer import KafkaSource
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.failing import GROUP, topic_with_dead_letters
from tests.support.kafka_server import Kafka
from tests.support.retrying import create_retry_topics

INTERVAL_S = 1.0
WAIT_S = 3 * INTERVAL_S
SHORT = {"KAFKA_MAX_POLL_INTERVAL_S": str(INTERVAL_S), "KAFKA_SESSION_TIMEOUT_S": "1", "KAFKA_DRAIN_S": "0.5"}
FAILS_ONCE = "fails once"


def epochs(app: App) -> list[int]:
    """How often partitions were assigned, by reader; each reads one partition."""
    return [source._epoch for source in app._sources if isinstance(source, KafkaSource)]


async def test_in_place_there_is_no_rebalance_and_other_keys_go_on(kafka: Kafka, new_topic: NewTopic) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App(GROUP, settings=settings_for(kafka, **SHORT))
    seen: list[tuple[str, int]] = []

    @app.listener(Topic(topic, str), retry=InPlace(attempts=2, first_s=WAIT_S, max_s=WAIT_S))
    async def handle(value: str, record: Record) -> None:
        seen.append((value, record.attempt))
        if (value, record.attempt) == (FAILS_ONCE, 1):
            raise ValueError

    async with running(app):
        produce(kafka, topic, [("a", FAILS_ONCE), ("b", "passes")])
        await until(lambda: committed(kafka, GROUP, topic) == {0: 2}, what="all is committed")
        assignments = epochs(app)

    assert seen == [(FAILS_ONCE, 1), ("passes", 1), (FAILS_ONCE, 2)]
    assert assignments == [1]


async def test_on_a_retry_topic_there_is_no_rebalance_of_either_group(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic, retry = topic_with_dead_letters(kafka, new_topic), RetryTopics(attempts=2, first_s=WAIT_S)
    (retries,) = create_retry_topics(kafka, topic, retry)
    app = App(GROUP, settings=settings_for(kafka, **SHORT))
    seen: list[tuple[str, int]] = []

    @app.listener(Topic(topic, str), retry=retry)
    async def handle(value: str, record: Record) -> None:
        seen.append((value, record.attempt))
        if (value, record.attempt) == (FAILS_ONCE, 1):
            raise ValueError

    async with running(app):
        produce(kafka, topic, [("a", FAILS_ONCE), ("a", "passes")])
        await until(lambda: committed(kafka, f"{GROUP}-retry", retries) == {0: 1}, what="it is retried")
        assignments = epochs(app)

    assert seen == [(FAILS_ONCE, 1), ("passes", 1), (FAILS_ONCE, 2)]
    assert assignments == [1, 1]
    assert committed(kafka, GROUP, topic) == {0: 2}
