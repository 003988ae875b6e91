"""The one thing that a new start cures: a poll thread that comes back from no call.

Here from a log handler that never returns, as one does whose pipe nobody reads. Nothing
else can tell of it: the event loop goes on, and the client's own threads keep the group.
"""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from ottla import App, Topic
from ottla.kafka import consumer
from tests.conftest import NewTopic
from tests.support.apps import running, settings_for, until
from tests.support.http import Reply, admin_port, ask
from tests.support.kafka_server import Kafka


class Clogged(logging.Handler):
    """Lets nothing through, once it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_clogged = threading.Event()
        self.is_clear = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if threading.current_thread().name.startswith("poll-"):
            self.is_clogged.set()
            self.is_clear.wait()


async def test_livez_names_its_listener_and_its_age_and_nothing_else_is_wrong(
    kafka: Kafka, new_topic: NewTopic, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ottla.consumer")
    monkeypatch.setattr(consumer, "STANDS_S", 1.0)
    topic = new_topic()
    settings = settings_for(kafka, OTTLA_ADMIN_PORT="0", KAFKA_DRAIN_S="1")
    app, other = App("billing", settings=settings), App("billing", settings=settings_for(kafka))
    for each in (app, other):

        @each.listener(Topic(topic, str), dead_letter=False)
        async def handle(value: str) -> None: ...

    async def livez() -> Reply:
        return await asyncio.to_thread(ask, admin_port(app), "/livez")

    async def is_dead() -> bool:
        return (await livez()).status == 503

    pipe, log = Clogged(), logging.getLogger("ottla.consumer")
    async with running(app):
        before = await livez()
        log.addHandler(pipe)
        try:
            await other.start()  # a second member: its rebalance is logged
            await until(pipe.is_clogged.is_set, what="the poll thread logs")
            while_it_may_still_come_back = await livez()
            await until(is_dead, what="it is told")
            dead, readyz = await livez(), await asyncio.to_thread(ask, admin_port(app), "/readyz")
        finally:
            pipe.is_clear.set()
            log.removeHandler(pipe)
            await other.stop()
        await until(app.assigned, what="it has its partition again")
        afterwards = await livez()

    assert before.status == while_it_may_still_come_back.status == afterwards.status == 200
    assert dead.body.startswith(f"billing/{topic}: its poll loop last turned ")
    assert dead.body.endswith(" s ago, which is more than 2 s\n")
    assert readyz.status == 200
