"""A process stands still inside a transaction (a paused VM, a swapping host), longer than its session.

Its records go to another process, whose inbox row waits for the row of the frozen one. Nobody
would ever let go of that: PostgreSQL must end the transaction. When the process thaws it must
change nothing, though its handler goes on behind the statement at which it stood.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psycopg
import pytest

from tests.conftest import NewTopic
from tests.support.apps import committed, produce, until
from tests.support.kafka_server import Kafka
from tests.support.processes import noted, noting, service

BOOKING = "tests.support.services.booking:app"
IDLE_S = 4.0


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_its_successor_goes_on_within_the_bound_and_it_changes_nothing_twice(
    kafka: Kafka,
    new_topic: NewTopic,
    migrated: str,
    sql: psycopg.Connection,
    tmp_path: Path,
    *,
    protocol: str,
) -> None:
    topic = new_topic()
    kafka.create_topic(f"{topic}-{topic}-dlt")
    sleeper, successor, release = tmp_path / "sleeper", tmp_path / "successor", tmp_path / "release"
    more = {
        "DATABASE_URL": migrated,
        "DATABASE_IDLE_IN_TRANSACTION_S": str(IDLE_S),
        "DATABASE_LOCK_TIMEOUT_S": "0.5",
        "KAFKA_GROUP_PROTOCOL": protocol,
    }
    produce(kafka, topic, [("a", "held"), ("a", "behind")])

    held = noting(kafka, topic, sleeper, HOLD="held", RELEASE=str(release), **more)
    with service(BOOKING, tmp_path, environment=held) as frozen:
        await until(lambda: noted(sleeper, "begun"), what="it is inside its transaction")
        frozen.send(signal.SIGSTOP)
        with service(BOOKING, tmp_path, environment=noting(kafka, topic, successor, **more)) as other:
            await other.says(f"assigned {topic}-0")
            given_at = time.monotonic()
            await until(lambda: committed(kafka, topic, topic) == {0: 2}, what="the successor did both")
            took_s = time.monotonic() - given_at
            release.touch()
            frozen.send(signal.SIGCONT)
            await frozen.says("lost")
            other.send(signal.SIGTERM)
            code = await other.code()
        await until(lambda: frozen.output().count("assigned") > 1, what="it is in the group again")
        produce(kafka, topic, [("a", "after")])
        await until(lambda: committed(kafka, topic, topic) == {0: 3}, what="it handles what comes next")

    assert code == 0
    assert took_s < IDLE_S + 8
    assert [value for _, _, value in noted(successor, "ended")] == ["held", "behind"]
    assert [value for _, _, value in noted(sleeper, "ended")] == ["after"]
    assert sorted(sql.execute("SELECT event_id, amount FROM effect").fetchall()) == sorted(
        (value, amount) for value in ("held", "behind", "after") for amount in (1, 2)
    )
