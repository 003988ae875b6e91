"""A record waits in place for half a minute: of its partition only its key waits with it."""

from __future__ import annotations

import time

from ottla import App, InPlace, Record, Topic
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.failing import GROUP, dead_letters, topic_with_dead_letters
from tests.support.kafka_server import Kafka
from tests.support.ledger import Entry, by_key, entry, numbered

WAIT_S = 30.0
PATIENT = InPlace(attempts=2, first_s=WAIT_S, max_s=WAIT_S, jitter=0)
KEYS = [f"key-{number:03d}" for number in range(200)]
STUCK, OTHERS = KEYS[0], KEYS[1:]
EACH = 20


async def test_while_one_key_waits_30_s_all_records_of_the_other_199_are_handled(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App(GROUP, settings=settings_for(kafka))
    handled: list[Entry] = []
    failed_at, again_at = list[float](), list[float]()

    @app.listener(Topic(topic, bytes), retry=PATIENT)
    async def handle(record: Record) -> None:
        if entry(record) == (STUCK, 0):
            (failed_at if record.attempt == 1 else again_at).append(time.monotonic())
            if record.attempt == 1:
                raise ValueError("not yet")
        handled.append(entry(record))

    produce(kafka, topic, numbered(KEYS, range(EACH)))
    async with running(app):
        await until(lambda: len(handled) >= len(OTHERS) * EACH, what="the other keys are handled")
        took_s = time.monotonic() - failed_at[0]
        meanwhile = list(handled)
        committed_meanwhile = committed(kafka, GROUP, topic).get(0, 0)
        await until(lambda: committed(kafka, GROUP, topic) == {0: 200 * EACH}, what="all", within_s=40)

    assert by_key(meanwhile) == {key: list(range(EACH)) for key in OTHERS}
    assert took_s < WAIT_S / 2
    assert committed_meanwhile == 0
    assert again_at[0] - failed_at[0] >= WAIT_S
    assert by_key(handled)[STUCK] == list(range(EACH))
    assert len(handled) == 200 * EACH
    assert dead_letters(kafka, topic) == []
