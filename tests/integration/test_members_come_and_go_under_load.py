"""A second member joins and leaves, again and again, while records are handled and more keep coming.

Each rebalance is a chance to lose a record, to hand one out twice at once, to forget to
resume a partition, or to leak a count of what is in flight until polling stops for ever.
"""

from __future__ import annotations

import asyncio

import pytest

from ottla import App, Record, Topic
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.kafka_server import Kafka
from tests.support.ledger import Ledger, by_key, numbered

KEYS = [f"key-{number}" for number in range(50)]
ROUNDS = 4
PER_ROUND = 10


@pytest.mark.parametrize(
    "protocol",
    [
        {"KAFKA_ASSIGNOR": "range"},
        {"KAFKA_ASSIGNOR": "cooperative-sticky"},
        {"KAFKA_GROUP_PROTOCOL": "consumer"},
    ],
    ids=["eager", "cooperative", "kip-848"],
)
async def test_every_record_is_handled_in_the_order_of_its_key_and_nothing_is_left_behind(
    kafka: Kafka, new_topic: NewTopic, unique: str, protocol: dict[str, str]
) -> None:
    topic = new_topic(partitions=4)
    kafka.create_topic(f"{topic}-{unique}-dlt")
    # A small buffer: a count that leaks a little at each rebalance fills it.
    settings = settings_for(
        kafka, KAFKA_GROUP_ID=unique, KAFKA_BUFFERED_RECORDS="60", KAFKA_SESSION_TIMEOUT_S="1.5", **protocol
    )
    ledger = Ledger()

    def member(name: str) -> App:
        app = App(name, settings=settings)

        @app.listener(Topic(topic, bytes))
        async def on_record(_: bytes, record: Record) -> None:
            await asyncio.sleep(0.002)  # the work of the handler
            await ledger.handle(record)

        return app

    stays = member("stays")
    async with running(stays):
        for number in range(ROUNDS):
            produce(kafka, topic, numbered(KEYS, range(number * PER_ROUND, (number + 1) * PER_ROUND)))
            enough = len(ledger.ended) + 50
            async with running(member("comes-and-goes")):
                await until(lambda enough=enough: len(ledger.ended) > enough, what="both are at work")  # type: ignore[misc]
        await until(
            lambda: sum(committed(kafka, unique, topic).values()) == ROUNDS * PER_ROUND * len(KEYS),
            what="every record is committed",
        )
        load = stays._engines[0].load()

    # Records that ended ahead of an unfinished one come again: what counts is who came first.
    assert by_key(dict.fromkeys(ledger.ended)) == {key: list(range(ROUNDS * PER_ROUND)) for key in KEYS}
    assert set(ledger.most_at_once.values()) == {1}
    assert (load.records, load.size) == (0, 0)
