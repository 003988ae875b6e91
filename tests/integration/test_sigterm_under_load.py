"""A deploy: SIGTERM comes while records are being handled and more keep coming.

The process must end by itself, with 0, before the orchestrator's patience does; what
it had finished must not be handled again, and what it had not must.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.conftest import NewTopic
from tests.support.apps import committed, produce, until
from tests.support.kafka_server import Kafka
from tests.support.ledger import numbered
from tests.support.processes import noted, noting, service

NOTING = "tests.support.services.noting:app"
KEYS = [f"key-{number}" for number in range(100)]


async def test_what_is_in_flight_ends_and_the_rest_is_left_to_the_next(
    kafka: Kafka, new_topic: NewTopic, tmp_path: Path
) -> None:
    topic = new_topic(partitions=4)
    kafka.create_topic(f"{topic}-{topic}-dlt")
    first, second = tmp_path / "first", tmp_path / "second"
    produce(kafka, topic, numbered(KEYS, range(20)))

    with service(NOTING, tmp_path, environment=noting(kafka, topic, first, WORK_S="0.05")) as old:
        await until(lambda: len(noted(first, "ended")) > 200, what="it is under load")
        old.send(signal.SIGTERM)
        code = await old.code(within_s=5)
    done_before = committed(kafka, topic, topic)
    with service(NOTING, tmp_path, environment=noting(kafka, topic, second)) as new:
        await until(
            lambda: sum(committed(kafka, topic, topic).values()) == 2000, what="the next one does the rest"
        )
        new.send(signal.SIGTERM)
        next_code = await new.code(within_s=5)

    assert (code, next_code) == (0, 0)
    by_old, by_new = noted(first, "ended"), noted(second, "ended")
    assert sorted(by_old) == sorted(noted(first, "begun"))
    assert len(by_old) < 2000
    assert len({*by_old, *by_new}) == 2000
    assert sum(done_before.values()) >= 200
    assert all(offset >= done_before[partition] for partition, offset, _ in by_new)


@pytest.mark.parametrize("more", [{}, {"IN_THREADS": "1"}], ids=["coroutine", "thread"])
async def test_a_handler_that_never_ends_does_not_hold_the_process_beyond_its_bound(
    kafka: Kafka, new_topic: NewTopic, tmp_path: Path, more: dict[str, str]
) -> None:
    topic = new_topic()
    kafka.create_topic(f"{topic}-{topic}-dlt")
    first, second = tmp_path / "first", tmp_path / "second"
    produce(kafka, topic, [("a", "before"), ("b", "stuck"), ("c", "beside")])

    held = noting(kafka, topic, first, HOLD="stuck", KAFKA_DRAIN_S="2", **more)
    with service(NOTING, tmp_path, environment=held) as old:
        await until(
            lambda: len(noted(first, "begun")) == 3 and len(noted(first, "ended")) == 2, what="one is held"
        )
        old.send(signal.SIGTERM)
        told_at = time.monotonic()
        code = await old.code(within_s=10)
        took_s = time.monotonic() - told_at
    with service(NOTING, tmp_path, environment=noting(kafka, topic, second)):
        await until(lambda: committed(kafka, topic, topic) == {0: 3}, what="the next one handles it")

    assert code == 0
    assert took_s < 2 + 1.5
    assert (0, 1, "stuck") in noted(second, "ended")
    assert (0, 0, "before") not in noted(second, "begun")
