"""An answer that takes partitions from a KIP-848 member is lost: the member keeps them, and reads on.

The broker tells an assignment once, and librdkafka 2.16 does not ask again. Who was to get
the partitions reads nothing until the broker's patience ends, which is `max.poll.interval.ms`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ottla import App, Topic
from ottla.embedded.guarded import free_port
from tests.support.apps import running, settings_for, until
from tests.support.heartbeat_lost import HeartbeatLost
from tests.support.kafka_server import Kafka, KafkaMissing, KafkaServer

WITHIN_S = 35
"""The drain of one second and 20 more, and time to join again; the usual poll interval is 300 s."""


@pytest.fixture
def through_proxy() -> Iterator[tuple[Kafka, HeartbeatLost]]:
    port, controller = free_port(), free_port()
    with ExitStack() as stack:
        proxy = stack.enter_context(HeartbeatLost(("127.0.0.1", port)))
        properties = {
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{proxy.port}",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        }
        try:
            stack.enter_context(KafkaServer(properties))
        except KafkaMissing as error:
            pytest.fail(str(error))
        yield Kafka(f"127.0.0.1:{proxy.port}"), proxy


@pytest.mark.timeout(120)
async def test_its_partitions_are_read_by_the_next_within_less_than_a_minute(
    through_proxy: tuple[Kafka, HeartbeatLost],
) -> None:
    kafka, proxy = through_proxy
    kafka.create_topic("orders", 4)
    settings = settings_for(
        kafka, KAFKA_GROUP_ID="billing", KAFKA_GROUP_PROTOCOL="consumer", KAFKA_DRAIN_S="1"
    )
    first, second = App("first", settings=settings), App("second", settings=settings)
    for app in (first, second):

        @app.listener(Topic("orders", str), dead_letter=False)
        async def on_record(_: str) -> None:
            return

    async with running(first):
        await until(lambda: len(first.assigned()) == 4, what="the first has all partitions")
        proxy.lose_the_next_assignment()
        async with running(second):
            await until(proxy.is_lost.is_set, what="the first is not told of its new assignment")
            await until(
                lambda: (len(first.assigned()), len(second.assigned())) == (2, 2),
                what="they share the partitions",
                within_s=WITHIN_S,
            )
