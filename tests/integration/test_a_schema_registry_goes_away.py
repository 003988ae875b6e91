"""A registry that is away costs time, never a record: known schemas go on, unknown ones wait.

Every service of a team depends on its registry, so its restart must be no event: no restart of
services, no attempt spent, and nothing in a dead-letter topic that a minute of patience would have cured.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from pydantic import BaseModel

from ottla import App, Topic
from ottla.core.frames import framed
from ottla.core.schemas import WantedSchema
from ottla.registry import registry_of
from ottla.serde import Avro
from ottla.serde.codecs import Codecs
from ottla.serde.schemas import Schemas
from ottla.settings import Settings
from tests.conftest import NewTopic
from tests.support.apicurio import Apicurio
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.failing import dead_letters, topic_with_dead_letters
from tests.support.kafka_server import Kafka
from tests.support.tcp_proxy import TcpProxy


class Order(BaseModel):
    number: int
    note: str | None = None


@pytest.fixture
def proxy(apicurio: Apicurio) -> Iterator[TcpProxy]:
    address = urlsplit(apicurio.url)
    assert address.hostname is not None
    assert address.port is not None
    with TcpProxy((address.hostname, address.port)) as proxy:
        yield proxy


def settings_by(proxy: TcpProxy, kafka: Kafka) -> Settings:
    return settings_for(
        kafka,
        SCHEMA_REGISTRY_URL=f"http://127.0.0.1:{proxy.port}/apis/ccompat/v7",
        SCHEMA_REGISTRY_TIMEOUT_S="0.5",
    )


def registered(settings: Settings, topic: Topic[Order]) -> tuple[int, WantedSchema]:
    registry = registry_of(settings)
    assert registry is not None
    wanted = Codecs(Schemas(registry)).wanted(topic)
    assert wanted is not None
    schema_id = registry.register(wanted)
    registry.close()
    return schema_id, wanted


def avro(number: int) -> bytes:
    """An `Order` by hand: a zigzag number below 64, and the branch of null."""
    return bytes([number * 2, 0])


async def test_known_schemas_go_on_and_an_unknown_one_waits_without_an_attempt_until_it_is_back(
    kafka: Kafka, new_topic: NewTopic, proxy: TcpProxy
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    settings = settings_by(proxy, kafka)
    known, _ = registered(settings, Topic(topic, Order, format=Avro()))
    unknown, _ = registered(settings, Topic(f"{topic}-else", Order, format=Avro(namespace=f"n{known}")))
    app = App("billing", settings=settings)
    handled: list[int] = []

    @app.listener(Topic(topic, Order, format=Avro()))
    async def handle(order: Order) -> None:
        handled.append(order.number)

    async with running(app):
        proxy.fall_silent()
        produce(kafka, topic, [(f"k{n}", framed(known, avro(n))) for n in range(5)])
        produce(kafka, topic, [("late", framed(unknown, avro(9)))])
        await until(lambda: "schema registry" in str(app.unready()), what="it says what is away")
        produce(kafka, topic, [(f"k{n}", framed(known, avro(n))) for n in range(10, 15)])
        await until(lambda: len(handled) == 10, what="known schemas are handled meanwhile")
        assert sorted(handled) == [*range(5), *range(10, 15)]
        assert committed(kafka, "billing", topic).get(0, 0) <= 5
        assert "starts nothing" not in str(app.unready())

        proxy.speak_again()
        await until(lambda: committed(kafka, "billing", topic).get(0) == 11, what="all is committed")
        assert app.unready() == {}

    assert sorted(handled) == [*range(5), 9, *range(10, 15)]
    assert dead_letters(kafka, topic) == []


async def test_a_service_that_starts_meanwhile_stays_up_and_joins_once_it_is_back_and_has_its_schema(
    kafka: Kafka, new_topic: NewTopic, proxy: TcpProxy
) -> None:
    orders = Topic(topic_with_dead_letters(kafka, new_topic), Order, format=Avro())
    settings = settings_by(proxy, kafka)
    app = App("billing", topics=[orders], settings=settings)
    handled: list[int] = []

    @app.listener(orders)
    async def handle(order: Order) -> None:
        handled.append(order.number)

    proxy.fall_silent()
    async with app:
        await until(lambda: "gives no answer" in str(app.unready()), what="it says that nobody answers")
        proxy.speak_again()
        await until(
            lambda: "ottla schemas register" in str(app.unready()), what="it says that nothing is registered"
        )
        registered(settings, orders)
        await until(lambda: app.unready() == {}, what="it is ready")
        await app.template.send(orders, Order(number=7))
        await until(lambda: handled == [7], what="the order is handled")
