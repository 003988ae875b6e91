"""A password, a right, an authority or tables that are missing: the service stays up and says which.

Nothing of it is cured by a restart, so nothing ends for it; the log and `/readyz` name the cure, and
once that has happened the service works without anybody's help.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import AclOperation, ResourceType
from pydantic import BaseModel

from ottla import App, Never, Topic, Transaction
from ottla.errors import SendRefused
from ottla.kafka.producer import KafkaProducer
from ottla.kafka.properties import producer_properties
from ottla.postgres.migrations import upgrade
from ottla.records import Headers
from ottla.settings import Settings, load_settings
from tests.conftest import NewTopic, missing
from tests.support.apps import produce, read_all, settings_for, until
from tests.support.certificates import Authority, server_with
from tests.support.failing import dead_letter_topic, topic_with_dead_letters
from tests.support.guarded_kafka import PASSWORD, GuardedKafka, guarded_kafka
from tests.support.http import admin_port, ask
from tests.support.kafka_server import Kafka, KafkaMissing

READ, WRITE, DESCRIBE = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE


class Order(BaseModel):
    cents: int


@pytest.fixture(scope="module")
def broker() -> Iterator[GuardedKafka]:
    try:
        with guarded_kafka() as kafka:
            yield kafka
    except KafkaMissing as error:
        missing(str(error))


def as_user(broker: GuardedKafka, name: str, folder: Path) -> Settings:
    """The settings of a service that comes by password."""
    file = folder / "ottla.toml"
    file.write_text(
        '[kafka.client]\n"security.protocol" = "SASL_PLAINTEXT"\n"reconnect.backoff.max.ms" = 500\n'
        '[kafka.producer]\n"topic.metadata.refresh.interval.ms" = 500\n'
    )
    return load_settings(
        environ={
            "KAFKA_BOOTSTRAP_SERVERS": broker.guarded,
            "KAFKA_SECURITY": "scram",
            "KAFKA_USERNAME": name,
            "KAFKA_PASSWORD": PASSWORD,
            "OTTLA_CONFIG": str(file),
            "OTTLA_ADMIN_PORT": "0",
        }
    )


@asynccontextmanager
async def up(app: App) -> AsyncIterator[None]:
    """The app between start and stop; it need not become ready."""
    await app.start()
    try:
        yield
    finally:
        await app.stop()


async def reason(app: App, text: str) -> str:
    """What `/readyz` tells, once `text` is in it."""
    told = ""

    async def is_told() -> bool:
        nonlocal told
        reply = await asyncio.to_thread(ask, admin_port(app), "/readyz")
        told = reply.body
        return reply.status == 503 and text in told

    await until(is_told, what=f"/readyz says {text!r}")
    return told


async def is_alive(app: App) -> bool:
    return (await asyncio.to_thread(ask, admin_port(app), "/livez")).status == 200


async def test_a_password_that_is_refused_is_said_until_it_is_let_in(
    broker: GuardedKafka, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for topic in ("refused", "refused-late-dlt"):
        broker.create_topic(topic)
    app = App("late", settings=as_user(broker, "late", tmp_path))

    @app.listener(Topic("refused", bytes))
    async def handle(value: bytes) -> None: ...

    async with up(app):
        told = await reason(app, "Authentication failed")
        was_alive = await is_alive(app)
        said = caplog.text
        broker.allow("late", READ, "refused")
        broker.allow("late", WRITE, "refused-late-dlt")
        broker.allow("late", AclOperation.READ, "late", ResourceType.GROUP)
        broker.add_user("late")
        await until(lambda: not app.unready(), what="it is ready once it is let in")

    assert was_alive
    assert "KAFKA_" in told
    assert "Authentication failed" in said
    assert PASSWORD not in told


async def test_a_dead_letter_topic_that_may_not_be_written_stops_the_partition_and_says_which_right(
    broker: GuardedKafka, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for topic in ("orders", "orders-billing-dlt"):
        broker.create_topic(topic)
    broker.add_user("billing")
    broker.allow("billing", READ, "orders")
    broker.allow("billing", WRITE, "invoices")  # who may write nothing at all is refused as a whole
    broker.allow("billing", AclOperation.READ, "billing", ResourceType.GROUP)
    app = App("billing", settings=as_user(broker, "billing", tmp_path))

    @app.listener(Topic("orders", Order), retry=Never())
    async def handle(order: Order) -> None: ...

    value, headers = b"\x00\x00\x00\x00\x07\xff not JSON", [("__value_schema_id", b"\x01" + bytes(range(16)))]
    async with up(app):
        hidden = await reason(app, "orders-billing-dlt")
        broker.allow("billing", DESCRIBE, "orders-billing-dlt")
        await until(lambda: not app.unready(), what="it is ready, for it sees the topic")
        produce(broker, "orders", [("o-1", value)], headers=headers)
        denied = await reason(app, "orders-0")
        was_alive = await is_alive(app)
        said = caplog.text
        broker.allow("billing", WRITE, "orders-billing-dlt")
        await until(lambda: not app.unready(), what="the partition goes on")

    (letter,) = read_all(broker, "orders-billing-dlt")
    assert "this user may not see it; grant DESCRIBE" in hidden
    assert was_alive
    assert "orders-billing-dlt" in denied
    assert "grant this user WRITE and DESCRIBE on the topic" in denied
    assert "grant this user WRITE and DESCRIBE on the topic" in said
    assert letter.value() == value
    assert headers[0] in (letter.headers() or [])


async def test_a_producer_whose_user_may_write_nothing_sends_once_it_may(
    broker: GuardedKafka, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker.create_topic("receipts")
    broker.add_user("clerk")
    producer = KafkaProducer(producer_properties(as_user(broker, "clerk", tmp_path)))
    await producer.start()

    async def is_sent() -> bool:
        try:
            await producer.send("receipts", key=b"r-1", value=b"paid", headers=Headers(()))
        except SendRefused:
            return False
        return True

    await until(lambda: "It asks again every few seconds" in caplog.text, what="the client is at its end")
    was_sent = await is_sent()
    broker.allow("clerk", WRITE, "receipts")
    await until(is_sent, what="another client sends")
    await producer.close(5)

    (receipt,) = read_all(broker, "receipts")
    assert not was_sent
    assert receipt.value() == b"paid"
    assert caplog.text.count("It asks again every few seconds") == 1


async def test_a_broker_whose_authority_is_not_known_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours, another = Authority(tmp_path, "ours"), Authority(tmp_path, "another")
    with server_with(another.sign("localhost", "localhost")) as port:
        settings = load_settings(
            environ={
                "KAFKA_BOOTSTRAP_SERVERS": f"localhost:{port}",
                "KAFKA_SECURITY": "tls",
                "KAFKA_CA_FILE": str(ours.file),
                "KAFKA_DRAIN_S": "1",
                "OTTLA_ADMIN_PORT": "0",
                "OTTLA_CONFIG": "/dev/null",
            }
        )
        app = App("billing", settings=settings)

        @app.listener(Topic("orders", bytes))
        async def handle(value: bytes) -> None: ...

        async with up(app):
            told = await reason(app, "certificate verify failed")
            was_alive = await is_alive(app)

    assert was_alive
    assert "KAFKA_" in told
    assert "certificate verify failed" in caplog.text


async def test_a_database_that_is_not_migrated_is_said_and_used_once_it_is(
    kafka: Kafka, new_topic: NewTopic, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App("billing", settings=settings_for(kafka, DATABASE_URL=database_url, OTTLA_ADMIN_PORT="0"))
    handled: list[int] = []

    @app.listener(Topic(topic, Order))
    async def handle(order: Order, tx: Transaction) -> None:
        handled.append(order.cents)

    produce(kafka, topic, [("o-1", Order(cents=999).model_dump_json())])
    async with up(app):
        told = await reason(app, "ottla db upgrade")
        was_alive = await is_alive(app)
        handled_before = list(handled)
        await asyncio.to_thread(upgrade, database_url)
        await until(lambda: handled, what="the record is handled")
        await until(lambda: not app.unready(), what="it is ready")

    assert was_alive
    assert handled_before == []
    assert handled == [999]
    assert "run `ottla db upgrade`" in told
    assert "run `ottla db upgrade`" in caplog.text
    assert read_all(kafka, dead_letter_topic(topic)) == []
