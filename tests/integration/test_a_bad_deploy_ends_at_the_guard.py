"""A deploy that fails every record moves a bounded part of its topic into the dead letters, then waits."""

from __future__ import annotations

import psycopg
from sqlalchemy import text

from ottla import App, DeadLetterTopic, Guard, Never, Topic, Transaction
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.failing import GROUP, dead_letters, topic_with_dead_letters
from tests.support.kafka_server import Kafka

BOUND, SENT = 10, 60
GUARDED = DeadLetterTopic(guard=Guard(run=BOUND))
POISON = [(f"key-{number}", f"{number}") for number in range(SENT)]


def guard_of(topic: str) -> str:
    return f"{GROUP}/{topic} guard"


async def test_no_dead_letter_beyond_the_bound_is_written_and_a_mended_handler_does_the_rest(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic, partitions=3)
    bad, mended = (App(GROUP, settings=settings_for(kafka)) for _ in range(2))
    probed, handled = list[str](), list[str]()

    @bad.listener(Topic(topic, str), retry=Never(), dead_letter=GUARDED)
    async def fail(value: str) -> None:
        probed.append(value)
        raise ValueError(value)

    @mended.listener(Topic(topic, str), retry=Never(), dead_letter=GUARDED)
    async def handle(value: str) -> None:
        handled.append(value)

    async with running(bad):
        produce(kafka, topic, POISON)
        await until(lambda: guard_of(topic) in bad.unready(), what="the guard has tripped")
        why = bad.unready()[guard_of(topic)]
        calls = len(probed)
        await until(lambda: len(probed) >= calls + 3, what="records are tried, one at a time")
    letters = dead_letters(kafka, topic)
    stood_at = sum(committed(kafka, GROUP, topic).values())
    async with running(mended):
        await until(lambda: sum(committed(kafka, GROUP, topic).values()) == SENT, what="all is committed")

    assert len(letters) == BOUND
    assert f"{BOUND} records in a row were dead-lettered" in why
    assert stood_at <= BOUND
    dead = {(letter.value() or b"").decode() for letter in letters}
    assert len(dead) == BOUND
    assert dead | set(handled) == {value for _, value in POISON}
    assert len(dead_letters(kafka, topic)) == BOUND


async def test_a_healthy_key_lifts_it_and_the_bound_counts_anew(kafka: Kafka, new_topic: NewTopic) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App(GROUP, settings=settings_for(kafka))
    handled: list[str] = []

    @app.listener(Topic(topic, str), retry=Never(), dead_letter=GUARDED)
    async def handle(value: str) -> None:
        if value != "healthy":
            raise ValueError(value)
        handled.append(value)

    async with running(app):
        produce(kafka, topic, POISON[: BOUND + 2])
        await until(lambda: guard_of(topic) in app.unready(), what="the guard has tripped")
        at_first = len(dead_letters(kafka, topic))
        produce(kafka, topic, [("another", "healthy"), *POISON[BOUND + 2 :]])
        await until(lambda: handled, what="it is tried")
        await until(lambda: len(dead_letters(kafka, topic)) == 2 * BOUND, what="the bound is reached again")
        await until(lambda: guard_of(topic) in app.unready(), what="the guard has tripped again")
    at_last = len(dead_letters(kafka, topic))

    assert (at_first, at_last) == (BOUND, 2 * BOUND)
    assert handled == ["healthy"]


async def test_with_a_transaction_effects_and_dead_letters_add_up_to_what_was_sent(
    kafka: Kafka, new_topic: NewTopic, migrated: str, sql: psycopg.Connection
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic, partitions=3)
    app = App(GROUP, settings=settings_for(kafka, DATABASE_URL=migrated))
    is_mended = False

    @app.listener(Topic(topic, str), retry=Never(), dead_letter=GUARDED)
    async def handle(value: str, tx: Transaction) -> None:
        await tx.session.execute(text("INSERT INTO effect VALUES (:value, 1)"), {"value": value})
        if not is_mended:
            raise ValueError(value)

    async with running(app):
        produce(kafka, topic, POISON)
        await until(lambda: guard_of(topic) in app.unready(), what="the guard has tripped")
        await until(lambda: len(dead_letters(kafka, topic)) == BOUND, what="the dead letters are relayed")
        effects_meanwhile = sql.execute("SELECT count(*) FROM effect").fetchone()
        is_mended = True
        await until(lambda: sum(committed(kafka, GROUP, topic).values()) == SENT, what="all is committed")
        reasons = app.unready()

    dead = {(letter.value() or b"").decode() for letter in dead_letters(kafka, topic)}
    effects = [value for (value,) in sql.execute("SELECT event_id FROM effect")]
    assert effects_meanwhile == (0,)
    assert reasons == {}
    assert len(dead) == len(dead_letters(kafka, topic)) == BOUND
    assert sorted([*dead, *effects]) == sorted(value for _, value in POISON)
