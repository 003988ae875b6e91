from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Annotated, Any, NewType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from ottla.errors import Undecodable, WiringError
from ottla.serde.json import Unencodable, decoder, encoder


class Order(BaseModel):
    order_id: str
    amount: int


class OrderAndMore(BaseModel):
    order_id: str
    amount: int
    note: str


class Bigger(Order):
    pass


@dataclass
class Paid:
    order_id: str


class Shipped(TypedDict):
    order_id: str


class Opaque:
    pass


OrderId = NewType("OrderId", str)


@pytest.mark.parametrize(
    ("annotation", "value", "wire"),
    [
        (Order, Order(order_id="a", amount=1), b'{"order_id":"a","amount":1}'),
        (Paid, Paid("a"), b'{"order_id":"a"}'),
        (Shipped, {"order_id": "a"}, b'{"order_id":"a"}'),
        (Order | Paid, Paid("a"), b'{"order_id":"a"}'),
        (list[Order], [Order(order_id="a", amount=1)], b'[{"order_id":"a","amount":1}]'),
        (dict[str, int], {"a": 1}, b'{"a":1}'),
        (int, 7, b"7"),
        (Any, {"a": [1, None]}, b'{"a":[1,null]}'),
        (bytes, b"\xff\x00", b"\xff\x00"),
        (bytes, b"", b""),
        (str, "grün", "grün".encode()),
        (OrderId, "a", b"a"),
        (Order | None, None, None),
        (Order | None, Order(order_id="a", amount=1), b'{"order_id":"a","amount":1}'),
        (bytes | None, None, None),
        (str | None, "x", b"x"),
        (None, None, None),
    ],
)
def test_a_value_comes_back_as_it_went(annotation: Any, value: Any, wire: bytes | None) -> None:
    written = encoder(annotation)(value)

    read = decoder(annotation)(written)

    assert written == wire
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("annotation", [Order, Paid, Shipped, bytes, str, list[int], Order | Paid, int])
def test_a_null_value_needs_none_in_the_annotation(annotation: Any) -> None:
    decode = decoder(annotation)

    with pytest.raises(Undecodable, match=r"null \(a tombstone\).*\| None"):
        decode(None)


@pytest.mark.parametrize("annotation", [Order, Paid, bytes, str])
def test_a_tombstone_can_be_written_for_every_type(annotation: Any) -> None:
    assert encoder(annotation)(None) is None


@pytest.mark.parametrize(
    ("annotation", "wire", "why"),
    [
        (Order, b"", "value: json_invalid"),
        (Order, b"{", "value: json_invalid"),
        (Order, b"\xff\xfe", "value: json_invalid"),
        (Order, b"null", "value: model_type"),
        (Order, b'{"order_id": "hunter2"}', "amount: missing"),
        (Order, b'{"order_id": "a", "amount": "hunter2"}', "amount: int_parsing"),
        (list[Order], b'[{"order_id": "a", "amount": "hunter2"}]', "0.amount: int_parsing"),
        (Paid, b"[]", "dataclass_type"),
        (str, b"hunter2\xff", "not UTF-8 text: byte 7 of 8"),
        (None, b"hunter2", "7 bytes where the listener takes only null values"),
    ],
)
def test_bytes_that_do_not_fit_are_named_by_place_and_never_quoted(
    annotation: Any, wire: bytes, why: str
) -> None:
    with pytest.raises(Undecodable, match=why) as caught:
        decoder(annotation)(wire)

    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


def test_the_report_of_a_payload_with_many_faults_stays_short() -> None:
    wire = b"[" + b",".join(b'{"order_id":1}' for _ in range(1000)) + b"]"

    with pytest.raises(Undecodable, match="and 1995 more") as caught:
        decoder(list[Order])(wire)

    assert len(str(caught.value)) < 600


def test_a_field_name_of_the_payload_cannot_make_the_report_long() -> None:
    wire = b'{"%s": "x"}' % (b"k" * 10_000)

    with pytest.raises(Undecodable) as caught:
        decoder(dict[str, int])(wire)

    assert len(str(caught.value)) < 600


@given(st.binary(max_size=64))
def test_no_bytes_do_anything_but_decode_or_be_refused(wire: bytes) -> None:
    decode = decoder(Order | None)

    try:
        decoded = decode(wire)
    except Undecodable:
        return

    assert decoded is None or isinstance(decoded, Order)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Order, OrderAndMore(order_id="a", amount=1, note="hunter2")),
        (Order, {"order_id": "hunter2", "amount": 1}),
        (Order, Order.model_construct(order_id="a", amount="hunter2")),  # type: ignore[arg-type]
        (Paid, Order(order_id="hunter2", amount=1)),
        (Paid, Paid(order_id=1)),  # type: ignore[arg-type]
        (Shipped, {"order_id": 5}),
        (Order | Paid, Opaque()),
        (list[Order], ["hunter2"]),
        (bytes, "hunter2"),
        (str, b"hunter2"),
        (str, "hunter2\ud800"),
        (None, "hunter2"),
        (Any, Opaque()),
    ],
)
def test_a_value_of_another_type_is_refused_and_not_quoted(annotation: Any, value: Any) -> None:
    encode = encoder(annotation)

    with pytest.raises(Unencodable) as caught:
        encode(value)

    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_field_that_does_not_fit_is_named() -> None:
    order = Order(order_id="a", amount=1)
    order.amount = "x"  # type: ignore[assignment]

    with pytest.raises(Unencodable, match="this Order does not fit Order \\(field 'amount'\\)"):
        encoder(Order)(order)


def test_a_value_of_a_subclass_is_written_as_the_declared_type() -> None:
    assert encoder(Order)(Bigger(order_id="a", amount=1)) == b'{"order_id":"a","amount":1}'


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (Opaque, "Opaque cannot be read from or written as JSON"),
        (Opaque | Order, "Opaque"),
        (bytes | Order, "ambiguous"),
        (str | bytes, "ambiguous"),
        (Annotated[str, Field(max_length=3)], "cannot be checked"),
        ("Nowhere", "not defined"),
    ],
)
@pytest.mark.parametrize("make", [decoder, encoder])
def test_an_annotation_that_cannot_work_fails_before_the_first_record(
    make: Any, annotation: Any, why: str
) -> None:
    with pytest.raises(WiringError, match=why):
        make(annotation)
