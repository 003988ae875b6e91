"""A service and its only broker start together, as they do on Compose, or after a power cut.

The client then joins with metadata that it asks for once, and can lose the answer; no
later refresh asks for it again. The service would be up, unready, and wait for ever.
"""

from __future__ import annotations

import asyncio

from ottla import App, Topic
from tests.conftest import NewTopic
from tests.support.apps import produce, running, settings_for
from tests.support.kafka_server import Kafka
from tests.support.waking_broker import WakingBroker


async def test_its_listener_joins_and_handles_records(kafka: Kafka, new_topic: NewTopic, unique: str) -> None:
    topic = new_topic()
    host, _, port = kafka.bootstrap_servers.split(",")[0].rpartition(":")
    handled = asyncio.Event()

    with WakingBroker((host, int(port))) as waking:
        app = App(unique, settings=settings_for(Kafka(f"127.0.0.1:{waking.port}")))

        @app.listener(Topic(topic, str), dead_letter=False)
        async def on_record(_: str) -> None:
            handled.set()

        produce(kafka, topic, [("key", "value")])
        async with running(app):
            await asyncio.wait_for(handled.wait(), 10)

        assert waking.has_lost_a_question.is_set()
