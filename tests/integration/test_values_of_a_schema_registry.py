"""Avro on real servers: through a transaction and the outbox; what is no frame of ours is a dead letter.

Whoever reads a dead letter later needs its very bytes and the headers that name its schema.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, Field

from ottla import App, Topic, Transaction
from ottla.cli.framed_values import FramedValues
from ottla.core.frames import SCHEMA_ID_HEADER, read_frame
from ottla.core.letters import Letter, told_by
from ottla.registry import registry_of
from ottla.serde import Avro, JsonSchema
from ottla.serde.codecs import Codecs
from ottla.serde.schemas import Schemas
from ottla.settings import Settings
from tests.conftest import NewTopic
from tests.support.apicurio import Apicurio
from tests.support.apps import committed, produce, read_all, running, settings_for, until
from tests.support.dlt import dlt
from tests.support.failing import dead_letter_topic, dead_letters, header, topic_with_dead_letters
from tests.support.kafka_server import Kafka


class Paid(BaseModel):
    order_id: uuid.UUID
    amount: Decimal = Field(max_digits=12, decimal_places=2)
    at: datetime


PAID = Paid(
    order_id=uuid.UUID(int=7), amount=Decimal("-0.10"), at=datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
)


def register(settings: Settings, *topics: Topic[Any]) -> list[int]:
    registry = registry_of(settings)
    assert registry is not None
    wanted = [Codecs(Schemas(registry)).wanted(topic) for topic in topics]
    ids = [registry.register(each) for each in wanted if each is not None]
    registry.close()
    return ids


@pytest.mark.parametrize("format_", [Avro(namespace="shop"), JsonSchema()], ids=["Avro", "JSON Schema"])
@pytest.mark.parametrize("is_async", [True, False], ids=["async def", "def"])
async def test_what_a_transaction_sends_is_framed_in_the_outbox_and_read_by_the_next_service(
    kafka: Kafka,
    apicurio: Apicurio,
    new_topic: NewTopic,
    migrated: str,
    *,
    format_: Avro | JsonSchema,
    is_async: bool,
) -> None:
    settings = settings_for(kafka, SCHEMA_REGISTRY_URL=apicurio.url, DATABASE_URL=migrated)
    orders = Topic(topic_with_dead_letters(kafka, new_topic), Paid, format=format_)
    invoices = Topic(topic_with_dead_letters(kafka, new_topic, groups=("mail",)), Paid, format=format_)
    _, invoice_id = register(settings, orders, invoices)
    billing = App("billing", topics=[orders, invoices], settings=settings)
    mail = App("mail", settings=settings)
    mailed: list[Paid] = []

    if is_async:

        @billing.listener(orders)
        async def bill(event: Paid, tx: Transaction) -> None:
            await tx.send(invoices, event)

    else:

        @billing.listener(orders)
        def bill_in_thread(event: Paid, tx: Transaction[Any]) -> None:
            tx.send(invoices, event)

    @mail.listener(invoices)
    async def send(event: Paid) -> None:
        mailed.append(event)

    async with running(billing, mail):
        await billing.template.send(orders, PAID)
        await until(lambda: mailed == [PAID], what="the invoice is mailed")

    (record,) = read_all(kafka, invoices.name)
    assert read_frame(record.value() or b"").schema == invoice_id


async def test_what_is_no_frame_of_a_known_schema_is_dead_lettered_byte_for_byte_with_the_reason(
    kafka: Kafka, apicurio: Apicurio, new_topic: NewTopic
) -> None:
    settings = settings_for(kafka, SCHEMA_REGISTRY_URL=apicurio.url)
    orders = Topic(topic_with_dead_letters(kafka, new_topic), Paid, format=Avro())
    (schema_id,) = register(settings, orders)
    app = App("billing", settings=settings)
    handled: list[Paid] = []

    @app.listener(orders)
    async def handle(event: Paid) -> None:
        handled.append(event)

    guid: list[tuple[str, bytes | None]] = [
        (SCHEMA_ID_HEADER, b"\x01" + uuid.UUID(int=9).bytes),
        ("trace", b"\x00\xff"),
    ]
    unfit: list[tuple[bytes, list[tuple[str, bytes | None]], str]] = [
        (b"\x00\x00\x00", [], "truncated"),
        (b"", [], "empty"),
        (b'{"order_id": 1}', [], "no frame of a schema registry"),
        (b"\x03\x00" + bytes(16) + b"x", [], "AWS Glue"),
        (b"\x00" + (schema_id).to_bytes(8, "big"), [], "Apicurio's own"),
        (b"\x00\x7f\x00\x00\x01x", [], "knows no schema 2130706433"),
        (b"\x00" + schema_id.to_bytes(4, "big") + b"\x02", [], f"written with schema {schema_id}"),
        (b"bare body", guid, "knows no schema 00000000-0000-0000-0000-000000000009"),
    ]
    for value, headers, _ in unfit:
        produce(kafka, orders.name, [(b"k", value)], headers=headers)
    async with running(app):
        await until(
            lambda: committed(kafka, "billing", orders.name).get(0) == len(unfit), what="all is committed"
        )

    letters = dead_letters(kafka, orders.name)
    assert handled == []
    assert [letter.value() for letter in letters] == [value for value, _, _ in unfit]
    assert {header(letter, "ottla-dead-letter-reason") for letter in letters} == {b"undecodable"}
    for letter, (_, headers, words) in zip(letters, unfit, strict=True):
        assert words in (header(letter, "kafka_dlt-exception-message") or b"").decode()
        assert list(letter.headers() or [])[: len(headers)] == headers


async def test_a_dead_letter_is_shown_decoded_and_raw(
    kafka: Kafka, apicurio: Apicurio, new_topic: NewTopic
) -> None:
    settings = settings_for(kafka, SCHEMA_REGISTRY_URL=apicurio.url)
    orders = Topic(topic_with_dead_letters(kafka, new_topic), Paid, format=Avro())
    (schema_id,) = register(settings, orders)
    app = App("billing", topics=[orders], settings=settings)

    @app.listener(orders, fatal=(ValueError,))
    async def handle(event: Paid) -> None:
        raise ValueError(event.order_id)

    async with running(app):
        await app.template.send(orders, PAID)
        await until(
            lambda: committed(kafka, "billing", orders.name).get(0) == 1, what="the letter is written"
        )
    (letter,) = dead_letters(kafka, orders.name)

    shown = dlt(kafka, "show", dead_letter_topic(orders.name), SCHEMA_REGISTRY_URL=apicurio.url)
    raw = dlt(kafka, "show", "--raw", dead_letter_topic(orders.name), SCHEMA_REGISTRY_URL=apicurio.url)
    without = dlt(kafka, "show", dead_letter_topic(orders.name))

    assert f"bytes, AVRO by schema {schema_id}" in "\n".join(shown.lines)
    assert '  "amount": "-0.10",' in shown.lines
    assert f"value  0x{(letter.value() or b'').hex()}" in raw.lines
    assert f"framed, schema {schema_id}; set SCHEMA_REGISTRY_URL" in "\n".join(without.lines)


def test_a_letter_that_a_registry_does_not_know_is_shown_as_it_is(kafka: Kafka, apicurio: Apicurio) -> None:
    registry = registry_of(settings_for(kafka, SCHEMA_REGISTRY_URL=apicurio.url))
    assert registry is not None
    letter = Letter("t", 0, 0, None, None, b"\x00\x7f\x00\x00\x01x", None, told_by(None))

    shown = FramedValues(registry).read(letter)

    registry.close()
    assert shown == ("framed, schema 2130706433, which the schema registry does not know", None)
