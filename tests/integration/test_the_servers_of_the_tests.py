"""The servers that all other scenarios stand on: a record and a row go round, restarts keep both."""

from __future__ import annotations

import psycopg
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from ottla.embedded import EmbeddedPostgres
from tests.conftest import NewTopic
from tests.support.kafka_server import Kafka, KafkaServer


def send(bootstrap_servers: str, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap_servers, "log_level": 2})
    producer.produce(topic, value, b"key", 0)
    assert producer.flush(30) == 0


def first_record(bootstrap_servers: str, topic: str, offset: int = 0) -> Message | None:
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": topic, "log_level": 2})
    try:
        consumer.assign([TopicPartition(topic, 0, offset)])
        return consumer.poll(30)
    finally:
        consumer.close()


def test_a_record_goes_round_on_real_kafka(kafka: Kafka, new_topic: NewTopic) -> None:
    topic = new_topic(partitions=3)

    send(kafka.bootstrap_servers, topic, b"value")

    record = first_record(kafka.bootstrap_servers, topic)
    assert record is not None
    assert (record.key(), record.value()) == (b"key", b"value")


def test_deleted_records_leave_a_gap_at_the_start(kafka: Kafka, new_topic: NewTopic) -> None:
    topic = new_topic()
    for value in (b"0", b"1", b"2"):
        send(kafka.bootstrap_servers, topic, value)

    kafka.delete_records(topic, 0, before=2)

    record = first_record(kafka.bootstrap_servers, topic, offset=2)
    assert record is not None
    assert record.value() == b"2"


def test_real_kafka_keeps_its_records_over_stop_and_kill(kafka_server: KafkaServer) -> None:
    kafka_server.create_topic("kept")
    send(kafka_server.bootstrap_servers, "kept", b"value")

    kafka_server.stop()
    kafka_server.start()
    kafka_server.kill()
    kafka_server.start()

    record = first_record(kafka_server.bootstrap_servers, "kept")
    assert record is not None
    assert record.value() == b"value"


def test_postgres_keeps_committed_rows_over_stop_and_kill(postgres_server: EmbeddedPostgres) -> None:
    url = postgres_server.url
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")

    for mode in ("smart", "fast", "immediate"):
        postgres_server.stop(mode)
        postgres_server.start()
    postgres_server.kill()
    postgres_server.start()

    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchall() == [(1,)]


def test_every_test_has_a_database_of_its_own(database_url: str, postgres: str) -> None:
    with psycopg.connect(database_url) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()

    assert database_url != postgres
    assert tables == (0,)
