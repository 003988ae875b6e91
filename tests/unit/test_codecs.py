"""What a topic's format makes of its values: framed by a registry that is asked once, or JSON without one."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from ottla import App, Headers, Record, Topic, Transaction
from ottla.core.frames import SchemaRef, framed
from ottla.core.schemas import WantedSchema
from ottla.errors import (
    NotSerializable,
    SchemaNotRegistered,
    SchemaRegistryUnavailable,
    Undecodable,
    WiringError,
)
from ottla.ports import RegisteredSchema
from ottla.serde import Avro, JsonSchema
from ottla.serde.codecs import Codecs, FramedReader
from ottla.serde.schemas import SchemaNotKnown, Schemas
from ottla.template import RecordEncoder
from ottla.testing import InMemoryBroker
from ottla.testing.registry import InMemoryRegistry
from ottla.transaction import Outgoing


class Order(BaseModel):
    order_id: str
    amount: int = 1


class Opened(BaseModel):
    kind: Literal["opened"] = "opened"


class Closed(BaseModel):
    kind: Literal["closed"] = "closed"
    why: str


ORDERS = Topic("orders", Order, format=Avro())
EITHER = Topic("orders", Order, format=Avro(or_json=True))
AS_JSON = Topic("orders", Order, format=JsonSchema())
VALUE = Order(order_id="a")


class RegistryFarAway(InMemoryRegistry):
    """Counts what it is asked, on threads; answers nothing while it is away."""

    is_remote = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[Any] = Counter()
        self.is_away = False
        self.late: dict[SchemaRef, int] = {}
        self.threads: set[str] = set()

    def schema(self, ref: SchemaRef) -> RegisteredSchema | None:
        self._note(ref)
        if self.asked[ref] <= self.late.get(ref, 0):
            return None
        return super().schema(ref)

    def id_of(self, wanted: WantedSchema) -> int | None:
        self._note(wanted.subject)
        return super().id_of(wanted)

    def _note(self, what: Any) -> None:
        self.asked[what] += 1
        self.threads.add(threading.current_thread().name)
        if self.is_away:
            raise SchemaRegistryUnavailable("away")


def registered(registry: InMemoryRegistry, topic: Topic[Any] = ORDERS) -> int:
    wanted = Codecs(Schemas(registry)).wanted(topic)
    assert wanted is not None
    return registry.register(wanted)


def reader(registry: InMemoryRegistry, topic: Topic[Any] = ORDERS, annotation: Any = Order) -> FramedReader:
    found = Codecs(Schemas(registry)).reader(topic, annotation)
    assert isinstance(found, FramedReader)
    return found


def written(registry: InMemoryRegistry, topic: Topic[Any] = ORDERS) -> bytes:
    value = RecordEncoder(codecs=Codecs(learned(registry, topic))).encode(topic, VALUE).value
    assert value is not None
    return value


def learned(registry: InMemoryRegistry, topic: Topic[Any]) -> Schemas:
    schemas = Schemas(registry)
    wanted = Codecs(schemas).wanted(topic)
    assert wanted is not None
    registry.register(wanted)
    schemas.learn_id_in_thread(wanted)
    return schemas


@pytest.mark.parametrize("topic", [ORDERS, EITHER, AS_JSON], ids=["Avro", "Avro or JSON", "JSON Schema"])
async def test_a_value_is_framed_with_its_schemas_id_and_comes_back(topic: Topic[Order]) -> None:
    registry = InMemoryRegistry()
    value = written(registry, topic)

    assert value[:5] == b"\x00\x00\x00\x00\x01"
    assert await reader(registry, topic)(value, None) == VALUE


async def test_a_schema_is_asked_for_once_however_many_wait_and_never_on_the_event_loop() -> None:
    registry = RegistryFarAway()
    value = written(registry)
    read = reader(registry)
    registry.threads.clear()

    values = await asyncio.gather(*(read(value, None) for _ in range(20)))
    again = await read(value, None)

    assert [*values, again] == [VALUE] * 21
    assert registry.asked[1] == 1
    assert all(name.startswith("ottla schemas") for name in registry.threads)


async def test_a_registry_that_is_away_holds_up_only_what_it_has_not_told() -> None:
    registry = RegistryFarAway()
    known = written(registry)
    other = registered(registry, Topic("orders", Order, format=Avro(namespace="shop")))
    read = reader(registry)
    await read(known, None)

    registry.is_away = True
    with pytest.raises(SchemaRegistryUnavailable):
        await read(framed(other, known[5:]), None)
    meanwhile = await read(known, None)
    registry.is_away = False
    afterwards = await read(framed(other, known[5:]), None)

    assert meanwhile == afterwards == VALUE


async def test_an_id_that_a_lagging_registry_learns_of_late_is_asked_for_again() -> None:
    registry = RegistryFarAway()
    value = written(registry)
    registry.late[1] = 2

    assert await reader(registry)(value, None) == VALUE
    assert registry.asked[1] == 3


async def test_an_id_that_a_healthy_registry_does_not_know_is_undecodable_and_not_asked_for_each_time() -> (
    None
):
    registry = RegistryFarAway()
    read = reader(registry)

    for _ in range(3):
        with pytest.raises(Undecodable, match="knows no schema 77"):
            await read(framed(77, b""), None)

    assert registry.asked[77] == 3


async def test_a_waiter_that_is_cancelled_takes_the_answer_from_nobody() -> None:
    registry = RegistryFarAway()
    value = written(registry)
    read = reader(registry)
    impatient = asyncio.ensure_future(read(value, None))
    patient = asyncio.ensure_future(read(value, None))
    await asyncio.sleep(0)

    impatient.cancel()

    assert await patient == VALUE


@pytest.mark.parametrize("topic", [EITHER, Topic("orders", Order, format=JsonSchema(or_json=True))])
async def test_what_may_be_json_is_read_both_ways_by_who_has_a_registry(topic: Topic[Order]) -> None:
    registry = InMemoryRegistry()
    read = reader(registry, topic)

    assert await read(b'{"order_id": "a"}', None) == VALUE
    assert await read(written(registry, topic), None) == VALUE


def test_what_may_be_json_is_json_without_a_registry_and_says_so_of_a_frame() -> None:
    codecs = Codecs()
    read = codecs.reader(EITHER, Order)

    assert codecs.encoder(EITHER)(VALUE) == b'{"order_id":"a","amount":1}'
    assert codecs.wanted(EITHER) is None
    assert not isinstance(read, FramedReader)
    assert read(b'{"order_id": "a"}') == VALUE
    with pytest.raises(Undecodable, match="SCHEMA_REGISTRY_URL is not set"):
        read(framed(1, b""))


async def test_json_schemas_are_read_without_a_question() -> None:
    registry = RegistryFarAway()
    registry.is_away = True

    assert await reader(registry, AS_JSON)(framed(99, b'{"order_id": "a"}'), None) == VALUE


async def test_a_schema_of_another_kind_is_undecodable() -> None:
    registry = InMemoryRegistry()
    schema_id = registered(registry, AS_JSON)

    with pytest.raises(Undecodable, match="schema 1 is JSON, and the topic is AVRO"):
        await reader(registry)(framed(schema_id, b"{}"), None)


async def test_bytes_are_handed_on_with_their_frame_and_null_is_for_who_takes_it() -> None:
    registry = InMemoryRegistry()

    assert await reader(registry, ORDERS, bytes)(b"\x00\x01", None) == b"\x00\x01"
    assert await reader(registry, ORDERS, Order | None)(None, None) is None
    with pytest.raises(Undecodable, match="tombstone"):
        await reader(registry)(None, None)


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        (ORDERS, "set SCHEMA_REGISTRY_URL"),
        (Topic("orders", str, format=Avro()), "str has no schema"),
        (Topic("orders", bytes, format=JsonSchema()), "bytes has no schema"),
    ],
)
def test_what_cannot_be_is_told_when_the_topic_is_wired(topic: Topic[Any], words: str) -> None:
    with pytest.raises(WiringError, match=words):
        Codecs().encoder(topic)


def test_a_format_that_is_none_is_refused_where_it_is_declared() -> None:
    with pytest.raises(WiringError, match=r"give Json\(\), Avro\(\)"):
        Topic("orders", Order, format="avro")  # type: ignore[arg-type]


def test_a_value_that_does_not_fit_names_topic_and_field() -> None:
    encoder = RecordEncoder(codecs=Codecs(learned(InMemoryRegistry(), ORDERS)))

    with pytest.raises(NotSerializable, match=r"'orders'.*field 'amount': the number does not fit"):
        encoder.encode(ORDERS, Order.model_construct(order_id="a", amount=2**63))


async def test_a_send_whose_schema_is_not_registered_says_what_to_run() -> None:
    encoder = RecordEncoder(codecs=Codecs(Schemas(InMemoryRegistry())))

    with pytest.raises(SchemaNotKnown) as unknown:
        encoder.encode(ORDERS, VALUE)
    with pytest.raises(SchemaNotRegistered, match="ottla schemas register"):
        await unknown.value.learn()


class AsyncSessionLike:
    sync_session = None


class SessionLike:
    pass


def transaction(session: Any, registry: InMemoryRegistry) -> Transaction[Any]:
    encoder = RecordEncoder(codecs=Codecs(Schemas(registry)))
    return Transaction(session=session, event_id="e", outgoing=Outgoing(encoder))


async def test_a_transaction_asks_for_a_schema_that_the_app_has_not_named() -> None:
    registry = RegistryFarAway()
    registered(registry)
    tx = transaction(AsyncSessionLike(), registry)

    await tx.send(ORDERS, VALUE)

    assert [record.value for record in tx.sent] == [written(registry)]


async def test_a_send_that_was_not_awaited_before_its_schema_is_known_is_not_lost_in_silence() -> None:
    registry = RegistryFarAway()
    registered(registry)
    tx = transaction(AsyncSessionLike(), registry)

    forgotten = tx.send(ORDERS, VALUE)

    with pytest.raises(WiringError, match="was not awaited"):
        _ = tx.sent
    await forgotten
    assert len(tx.sent) == 1


def test_a_transaction_in_a_thread_asks_there() -> None:
    registry = RegistryFarAway()
    registered(registry)
    tx = transaction(SessionLike(), registry)

    tx.send(ORDERS, VALUE)

    assert len(tx.sent) == 1


def test_a_handler_that_a_test_calls_needs_no_registry() -> None:
    session: Any = SessionLike()
    tx = Transaction(session=session, event_id="e")

    tx.send(ORDERS, VALUE)
    tx.send(EITHER, VALUE)

    assert [(record.value or b"")[:5] for record in tx.sent] == [bytes(5), b'{"ord']


async def test_services_of_avro_topics_run_on_the_in_memory_broker_without_a_registry() -> None:
    broker = InMemoryBroker()
    billing = App("billing", topics=[Topic("invoices", Order, format=Avro())])
    seen: list[tuple[Order, Headers]] = []

    @billing.listener(ORDERS)
    async def bill(order: Order, record: Record) -> None:
        seen.append((order, record.headers))
        await billing.template.send(Topic("invoices", Order, format=Avro()), order)

    async with broker.run(billing):
        await broker.send(ORDERS, VALUE)
        await broker.send("orders", b'{"order_id": "no frame"}')
        await broker.settle()

    assert [order for order, _ in seen] == [VALUE]
    assert [each.value for each in broker.records(Topic("invoices", Order, format=Avro()))] == [VALUE]
    (letter,) = broker.dead_letters(billing, ORDERS)
    assert letter.value == b'{"order_id": "no frame"}'
    assert "first byte is 7b" in (letter.headers.text("kafka_dlt-exception-message") or "")


@pytest.mark.parametrize(
    ("environment", "first"), [({}, b"{"), ({"SCHEMA_REGISTRY_URL": "http://in-memory"}, b"\x00")]
)
async def test_in_memory_too_the_setting_decides_what_may_be_json(
    environment: dict[str, str], first: bytes
) -> None:
    broker = InMemoryBroker()
    shop, billing = App("shop", topics=[EITHER]), App("billing")
    seen: list[Order] = []

    @billing.listener(EITHER)
    async def bill(order: Order) -> None:
        seen.append(order)

    async with broker.run(shop, billing, **environment):
        await shop.template.send(EITHER, VALUE)
        await broker.send(EITHER, VALUE)
        await broker.settle()

    assert seen == [VALUE, VALUE]
    assert first in {(each.value or b"")[:1] for each in broker.records("orders")}
    assert {each.value.order_id for each in broker.records(EITHER) if each.value} == {"a"}


async def test_a_discriminated_union_is_one_of_its_records() -> None:
    registry = InMemoryRegistry()
    kinds: Any = Annotated[Opened | Closed, Field(discriminator="kind")]
    either = Topic[Any]("events", kinds, format=Avro())
    value = RecordEncoder(codecs=Codecs(learned(registry, either))).encode(either, Closed(why="late")).value

    assert await reader(registry, either, either.type)(value, None) == Closed(why="late")
