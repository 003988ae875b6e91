"""A group that begins at the end of the log, killed before it has finished anything.

With a symbolic `latest` each start without a commit begins at what is then the end:
what came between the first start and the kill would be skipped without a word.
"""

from __future__ import annotations

import signal
from pathlib import Path

from tests.conftest import NewTopic
from tests.support.apps import committed, produce, until
from tests.support.kafka_server import Kafka
from tests.support.processes import noted, noting, service

NOTING = "tests.support.services.noting:app"


async def test_what_arrives_after_the_join_is_handled_after_a_kill(
    kafka: Kafka, new_topic: NewTopic, tmp_path: Path
) -> None:
    topic = new_topic(partitions=2)
    kafka.create_topic(f"{topic}-{topic}-dlt")
    notes = tmp_path / "notes"
    for partition in (0, 1):
        produce(kafka, topic, [("old", "too old")] * 5, partition=partition)

    held = noting(kafka, topic, notes, KAFKA_START="latest", HOLD="new")
    with service(NOTING, tmp_path, environment=held) as first:
        await until(lambda: committed(kafka, topic, topic) == {0: 5, 1: 5}, what="it has joined at the end")
        for partition in (0, 1):
            produce(kafka, topic, [("new", "new")] * 3, partition=partition)
        await until(lambda: len(noted(notes, "begun")) == 2, what="the first of each partition is held")
        first.send(signal.SIGKILL)
        await first.code()
    ended_by_first = noted(notes, "ended")
    with service(NOTING, tmp_path, environment=noting(kafka, topic, notes, KAFKA_START="latest")):
        await until(lambda: committed(kafka, topic, topic) == {0: 8, 1: 8}, what="all is committed")

    assert ended_by_first == []
    assert sorted(noted(notes, "ended")) == [
        (partition, offset, "new") for partition in (0, 1) for offset in (5, 6, 7)
    ]
