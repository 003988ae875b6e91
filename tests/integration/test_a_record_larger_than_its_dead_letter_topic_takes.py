"""A record that its dead-letter topic cannot take even without what we add: it stays, and that is said."""

from __future__ import annotations

import logging

import pytest

from ottla import App, Never, Topic, Transaction
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.failing import GROUP, dead_letter_topic, dead_letters, topic_with_dead_letters
from tests.support.kafka_server import Kafka

MOST_BYTES = {"max.message.bytes": "1000"}
LARGE = "v" * 2_000
WATCHED_S = 6.0
MOST_TRIES = 5
"""In 6 s: at once, and again after 0.5, 1 and 2 s, each wait told beforehand."""


async def test_it_stays_uncommitted_its_partition_stops_and_nothing_loops(
    kafka: Kafka, new_topic: NewTopic, caplog: pytest.LogCaptureFixture
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic, partitions=2)
    kafka.alter_topic(dead_letter_topic(topic), MOST_BYTES)
    app, again = (App(GROUP, settings=settings_for(kafka)) for _ in range(2))
    calls: list[str] = []

    async def handle(value: str) -> None:
        calls.append(value[:6])
        if value == LARGE:
            raise ValueError

    for each in (app, again):
        each.listener(Topic(topic, str), retry=Never())(handle)

    caplog.set_level(logging.ERROR, "ottla.listener")
    async with running(app):
        produce(kafka, topic, [("a", LARGE), ("b", "behind")], partition=0)
        await until(lambda: f"{topic}-0" in app.unready(), what="the partition has stopped")
        why = app.unready()[f"{topic}-0"]
        produce(kafka, topic, [("c", "beside")], partition=1)
        await until(lambda: committed(kafka, GROUP, topic).get(1) == 1, what="the other goes on")
        told = len(caplog.records)
        await until(lambda: len(caplog.records) > told, what="it is tried once more")
    tries = len(caplog.records)
    stood_at = committed(kafka, GROUP, topic)[0]
    async with running(again):
        await until(lambda: f"{topic}-0" in again.unready(), what="it stops the next one too")

    assert "too large" in why
    assert tries <= MOST_TRIES
    assert stood_at == 0
    assert committed(kafka, GROUP, topic)[0] == 0
    assert calls.count(LARGE[:6]) == 2
    assert calls.count("beside") == 1
    assert dead_letters(kafka, topic) == []


async def test_with_a_transaction_it_waits_in_the_outbox_which_says_so(
    kafka: Kafka, new_topic: NewTopic, migrated: str
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    kafka.alter_topic(dead_letter_topic(topic), MOST_BYTES)
    app = App(GROUP, settings=settings_for(kafka, DATABASE_URL=migrated))

    @app.listener(Topic(topic, str), retry=Never())
    async def handle(value: str, tx: Transaction) -> None:
        if value == LARGE:
            raise ValueError

    async with running(app):
        produce(kafka, topic, [("a", LARGE), ("a", "behind")])
        await until(app.outbox_stopped, what="the outbox says that it is refused")
        (why,) = app.outbox_stopped()
        await until(lambda: committed(kafka, GROUP, topic) == {0: 2}, what="the topic goes on")
        before = dead_letters(kafka, topic)
        kafka.alter_topic(dead_letter_topic(topic), {"max.message.bytes": "1000000"})
        await until(lambda: dead_letters(kafka, topic), what="it is sent once it is taken", within_s=40)

    assert before == []
    assert "too large" in why
    assert [letter.value() for letter in dead_letters(kafka, topic)] == [LARGE.encode()]
