"""A process stands still for longer than its session (a paused VM, a swapping host) and wakes up.

Its partitions have another owner by then. What it still held in its hands must not
move the group's offsets, and it must find its way back into the group.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.conftest import NewTopic
from tests.support.apps import committed, produce, until
from tests.support.kafka_server import Kafka
from tests.support.ledger import numbered
from tests.support.processes import noted, noting, service

NOTING = "tests.support.services.noting:app"
KEYS = [f"key-{number}" for number in range(20)]


@pytest.mark.parametrize("assignor", ["range", "cooperative-sticky"])
async def test_it_comes_back_without_moving_the_offsets_of_its_successor(
    kafka: Kafka, new_topic: NewTopic, tmp_path: Path, assignor: str
) -> None:
    topic = new_topic(partitions=2)
    kafka.create_topic(f"{topic}-{topic}-dlt")
    sleeper, successor = tmp_path / "sleeper", tmp_path / "successor"
    produce(kafka, topic, numbered(KEYS, range(10)))

    slow = noting(kafka, topic, sleeper, WORK_S="0.3", KAFKA_ASSIGNOR=assignor)
    quick = noting(kafka, topic, successor, KAFKA_ASSIGNOR=assignor)
    with service(NOTING, tmp_path, environment=slow) as frozen:
        await until(lambda: noted(sleeper, "ended"), what="it is at work")
        frozen.send(signal.SIGSTOP)
        with service(NOTING, tmp_path, environment=quick) as other:
            await until(
                lambda: sum(committed(kafka, topic, topic).values()) == 200, what="the successor did the rest"
            )
            frozen.send(signal.SIGCONT)
            await frozen.says("lost")
            await until(lambda: frozen.output().count("assigned") > 1, what="it is in the group again")
            other.send(signal.SIGTERM)
            code = await other.code()
        after_its_return = committed(kafka, topic, topic)
        produce(kafka, topic, numbered(KEYS, range(10, 11)))
        await until(
            lambda: sum(committed(kafka, topic, topic).values()) == 220, what="it handles what comes next"
        )

    assert code == 0
    assert sum(after_its_return.values()) == 200
    assert noted(successor, "ended")
    assert len({*noted(sleeper, "ended"), *noted(successor, "ended")}) == 220
