"""Values of every type go to Avro and come back equal; what Avro cannot hold is refused with words."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NaiveDatetime, RootModel, field_serializer
from typing_extensions import TypedDict

from ottla.errors import Undecodable, WiringError
from ottla.ports import RegisteredSchema
from ottla.serde.avro import AvroReader, AvroWriter
from ottla.serde.json import Unencodable

Money = Annotated[Decimal, Field(max_digits=12, decimal_places=2)]


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Odd(Enum):
    DASHED = "in-progress"
    EMPTY = ""


class Level(IntEnum):
    LOW = 1
    HIGH = 1000


class Line(BaseModel):
    sku: str
    price: Money
    count: int = 1


@dataclass
class Address:
    street: str
    since: date | None = None


class Tags(TypedDict):
    label: str
    weights: list[float]


class Node(BaseModel):
    name: str
    children: list[Node] = []
    parent: Node | None = None


class Card(BaseModel):
    kind: Literal["card"] = "card"
    number: str


class Transfer(BaseModel):
    kind: Literal["transfer"] = "transfer"
    number: str


class Points(RootModel[list[int]]):
    pass


class Everything(BaseModel):
    """One field of each kind; strict, so that what comes back is of the very type."""

    model_config = ConfigDict(strict=True)

    whole: int
    fraction: float
    flag: bool
    text: str
    raw: bytes
    money: Money
    day: date
    instant: datetime
    aware: AwareDatetime
    clock: time
    ident: UUID
    colour: Colour
    odd: Odd
    level: Level
    literal: Literal["a", "b"]
    number: Literal[1, 2]
    lines: list[Line]
    by_name: dict[str, date]
    several: tuple[int, ...]
    unique: set[str]
    frozen: frozenset[int]
    address: Address
    again: Address | None
    tags: Tags
    tree: Node
    paid: Card | Transfer
    maybe_paid: Card | Transfer | None
    mixed: int | str | bool | None
    when: date | str
    money_or_text: Money | str | None
    colour_or_text: Colour | str
    points: Points
    maybe_money: Money | None = None
    maybe: int | None = 5


WHOLE = st.integers(-(2**63), 2**63 - 1)
MONEY = st.decimals(Decimal(-(10**10) + 1), Decimal(10**10 - 1), places=2, allow_nan=False)
# A time zone of a day at most moves the first and the last instant out of the calendar.
INSTANT = st.datetimes(
    datetime(1, 1, 3),  # noqa: DTZ001  (hypothesis wants its bounds naive)
    datetime(9999, 12, 29),  # noqa: DTZ001
    timezones=st.sampled_from(
        [UTC, timezone(timedelta(hours=13, minutes=45)), timezone(timedelta(hours=-12))]
    ),
)
DAY = st.dates()
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ADDRESS = st.builds(Address, street=TEXT, since=st.none() | DAY)
NODE = st.recursive(
    st.builds(Node, name=TEXT),
    lambda inner: st.builds(Node, name=TEXT, children=st.lists(inner, max_size=2), parent=st.none() | inner),
    max_leaves=4,
)
PAID = st.builds(Card, number=TEXT) | st.builds(Transfer, number=TEXT)
EVERYTHING = st.builds(
    Everything,
    whole=WHOLE,
    fraction=st.floats(allow_nan=False),
    flag=st.booleans(),
    text=TEXT,
    raw=st.binary(max_size=8),
    money=MONEY,
    day=DAY,
    instant=INSTANT,
    aware=INSTANT,
    clock=st.times(),
    ident=st.uuids(),
    colour=st.sampled_from(Colour),
    odd=st.sampled_from(Odd),
    level=st.sampled_from(Level),
    literal=st.sampled_from(["a", "b"]),
    number=st.sampled_from([1, 2]),
    lines=st.lists(st.builds(Line, sku=TEXT, price=MONEY, count=WHOLE), max_size=2),
    by_name=st.dictionaries(TEXT, DAY, max_size=2),
    several=st.lists(WHOLE, max_size=2).map(tuple),
    unique=st.sets(TEXT, max_size=2),
    frozen=st.frozensets(WHOLE, max_size=2),
    address=ADDRESS,
    again=st.none() | ADDRESS,
    tags=st.fixed_dictionaries({"label": TEXT, "weights": st.lists(st.floats(allow_nan=False), max_size=2)}),
    tree=NODE,
    paid=PAID,
    maybe_paid=st.none() | PAID,
    mixed=st.none() | WHOLE | TEXT | st.booleans(),
    when=DAY | TEXT,
    money_or_text=st.none() | MONEY | TEXT,
    colour_or_text=st.sampled_from(Colour) | TEXT,
    points=st.lists(WHOLE, max_size=2).map(Points),
    maybe_money=st.none() | MONEY,
    maybe=st.none() | WHOLE,
)

WRITE, READ = AvroWriter(Everything, None), AvroReader(Everything, None)
WRITTEN = RegisteredSchema(1, "AVRO", WRITE.text)


@given(EVERYTHING)
@settings(max_examples=100, deadline=None)
def test_every_value_comes_back_equal_and_of_the_same_types(value: Everything) -> None:
    back = READ(WRITE(value), 1, WRITTEN)

    assert back == value
    assert [type(getattr(back, name)) for name in Everything.model_fields] == [
        type(getattr(value, name)) for name in Everything.model_fields
    ]


def schema_of(annotation: Any, namespace: str | None = None) -> Any:
    return json.loads(AvroWriter(annotation, namespace).text)


def fields_of(annotation: Any) -> dict[str, Any]:
    return {field["name"]: field for field in schema_of(annotation)["fields"]}


def over(written: Any, value: Any, read: Any) -> Any:
    """What `read` makes of a value of the type `written`."""
    writer = AvroWriter(written, None)
    return AvroReader(read, None)(writer(value), 1, RegisteredSchema(1, "AVRO", writer.text))


def test_logical_types_are_those_of_avro() -> None:
    fields = fields_of(Everything)

    assert fields["money"]["type"] == {
        "type": "bytes",
        "logicalType": "decimal",
        "precision": 12,
        "scale": 2,
    }
    assert fields["day"]["type"] == {"type": "int", "logicalType": "date"}
    assert fields["instant"]["type"] == {"type": "long", "logicalType": "timestamp-micros"}
    assert fields["clock"]["type"] == {"type": "long", "logicalType": "time-micros"}
    assert fields["ident"]["type"] == {"type": "string", "logicalType": "uuid"}
    assert fields["colour"]["type"] == {"type": "enum", "name": "Colour", "symbols": ["red", "blue"]}
    assert fields["odd"]["type"] == "string"
    assert fields["level"]["type"] == "long"


def test_a_type_is_described_once_and_named_afterwards() -> None:
    fields = fields_of(Everything)

    assert fields["again"]["type"] == ["null", "Address"]
    assert fields["tree"]["type"]["fields"][1]["type"] == {"type": "array", "items": "Node"}


def test_names_have_the_namespace_that_the_topic_gives_them() -> None:
    schema = schema_of(Node, "com.example")

    assert (schema["namespace"], schema["fields"][2]["type"]) == ("com.example", ["null", "com.example.Node"])


class Defaults(BaseModel):
    whole: int = 7
    money: Money = Decimal("1.10")
    raw: bytes = b"\xff"
    colour: Colour = Colour.BLUE
    day: date = date(1970, 1, 3)
    instant: datetime = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    clock: time = time(0, 0, 1)
    ident: UUID = UUID(int=1)
    lines: list[Line] = [Line(sku="a", price=Decimal(1))]
    unique: set[int] = Field(default_factory=set)
    maybe: int | None = 5
    nothing: int | None = None
    either: Card | Line | None = Line(sku="b", price=Decimal(2))
    when: date | str = date(1970, 1, 2)


class Nothing(BaseModel):
    pass


def test_a_reader_fills_what_an_older_sender_does_not_know_with_the_models_defaults() -> None:
    class Old(BaseModel):
        pass

    Old.__name__ = "Defaults"

    assert over(Old, Old(), Defaults) == Defaults()


def test_defaults_stand_in_the_schema_as_avro_writes_them() -> None:
    found = {name: field.get("default", "no default") for name, field in fields_of(Defaults).items()}

    assert found["money"] == "n"
    assert found["raw"] == "\xff"
    assert (found["colour"], found["day"], found["instant"]) == ("blue", 2, 1_000_000)
    assert fields_of(Defaults)["maybe"]["type"] == ["long", "null"]
    assert fields_of(Defaults)["nothing"] == {"name": "nothing", "type": ["null", "long"], "default": None}
    assert found["lines"] == [{"sku": "a", "price": "d", "count": 1}]


class OrderV1(BaseModel):
    order_id: str
    dropped: int
    quantity: int


class OrderView(BaseModel):
    quantity: float
    order_id: str


def test_a_listener_may_have_a_smaller_type_of_its_own_under_another_name() -> None:
    view = over(OrderV1, OrderV1(order_id="a", dropped=1, quantity=2), OrderView)

    assert view == OrderView(order_id="a", quantity=2.0)


def test_an_event_becomes_one_of_several_without_losing_what_is_written() -> None:
    assert over(Card, Card(number="7"), Card | Transfer) == Card(number="7")
    assert over(Transfer, Transfer(number="7"), Card | Transfer) == Transfer(number="7")
    assert over(Card | Transfer, Transfer(number="7"), Transfer) == Transfer(number="7")


MISFITS: list[tuple[Any, Callable[[], Any], str]] = [
    (int, lambda: 2**63, "does not fit into 64 bits"),
    (int, lambda: True, "bool is no int"),
    (Money, lambda: Decimal("1.001"), "more than 2 places"),
    (Money, lambda: Decimal("1e10"), "more than 12 digits"),
    (Money, lambda: Decimal("1e999999"), "more than 12 digits"),
    (Money, lambda: Decimal("1e-999999"), "more than 2 places"),
    (Money, lambda: Decimal("NaN"), "no number"),
    (Money, lambda: 1.1, "float is no Decimal"),
    (datetime, lambda: datetime(2020, 1, 1), "no time zone"),  # noqa: DTZ001
    (datetime, lambda: datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), "year from 1 to 9999"),
    (time, lambda: time(1, tzinfo=UTC), "has a time zone"),
    (date, lambda: datetime(2020, 1, 1, tzinfo=UTC), "datetime is no date"),
    (str, lambda: "\ud800", "half of a surrogate pair"),
    (Card, lambda: Transfer(number="1"), "Transfer is no Card"),
    (Literal["a"], lambda: "b", "none of the Literal's"),
    (int | str, lambda: 1.5, "none of the union's types"),
    (Colour, lambda: "red", "str is no Colour"),
]


@pytest.mark.parametrize(("annotation", "value", "words"), MISFITS)
def test_a_value_that_does_not_fit_is_refused_and_names_its_field(
    annotation: Any, value: Callable[[], Any], words: str
) -> None:
    model: Any = a_model(at=annotation)
    written = AvroWriter(model, None)

    with pytest.raises(Unencodable, match=words) as caught:
        written(model.model_construct(at=value()))

    assert str(caught.value).startswith("field 'at': ")


def test_trailing_zeros_and_exponents_are_the_same_number() -> None:
    class Priced(BaseModel):
        price: Money

    for text in ("1.500", "1.5E+3", "-0", "0E-9", "9999999999.99", "-1.28"):
        value = Priced.model_construct(price=Decimal(text))
        assert over(Priced, value, Priced).price == Decimal(text)


def a_model(**annotations: Any) -> Any:
    return type("Model", (BaseModel,), {"__annotations__": annotations})


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")


class WithSerializer(BaseModel):
    at: int

    @field_serializer("at")
    def as_text(self, value: int) -> str:
        return str(value)


def another_line() -> Any:
    class Line(BaseModel):
        pass

    return Line


REFUSED: list[tuple[Any, str]] = [
    (a_model(price=Decimal), "field 'price'.*Field\\(max_digits=12, decimal_places=2\\)"),
    (a_model(at=timedelta), "field 'at'.*name its unit"),
    (a_model(at=NaiveDatetime), "no instant"),
    (a_model(at=Any), "field 'at'"),
    (a_model(at=tuple[int, str]), "no tuples"),
    (a_model(at=dict[int, str]), "keys of Avro's maps are text"),
    (a_model(at=int | datetime), "both long"),
    (a_model(at=str | UUID), "both string"),
    (a_model(at=list[int] | list[str]), "both array"),
    (a_model(at=Tags | dict[str, int]), "several dicts"),
    (a_model(at=Literal["a", 1]), "several types"),
    (a_model(one=Line, two=another_line()), "two types are called Line"),
    (
        a_model(at=Annotated[Card | Transfer, Field(default=Card(number="1"))]),
        "cannot tell which type its default",
    ),
    (Extra, "extra='allow'"),
    (WithSerializer, "serializer of its own"),
]


@pytest.mark.parametrize(("annotation", "words"), REFUSED)
def test_what_avro_cannot_hold_is_refused_when_the_topic_is_wired(annotation: Any, words: str) -> None:
    with pytest.raises(WiringError, match=words):
        AvroWriter(annotation, None)


BODIES = [b"", b"\x02", b"\xff" * 12, WRITE.text.encode()]


@pytest.mark.parametrize("body", BODIES)
def test_bytes_that_are_none_of_their_schema_are_undecodable(body: bytes) -> None:
    with pytest.raises(Undecodable):
        READ(body, 1, WRITTEN)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_random_bytes_never_end_in_another_error(body: bytes) -> None:
    with contextlib.suppress(Undecodable):
        READ(body, 1, WRITTEN)


def test_bytes_behind_the_value_are_told() -> None:
    written = AvroWriter(Card, None)

    with pytest.raises(Undecodable, match="1 bytes are left"):
        AvroReader(Card, None)(written(Card(number="1")) + b"x", 3, RegisteredSchema(3, "AVRO", written.text))


def test_a_field_that_the_sender_does_not_know_and_that_has_no_default_is_told_by_name() -> None:
    with pytest.raises(Undecodable, match="sku"):
        over(Nothing, Nothing(), Line)


def test_a_registered_text_that_is_no_schema_is_told() -> None:
    with pytest.raises(Undecodable, match="no Avro schema"):
        READ(b"", 9, RegisteredSchema(9, "AVRO", '{"type": "record"}'))


def test_an_alias_is_the_fields_name_on_the_wire() -> None:
    class Aliased(BaseModel):
        order_id: str = Field(alias="orderId")

    value = Aliased(orderId="7")

    assert list(fields_of(Aliased)) == ["orderId"]
    assert over(Aliased, value, Aliased) == value
