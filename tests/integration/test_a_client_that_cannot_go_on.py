"""A fatal error of the client ends the process with one line, so that whoever runs it starts it anew.

A twin with the same `group.instance.id` fences the first member: the one fatal error of
a consumer that can be had without breaking a broker.
"""

from __future__ import annotations

from pathlib import Path

from confluent_kafka import Consumer

from ottla import App, Topic
from tests.conftest import NewTopic
from tests.support.apps import produce, running, settings_for, until
from tests.support.kafka_server import Kafka
from tests.support.processes import noting, service

NOTING = "tests.support.services.noting:app"


async def test_a_fenced_member_ends_its_process_with_1_and_one_line(
    kafka: Kafka, new_topic: NewTopic, tmp_path: Path
) -> None:
    topic = new_topic(partitions=1)
    kafka.create_topic(f"{topic}-{topic}-dlt")
    environment = noting(kafka, topic, tmp_path / "notes", KAFKA_GROUP_INSTANCE_ID="pod-0", KAFKA_DRAIN_S="3")

    with service(NOTING, tmp_path, environment=environment) as first:
        await first.says("assigned")
        twin = Consumer(
            {
                "bootstrap.servers": kafka.bootstrap_servers,
                "group.id": topic,
                "group.instance.id": f"pod-0-{topic}",
                "partition.assignment.strategy": "cooperative-sticky",
            }
        )
        try:
            twin.subscribe([topic])
            await until(lambda: twin.poll(0.05) is None and first.has_ended(), what="the first is fenced")
            code = await first.code()
        finally:
            twin.close()

    assert code == 1, first.output()
    ends = [line for line in first.output().splitlines() if line.startswith("ottla: ")]
    assert len(ends) == 1, first.output()
    assert "the Kafka client cannot go on" in ends[0]
    assert "KAFKA_GROUP_INSTANCE_ID" in ends[0]
    assert "Traceback" not in first.output()


async def test_an_app_that_has_failed_inside_another_process_says_so(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = new_topic(partitions=1)
    kafka.create_topic(f"{topic}-{topic}-dlt")
    settings = settings_for(kafka, KAFKA_GROUP_ID=topic, KAFKA_GROUP_INSTANCE_ID="pod-0")
    first, second = App("billing", settings=settings), App("billing", settings=settings)
    handled: list[str] = []
    for app in (first, second):

        @app.listener(Topic(topic, str))
        async def on_record(value: str) -> None:
            handled.append(value)

    async with running(first):
        await second.start(fail_fast=True)
        try:
            await until(lambda: "must be started anew" in str(first.unready()), what="the first says so")
            produce(kafka, topic, [("key", "later")])
            await until(lambda: handled == ["later"], what="the second has taken over")
            assert second.counts().succeeded == 1
        finally:
            await second.stop()
