"""Two services read one topic: what one retries, gives up and replays never reaches the other."""

from __future__ import annotations

from collections import Counter

import psycopg
import pytest
from sqlalchemy import text

from ottla import App, InPlace, Never, RetryTopics, Topic, Transaction
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, read_all, running, settings_for, until
from tests.support.failing import dead_letters, topic_with_dead_letters
from tests.support.kafka_server import Kafka
from tests.support.retrying import create_retry_topics, replay

FAILING, HEALTHY = "billing", "mailing"
RETRY = RetryTopics(attempts=3, first_s=0.1)
SENT = [f"{number}" for number in range(20)]
POISON = "7"


def replays_of(kafka: Kafka, topic: str, retry: InPlace | RetryTopics) -> tuple[str, str]:
    """The topic that replays of the failing group come by, and the group that reads it."""
    if isinstance(retry, RetryTopics):
        return create_retry_topics(kafka, topic, retry, group=FAILING)[0], f"{FAILING}-retry"
    kafka.create_topic(f"{topic}-{FAILING}-replay")
    return f"{topic}-{FAILING}-replay", f"{FAILING}-replay"


BY = pytest.mark.parametrize("retry", [Never(), RETRY], ids=["by the replay topic", "by the retry topic"])


@BY
async def test_the_healthy_group_handles_each_record_once_also_after_a_replay_for_the_other(
    kafka: Kafka, new_topic: NewTopic, retry: InPlace | RetryTopics
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic, groups=(FAILING, HEALTHY))
    replays, readers = replays_of(kafka, topic, retry)
    failing, healthy = (App(name, settings=settings_for(kafka)) for name in (FAILING, HEALTHY))
    billed, mailed, is_mended = list[str](), list[str](), False

    @failing.listener(Topic(topic, str), retry=retry)
    async def bill(value: str) -> None:
        if value == POISON and not is_mended:
            raise ValueError(value)
        billed.append(value)

    @healthy.listener(Topic(topic, str))
    async def mail(value: str) -> None:
        mailed.append(value)

    produce(kafka, topic, [(f"key-{value}", value) for value in SENT])
    async with running(failing, healthy):
        await until(lambda: dead_letters(kafka, topic, FAILING), what="there is a dead letter")
        await until(lambda: committed(kafka, HEALTHY, topic) == {0: len(SENT)}, what="the other has all")
        (letter,) = dead_letters(kafka, topic, FAILING)
        is_mended = True
        replay(kafka, letter, replays)
        behind_it = len(read_all(kafka, replays))
        await until(lambda: committed(kafka, readers, replays).get(0) == behind_it, what="it is replayed")

    assert sorted(billed) == sorted(SENT)
    assert sorted(mailed) == sorted(SENT)
    assert len(dead_letters(kafka, topic, FAILING)) == 1
    assert dead_letters(kafka, topic, HEALTHY) == []


@BY
async def test_with_a_transaction_a_replay_takes_effect_once_and_a_second_one_not_at_all(
    kafka: Kafka, new_topic: NewTopic, migrated: str, sql: psycopg.Connection, retry: InPlace | RetryTopics
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic, groups=(FAILING, HEALTHY))
    replays, readers = replays_of(kafka, topic, retry)
    settings = settings_for(kafka, DATABASE_URL=migrated)
    failing, healthy = (App(name, settings=settings) for name in (FAILING, HEALTHY))
    calls, is_mended = Counter[str](), False

    async def take_effect(who: str, value: str, tx: Transaction) -> None:
        calls[who] += value == POISON
        await tx.session.execute(text("INSERT INTO effect VALUES (:id, 1)"), {"id": f"{who} {value}"})

    @failing.listener(Topic(topic, str), retry=retry)
    async def bill(value: str, tx: Transaction) -> None:
        await take_effect(FAILING, value, tx)
        if value == POISON and not is_mended:
            raise ValueError(value)

    @healthy.listener(Topic(topic, str))
    async def mail(value: str, tx: Transaction) -> None:
        await take_effect(HEALTHY, value, tx)

    produce(kafka, topic, [(f"key-{value}", value) for value in SENT])
    async with running(failing, healthy):
        await until(lambda: dead_letters(kafka, topic, FAILING), what="there is a dead letter")
        await until(lambda: committed(kafka, HEALTHY, topic) == {0: len(SENT)}, what="the other has all")
        (letter,) = dead_letters(kafka, topic, FAILING)
        calls_before = calls[FAILING]
        is_mended = True
        for number in (1, 2):
            replay(kafka, letter, replays, replay_id=f"r-{number}".encode())
        behind_them = len(read_all(kafka, replays))
        await until(lambda: committed(kafka, readers, replays).get(0) == behind_them, what="both have ended")

    effects = Counter(effect for (effect,) in sql.execute("SELECT event_id FROM effect"))
    assert effects == Counter(f"{who} {value}" for who in (FAILING, HEALTHY) for value in SENT)
    assert calls[FAILING] - calls_before == 1
    assert calls[HEALTHY] == 1
    assert sql.execute("SELECT count(*) FROM ottla.inbox WHERE status = 'dead'").fetchone() == (0,)
    assert len(dead_letters(kafka, topic, FAILING)) == 1
