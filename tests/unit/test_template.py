from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from ottla.core.identity import EVENT_ID_HEADER
from ottla.errors import NotSerializable
from ottla.records import Headers, SendResult
from ottla.template import KafkaTemplate, Publisher, encode_key
from ottla.topics import Topic


class Order(BaseModel):
    order_id: str
    amount: int = 1


ORDERS = Topic("orders", Order, key=lambda order: order.order_id)
NOTES = Topic("notes", str)


class Wire:
    """A producer that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> SendResult:
        self.sent.append(
            {
                "topic": topic,
                "key": key,
                "value": value,
                "headers": headers,
                "partition": partition,
                "timestamp_ms": timestamp_ms,
            }
        )
        return SendResult(topic, 0, len(self.sent) - 1, None)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def template(wire: Wire) -> KafkaTemplate:
    names = {"orders": "prod.orders"}
    return KafkaTemplate(wire, topic_name=lambda name: names.get(name, name), new_event_id=lambda: "new-id")


async def test_an_event_goes_to_the_real_topic_under_its_key_with_an_event_id(
    template: KafkaTemplate, wire: Wire
) -> None:
    result = await template.send(ORDERS, Order(order_id="o1"))

    assert result == SendResult("prod.orders", 0, 0, None)
    assert wire.sent == [
        {
            "topic": "prod.orders",
            "key": b"o1",
            "value": b'{"order_id":"o1","amount":1}',
            "headers": Headers(((EVENT_ID_HEADER, b"new-id"),)),
            "partition": None,
            "timestamp_ms": None,
        }
    ]


async def test_partition_timestamp_and_another_key_are_passed_on(wire: Wire) -> None:
    template = KafkaTemplate(wire)

    await template.send(ORDERS, Order(order_id="o1"), key=7, partition=3, timestamp_ms=5)

    assert (wire.sent[0]["key"], wire.sent[0]["partition"], wire.sent[0]["timestamp_ms"]) == (b"7", 3, 5)


async def test_every_send_has_an_event_id_of_its_own(wire: Wire) -> None:
    template = KafkaTemplate(wire)

    await template.send(NOTES, "a")
    await template.send(NOTES, "a")

    first, second = (UUID(sent["headers"].text(EVENT_ID_HEADER)) for sent in wire.sent)
    assert first != second
    assert {first.version, second.version} == {4}
    assert {first.variant, second.variant} == {"specified in RFC 4122"}


@pytest.mark.parametrize(
    ("headers", "event_id", "expected"),
    [
        (None, "mine", [(EVENT_ID_HEADER, b"mine")]),
        ({EVENT_ID_HEADER: "mine"}, None, [(EVENT_ID_HEADER, b"mine")]),
        ({EVENT_ID_HEADER: "other", "a": "ü"}, "mine", [("a", "ü".encode()), (EVENT_ID_HEADER, b"mine")]),
        ({EVENT_ID_HEADER: None}, None, [(EVENT_ID_HEADER, b"new-id")]),
        ({EVENT_ID_HEADER: b""}, None, [(EVENT_ID_HEADER, b"new-id")]),
        ([("a", b"1"), ("a", None)], None, [("a", b"1"), ("a", None), (EVENT_ID_HEADER, b"new-id")]),
        ((pair for pair in [("a", "1")]), None, [("a", b"1"), (EVENT_ID_HEADER, b"new-id")]),
    ],
)
def test_headers_keep_their_order_and_the_callers_event_id_wins(
    template: KafkaTemplate, headers: Any, event_id: str | None, expected: list[tuple[str, bytes | None]]
) -> None:
    record = template.encode(NOTES, "x", headers=headers, event_id=event_id)

    assert list(record.headers) == expected


@pytest.mark.parametrize(
    ("key", "wire_key"),
    [
        ("grün", "grün".encode()),
        ("", b""),
        (b"\xff", b"\xff"),
        (UUID("12345678-1234-5678-1234-567812345678"), b"12345678-1234-5678-1234-567812345678"),
        (-5, b"-5"),
        (None, None),
    ],
)
def test_a_key_travels_as_its_text(key: Any, wire_key: bytes | None) -> None:
    assert encode_key(key) == wire_key


def test_a_tombstone_needs_a_key_where_the_topic_tells_it_from_the_value(template: KafkaTemplate) -> None:
    record = template.encode(ORDERS, None, key="o1")

    with pytest.raises(NotSerializable, match="tombstone has nothing to tell its key by; give key="):
        template.encode(ORDERS, None)

    assert (record.key, record.value) == (b"o1", None)


@pytest.mark.parametrize(
    ("value", "wire_value"),
    [
        (b"\xff", b"\xff"),
        ("ü", "ü".encode()),
        ({"a": 1}, b'{"a":1}'),
        (Order(order_id="a"), b'{"order_id":"a","amount":1}'),
        (None, None),
    ],
)
def test_a_topic_given_by_name_takes_any_value(
    template: KafkaTemplate, value: Any, wire_value: bytes | None
) -> None:
    record = template.encode("orders", value)

    assert (record.topic, record.key, record.value) == ("prod.orders", None, wire_value)


@pytest.mark.parametrize(
    ("topic", "value", "given", "why"),
    [
        (ORDERS, {"order_id": "a"}, {}, "'dict' object has no attribute 'order_id'"),
        (ORDERS, {"order_id": "a"}, {"key": "k"}, "key b'k': a dict is no Order"),
        (NOTES, 5, {}, "key None: a int is no str"),
        (NOTES, "\ud800", {}, "surrogate"),
        (NOTES, "x", {"headers": {"a": 5}}, "header 'a' must be str, bytes or None, not int"),
        (NOTES, "x", {"headers": {"a": "\ud800"}}, "surrogate"),
        (NOTES, "x", {"key": "\ud800"}, "UnicodeEncodeError"),
        (NOTES, "x", {"key": 1.5}, "a float is no key"),
        ("orders", object(), {}, "object"),
        ("not a topic", "x", {}, "takes only letters"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_sent(
    template: KafkaTemplate, topic: Any, value: Any, given: dict[str, Any], why: str
) -> None:
    with pytest.raises(NotSerializable, match=why) as caught:
        template.encode(topic, value, **given)

    assert caught.value.topic in str(caught.value)


def test_two_topics_of_one_name_are_each_encoded_by_their_own_type(template: KafkaTemplate) -> None:
    as_text = Topic("orders", str)

    first = template.encode(ORDERS, Order(order_id="a"))
    second = template.encode(as_text, "a")
    third = template.encode(ORDERS, Order(order_id="a"))

    assert (first.value, second.value) == (third.value, b"a")


async def test_the_template_is_a_publisher(template: KafkaTemplate, wire: Wire) -> None:
    publisher: Publisher = template

    await publisher.send(NOTES, "x")

    assert wire.sent[0]["value"] == b"x"
