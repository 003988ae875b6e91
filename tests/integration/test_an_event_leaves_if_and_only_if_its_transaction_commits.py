"""The row and the event, or neither: what the outbox is there for."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg
import pytest
from sqlalchemy.orm import Session

from ottla import App, Publisher, Topic, Transaction, Unavailable, WiringError
from ottla.core.identity import EVENT_ID_HEADER
from ottla.core.sizes import batch_bytes
from ottla.errors import NotSerializable, RecordTooLarge
from ottla.records import Headers
from tests.conftest import NewTopic
from tests.support.apps import produce, read_all, running, settings_for, until
from tests.support.failing import header, topic_with_dead_letters
from tests.support.kafka_server import Kafka
from tests.support.orders import ROW, Order, drained, make_table, orders_topic, placed, sent


class Changed(Exception):
    pass


def change_your_mind(number: int) -> None:
    if number % 4 == 3:
        raise Changed


@pytest.fixture
def shop(kafka: Kafka, migrated: str) -> App:
    make_table(migrated)
    return App("shop", settings=settings_for(kafka, DATABASE_URL=migrated))


async def test_events_of_committed_transactions_arrive_in_order_and_others_never(
    kafka: Kafka, new_topic: NewTopic, migrated: str, shop: App
) -> None:
    topic = orders_topic(new_topic(partitions=3))

    async with running(shop):
        for number in range(20):
            with suppress(Changed):
                async with shop.transaction() as tx:
                    await tx.session.execute(ROW, {"number": number})
                    await tx.send(topic, Order(customer=f"customer-{number % 3}", number=number))
                    change_your_mind(number)
        await drained(shop)

    kept = [number for number in range(20) if number % 4 != 3]
    assert placed(migrated) == kept
    assert sent(kafka, topic.name) == {
        f"customer-{customer}": [number for number in kept if number % 3 == customer] for customer in range(3)
    }


async def test_a_listener_sends_with_its_effect_once_though_its_record_comes_twice(
    kafka: Kafka, new_topic: NewTopic, migrated: str
) -> None:
    source = topic_with_dead_letters(kafka, new_topic)
    topic = orders_topic(new_topic(partitions=3))
    make_table(migrated)
    app = App("billing", settings=settings_for(kafka, DATABASE_URL=migrated))

    @app.listener(Topic(source, Order))
    async def on_order(order: Order, tx: Transaction) -> None:
        publisher: Publisher = tx
        await tx.session.execute(ROW, {"number": order.number})
        await publisher.send(topic, order)

    order = Order(customer="c", number=1).model_dump_json()
    for _ in range(2):
        produce(kafka, source, [("c", order)], headers=[(EVENT_ID_HEADER, b"order-1")])
    async with running(app):
        await until(lambda: app.counts().duplicates == 1, what="the second delivery is known")
        await drained(app)

    assert placed(migrated) == [1]
    assert sent(kafka, topic.name) == {"c": [1]}


async def test_a_handler_in_a_thread_sends_without_awaiting(
    kafka: Kafka, new_topic: NewTopic, migrated: str
) -> None:
    source = topic_with_dead_letters(kafka, new_topic)
    topic = orders_topic(new_topic())
    make_table(migrated)
    app = App("billing", settings=settings_for(kafka, DATABASE_URL=migrated))

    @app.listener(Topic(source, Order))
    def on_order(order: Order, tx: Transaction[Session]) -> None:
        tx.session.execute(ROW, {"number": order.number})
        tx.send(topic, order, event_id=f"invoice-{tx.event_id}")

    produce(kafka, source, [("c", Order(customer="c", number=1).model_dump_json())])
    async with running(app):
        await until(lambda: sent(kafka, topic.name), what="it arrives")

    (message,) = read_all(kafka, topic.name)
    assert (header(message, EVENT_ID_HEADER) or b"").startswith(b"invoice-" + source.encode())
    assert placed(migrated) == [1]


async def send_one(app: App, topic: Topic[bytes], value: Any) -> None:
    async with app.transaction() as tx:
        await tx.session.execute(ROW, {"number": 1})
        await tx.send(topic, value)


async def test_what_cannot_be_sent_is_refused_at_once_and_nothing_is_stored(
    kafka: Kafka, new_topic: NewTopic, migrated: str, shop: App
) -> None:
    small = Topic(new_topic(config={"max.message.bytes": "1000"}), bytes)

    async with running(shop):
        with pytest.raises(RecordTooLarge, match="the topic takes 1000"):
            await send_one(shop, small, b"x" * 2_000)
        with pytest.raises(NotSerializable, match="bytes"):
            await send_one(shop, small, "no bytes")
        with pytest.raises(Unavailable, match="no such topic"):
            await send_one(shop, Topic("nobody-made-it", bytes), b"")
        status = await shop.outbox()

    assert status.backlog == 0
    assert placed(migrated) == []


async def test_the_broker_takes_what_is_just_small_enough_for_us_and_no_more(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = new_topic(config={"max.message.bytes": "1000"})
    headers = [("name", b"value"), ("none", None)]
    overhead = batch_bytes(b"key", bytes(500), Headers(headers)) - 500

    produce(kafka, topic, [("key", bytes(1000 - overhead))], headers=headers)
    with pytest.raises(AssertionError, match="acknowledged"):
        produce(kafka, topic, [("key", bytes(1001 - overhead))], headers=headers)

    assert len(read_all(kafka, topic)) == 1


async def test_a_refused_send_that_is_caught_is_not_sent_with_the_rest(
    kafka: Kafka, new_topic: NewTopic, migrated: str, shop: App
) -> None:
    topic = orders_topic(new_topic())

    async with running(shop):
        async with shop.transaction() as tx:
            with pytest.raises(Unavailable):
                await tx.send(Topic("nobody-made-it", bytes), b"")
            await tx.send(topic, Order(customer="c", number=1))
            assert [record.topic for record in tx.sent] == [topic.name]
        await drained(shop)

    assert sent(kafka, topic.name) == {"c": [1]}


async def test_an_app_without_a_database_says_what_it_wants(kafka: Kafka) -> None:
    app = App("shop", settings=settings_for(kafka))

    async with running(app):
        with pytest.raises(WiringError, match="DATABASE_URL"):
            async with app.transaction():
                pass


async def test_a_database_that_is_not_migrated_keeps_the_app_unready(kafka: Kafka, database_url: str) -> None:
    app = App("shop", settings=settings_for(kafka, DATABASE_URL=database_url))

    async with app:
        await until(lambda: "ottla db upgrade" in str(app.unready()), what="it says so")


async def test_what_was_left_behind_leaves_when_the_next_process_starts(
    kafka: Kafka, new_topic: NewTopic, migrated: str, shop: App, sql: psycopg.Connection
) -> None:
    topic = orders_topic(new_topic())
    sql.execute(  # as a process leaves it that dies right after the commit
        "INSERT INTO ottla.outbox (stripe, topic, key, value, headers) VALUES (1, %s, 'c', %s, '[]')",
        [topic.name, Order(customer="c", number=1).model_dump_json().encode()],
    )

    async with running(shop):
        await until(lambda: sent(kafka, topic.name) == {"c": [1]}, what="it arrives")


async def test_a_topic_that_the_app_sends_to_is_wanted_and_missed(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    there, missing = new_topic(), f"{unique}-missing"
    app = App("shop", topics=[Topic(there, str), Topic(missing, str)], settings=settings_for(kafka))

    async with app:
        await until(lambda: missing in str(app.unready()), what="it is missed")
        why = str(app.unready())
        kafka.create_topic(missing)
        await until(lambda: not app.unready(), what="it is found")

    assert app.wanted_topics() == [there, missing]
    assert "ottla topics apply" in why
    assert f"'{there}'" not in why
