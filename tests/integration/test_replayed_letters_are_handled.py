"""From `ottla dlt replay` to the handler: the mended service handles what was dead, once; no other does."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import text

from ottla import App, Never, Record, RetryTopics, Topic, Transaction
from ottla.core.identity import EVENT_ID_HEADER
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, read_all, running, settings_for, until
from tests.support.dlt import dlt
from tests.support.failing import dead_letter_topic, dead_letters, topic_with_dead_letters
from tests.support.kafka_server import Kafka


class Service:
    """Fails until it is mended, and notes what it has handled."""

    def __init__(self, kafka: Kafka, topic: str, group: str, retry: RetryTopics | None = None) -> None:
        self.app = App(group, settings=settings_for(kafka))
        self.is_mended = False
        self.handled: list[tuple[bytes | None, int, str]] = []

        @self.app.listener(Topic(topic, bytes), retry=retry or Never())
        async def handle(record: Record) -> None:
            if not self.is_mended:
                raise ValueError(record.value)
            self.handled.append((record.value, record.attempt, record.event_id))


@pytest.mark.parametrize("has_retry_topics", [False, True])
async def test_the_group_that_failed_handles_it_as_the_record_that_it_was_and_no_other_does(
    kafka: Kafka, new_topic: NewTopic, unique: str, *, has_retry_topics: bool
) -> None:
    groups = (f"a-{unique[-8:]}", f"b-{unique[-8:]}")
    topic = topic_with_dead_letters(kafka, new_topic, groups=groups)
    retry = RetryTopics(attempts=2, first_s=0.1) if has_retry_topics else None
    ours, other = Service(kafka, topic, groups[0], retry), Service(kafka, topic, groups[1])
    if has_retry_topics:
        kafka.create_topic(f"{topic}-{groups[0]}-retry")
    produce(kafka, topic, [("k", "1"), ("k", "2")], headers=[(EVENT_ID_HEADER, b"e-1")])
    async with running(ours.app, other.app):
        await until(lambda: len(dead_letters(kafka, topic, groups[0])) == 2, what="ours are dead")
        await until(lambda: len(dead_letters(kafka, topic, groups[1])) == 2, what="the other's are dead")

    done = dlt(kafka, "replay", dead_letter_topic(topic, groups[0]), "--yes")
    ours.is_mended = other.is_mended = True
    async with running(ours.app, other.app):
        await until(lambda: len(ours.handled) == 2, what="both are handled")

    assert done.lines[-1] == "dlt: replayed=2 skipped=0 refused=0 failed=0 again=0", done.errors
    assert ours.handled == [(b"1", 1, "e-1"), (b"2", 1, "e-1")]
    assert other.handled == []


async def test_with_tx_the_effect_takes_place_once_however_often_it_is_replayed(
    kafka: Kafka, new_topic: NewTopic, unique: str, migrated: str, sql: psycopg.Connection
) -> None:
    group = f"g-{unique[-8:]}"
    topic, is_mended = topic_with_dead_letters(kafka, new_topic, groups=(group,)), False
    app = App(group, settings=settings_for(kafka, DATABASE_URL=migrated))

    @app.listener(Topic(topic, str), retry=Never())
    async def book(value: str, tx: Transaction) -> None:
        if not is_mended:
            raise ValueError(value)
        await tx.session.execute(text("INSERT INTO effect VALUES (:id, 7)"), {"id": tx.event_id})

    produce(kafka, topic, [("k", "v")])
    async with running(app):
        await until(lambda: len(dead_letters(kafka, topic, group)) == 1, what="it is dead")
    dead, replays = dead_letter_topic(topic, group), f"{topic}-{group}-replay"

    first = dlt(kafka, "replay", dead, "--yes")
    second = dlt(kafka, "replay", dead, "--yes", "--again")
    is_mended = True
    async with running(app):
        await until(lambda: committed(kafka, f"{group}-replay", replays) == {0: 2}, what="both are done")

    assert (first.code, second.code) == (0, 0), first.errors + second.errors
    assert len(read_all(kafka, replays)) == 2
    assert sql.execute("SELECT amount FROM effect").fetchall() == [(7,)]
    assert sql.execute("SELECT status FROM ottla.inbox").fetchall() == [("done",)]
