"""A record that cannot go on to its retry topic is not dropped: its partition waits for it, and says so."""

from __future__ import annotations

from ottla import App, Record, RetryTopics, Topic
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, read_all, running, settings_for, until
from tests.support.failing import GROUP, dead_letters, topic_with_dead_letters, with_producer
from tests.support.kafka_server import Kafka
from tests.support.retrying import create_retry_topics

RETRY = RetryTopics(attempts=2, first_s=0.1)


async def test_while_its_retry_topic_is_missing_one_partition_waits_and_goes_on_by_itself(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic, partitions=2)
    (retries,) = create_retry_topics(kafka, topic, RETRY, partitions=2)
    settings = with_producer(
        settings_for(kafka), delivery_timeout_ms=1000, topic_metadata_propagation_max_ms=100
    )
    app = App(GROUP, settings=settings)
    seen: list[tuple[str, int]] = []

    @app.listener(Topic(topic, str), retry=RETRY)
    async def handle(value: str, record: Record) -> None:
        seen.append((value, record.attempt))
        if value == "fails" and record.attempt == 1:
            raise ValueError(value)

    async with running(app):
        kafka.delete_topic(retries)
        produce(kafka, topic, [("a", "fails")], partition=1)
        await until(lambda: f"{topic}-1" in app.unready(), what="the partition has stopped")
        why = app.unready()[f"{topic}-1"]
        produce(kafka, topic, [("b", "behind")], partition=1)
        produce(kafka, topic, [("c", "beside")], partition=0)
        await until(lambda: committed(kafka, GROUP, topic).get(0) == 1, what="the other goes on")
        seen_meanwhile, committed_meanwhile = list(seen), committed(kafka, GROUP, topic)
        # With fewer partitions than it had: the one of the same number is not there any more.
        kafka.create_topic(retries, partitions=1)
        await until(lambda: ("fails", 2) in seen, what="the record is retried")
        await until(lambda: committed(kafka, GROUP, topic) == {0: 1, 1: 2}, what="all is committed")
        await until(lambda: not app.unready(), what="the app is ready again")

    assert retries in why
    assert seen_meanwhile == [("fails", 1), ("beside", 1)]
    assert committed_meanwhile == {0: 1, 1: 0}
    assert sorted(seen) == [("behind", 1), ("beside", 1), ("fails", 1), ("fails", 2)]
    assert len(read_all(kafka, retries)) == 1
    assert dead_letters(kafka, topic) == []


async def test_while_the_broker_refuses_it_as_too_large_the_record_is_not_done(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    (retries,) = create_retry_topics(kafka, topic, RETRY)
    kafka.alter_topic(retries, {"max.message.bytes": "200"})
    app = App(GROUP, settings=settings_for(kafka))
    attempts: list[int] = []

    @app.listener(Topic(topic, str), retry=RETRY)
    async def handle(value: str, record: Record) -> None:
        attempts.append(record.attempt)
        if record.attempt == 1:
            raise ValueError

    produce(kafka, topic, [("a", "v" * 300)])
    async with running(app):
        await until(lambda: f"{topic}-0" in app.unready(), what="the partition has stopped")
        committed_meanwhile = dict(committed(kafka, GROUP, topic))
        kafka.alter_topic(retries, {"max.message.bytes": "1000000"})
        await until(lambda: attempts == [1, 2], what="the record is retried")
        await until(lambda: committed(kafka, GROUP, topic) == {0: 1}, what="it goes on")

    assert committed_meanwhile == {0: 0}
    assert len(read_all(kafka, retries)) == 1
    assert dead_letters(kafka, topic) == []


async def test_at_the_last_stage_a_dead_letter_that_is_refused_keeps_its_record_on_the_retry_topic(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    (retries,) = create_retry_topics(kafka, topic, RETRY)
    kafka.alter_topic(f"{topic}-{GROUP}-dlt", {"max.message.bytes": "200"})
    app = App(GROUP, settings=settings_for(kafka))
    attempts: list[int] = []

    @app.listener(Topic(topic, str), retry=RETRY)
    async def handle(value: str, record: Record) -> None:
        attempts.append(record.attempt)
        if value != "passes":
            raise ValueError

    async with running(app):
        produce(kafka, topic, [("a", "v" * 300)])
        await until(lambda: f"{retries}-0" in app.unready(), what="the retry topic's partition has stopped")
        produce(kafka, topic, [("a", "passes")])
        await until(lambda: committed(kafka, GROUP, topic) == {0: 2}, what="the first topic goes on")
        committed_meanwhile = dict(committed(kafka, f"{GROUP}-retry", retries))
        kafka.alter_topic(f"{topic}-{GROUP}-dlt", {"max.message.bytes": "1000000"})
        await until(lambda: committed(kafka, f"{GROUP}-retry", retries) == {0: 1}, what="it goes on")
        reasons = app.unready()

    assert attempts == [1, 2, 1]
    assert committed_meanwhile == {0: 0}
    assert reasons == {}
    assert [letter.value() for letter in dead_letters(kafka, topic)] == [b"v" * 300]
