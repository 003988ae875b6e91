"""From a type that pydantic understands to its Avro schema, and to values as Avro holds them. Pure.

Rules of this file:
- The schema is derived from pydantic's own (`core_schema`): what validates a value and what
  describes it cannot differ.
- Exact or refused: what Avro cannot hold is refused when the topic is wired, what does not fit
  its field when it is written. Nothing is rounded, cut off or left out.
- Names are the classes' own, so that a class may move to another module; one name is one type.
- Values are given to Avro as its primitive types, and taken back as those or as what a
  reader makes of a logical type: a default is never made into one.

Over 300 lines because each type of the world has a line or two here, and nowhere else.

Source: Avro 1.12 specification, "Logical Types", "Schema Resolution"; `pydantic_core.core_schema`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any
from uuid import UUID

from ottla.errors import Undecodable, WiringError
from ottla.serde.json import Unencodable, adapter_of, name_of

Json = Any
"""A part of a schema, as JSON has it."""
Core = Mapping[str, Any]
"""A part of pydantic's schema."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_LONG = range(-(2**63), 2**63)

_THROUGH = {"function-before", "function-after", "function-wrap", "definitions"}
"""What only stands around a type."""

_NOT_EXACT = {
    "timedelta": "write a number and name its unit, such as `seconds: int`",
    "complex": "write two floats",
    "any": "write the type that it has",
    "url": "write `str`, and check it by a validator",
    "multi-host-url": "write `str`, and check it by a validator",
    "callable": "send what it returns",
    "generator": "write `list[...]`",
    "function-plain": "give the validator the type that it checks: a before or after validator",
}


@dataclass(frozen=True, slots=True)
class AvroType:
    """One type: its schema, and how its values go to Avro and come back.

    `holds` are the Python types that its values have, by which a union finds its branch;
    `branch` is the name by which Avro knows that branch.
    """

    schema: Json
    branch: str
    holds: tuple[type, ...]
    to_avro: Callable[[Any], Any]
    from_avro: Callable[[Any], Any]
    fields: frozenset[str] | None = None
    """Of a record: its field names as its readers know them."""
    made: Callable[[Any], Any] = field(default=lambda value: value)
    """What has come from Avro as the class that it is, where pydantic would have to guess it."""
    branches: tuple[AvroType, ...] = ()
    """Of a union."""
    is_enum: bool = False
    is_wrapped: bool = False
    """Whether it is the inside of a RootModel."""


def avro_type(annotation: Any, *, namespace: str | None = None) -> AvroType:
    """The Avro type of `annotation`. Raises `WiringError` with what Avro cannot hold, and what to write."""
    core: Core = adapter_of(annotation).core_schema
    return _Derivation(name_of(annotation), namespace).of(core, "")


class _Derivation:
    """One walk through a type. `where` is the path of fields to where it is, for messages."""

    def __init__(self, root: str, namespace: str | None) -> None:
        self._root = root
        self._namespace = namespace
        self._definitions: dict[str, Core] = {}
        self._named: dict[str, tuple[type, AvroType]] = {}

    def of(self, core: Core, where: str) -> AvroType:
        kind: str = core["type"]
        self._refuse_serializer(core, where)
        if kind == "definitions":
            self._definitions.update({each["ref"]: each for each in core["definitions"]})
        if kind in _THROUGH:
            return self.of(core["schema"], where)
        if kind in _SCALAR_TYPES:
            return _SCALAR_TYPES[kind]
        make = getattr(self, f"_of_{kind.replace('-', '_')}", None)
        if make is None:
            raise self._refused(
                where, f"Avro has no type for it ({kind}); {_NOT_EXACT.get(kind, 'write another type')}"
            )
        derived: AvroType = make(core, where)
        return derived

    # -- what stands around

    def _of_definition_ref(self, core: Core, where: str) -> AvroType:
        return self.of(self._definitions[core["schema_ref"]], where)

    def _of_json_or_python(self, core: Core, where: str) -> AvroType:
        return self.of(core["python_schema"], where)

    def _of_lax_or_strict(self, core: Core, where: str) -> AvroType:
        return self.of(core["strict_schema"], where)

    def _of_default(self, core: Core, where: str) -> AvroType:
        return self.of(core["schema"], where)

    # -- scalars

    def _of_none(self, core: Core, where: str) -> AvroType:
        return _NULL

    def _of_date(self, core: Core, where: str) -> AvroType:
        return _DATE

    def _of_uuid(self, core: Core, where: str) -> AvroType:
        return _UUID

    def _of_datetime(self, core: Core, where: str) -> AvroType:
        if core.get("tz_constraint") == "naive":
            raise self._refused(
                where, "a time without a time zone is no instant; write `datetime` or `AwareDatetime`"
            )
        return _DATETIME

    def _of_time(self, core: Core, where: str) -> AvroType:
        if core.get("tz_constraint") == "aware":
            raise self._refused(
                where, "Avro's time of day has no time zone; write `datetime`, or `time` without one"
            )
        return _TIME

    def _of_decimal(self, core: Core, where: str) -> AvroType:
        precision, scale = core.get("max_digits"), core.get("decimal_places")
        if precision is None or scale is None:
            raise self._refused(
                where,
                "Avro's decimals have a fixed precision and scale; "
                "write Field(max_digits=12, decimal_places=2) with yours",
            )
        if not 0 <= scale <= precision or precision < 1:
            raise self._refused(where, f"decimal_places={scale} does not fit into max_digits={precision}")
        schema = {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}
        to_avro = partial(_decimal_bytes, precision=precision, scale=scale)
        return AvroType(schema, "bytes", (Decimal,), to_avro, partial(_decimal, scale=scale))

    def _of_literal(self, core: Core, where: str) -> AvroType:
        values = core["expected"]
        if any(isinstance(value, Enum) for value in values):
            raise self._refused(where, "a Literal of an Enum's members; write the Enum")
        for kind in (str, int, bool):
            if all(type(value) is kind for value in values):
                return _one_of(_SCALAR_TYPES[kind.__name__], values)
        raise self._refused(
            where, "a Literal of several types, or of None; write values of one type, and `| None`"
        )

    def _of_enum(self, core: Core, where: str) -> AvroType:
        cls: type[Enum] = core["cls"]
        values = [member.value for member in core["members"]]
        if all(type(value) is int for value in values):
            return _enum_of(cls, _SCALAR_TYPES["int"])
        if not all(isinstance(value, str) for value in values):
            raise self._refused(where, f"the values of {cls.__qualname__} are neither all str nor all int")
        if not all(_NAME.fullmatch(value) for value in values):
            return _enum_of(cls, _SCALAR_TYPES["str"])  # Avro's symbols are names
        name = self._name_of(cls, where)
        if name in self._named:
            return self._again(name)
        schema = self._named_schema("enum", name) | {"symbols": [str(value) for value in values]}
        text = replace(_SCALAR_TYPES["str"], schema=schema, branch=self._full(name), from_avro=_untagged)
        return self._remember(name, cls, replace(_enum_of(cls, text), is_enum=True))

    # -- containers

    def _of_list(self, core: Core, where: str) -> AvroType:
        return self._array(core.get("items_schema"), where, list)

    def _of_set(self, core: Core, where: str) -> AvroType:
        return self._array(core.get("items_schema"), where, set)

    def _of_frozenset(self, core: Core, where: str) -> AvroType:
        return self._array(core.get("items_schema"), where, frozenset)

    def _of_tuple(self, core: Core, where: str) -> AvroType:
        if core.get("variadic_item_index") != 0 or len(core["items_schema"]) != 1:
            raise self._refused(where, "Avro has no tuples; write `tuple[T, ...]`, a list or a model")
        return self._array(core["items_schema"][0], where, tuple)

    def _array(self, items: Core | None, where: str, made: type) -> AvroType:
        item = self.of(items or {"type": "any"}, f"{where}[]")
        schema = {"type": "array", "items": item.schema}

        def to_avro(value: Any) -> list[Any]:
            _check(value, made)
            return [item.to_avro(each) for each in value]

        def from_avro(value: Any) -> Any:
            return made(item.from_avro(each) for each in value)

        return AvroType(schema, "array", (made,), to_avro, from_avro)

    def _of_dict(self, core: Core, where: str) -> AvroType:
        keys = core.get("keys_schema", {"type": "any"})
        if keys["type"] != "str":
            raise self._refused(where, "the keys of Avro's maps are text; write `dict[str, T]`")
        item = self.of(core.get("values_schema", {"type": "any"}), f"{where}{{}}")

        def to_avro(value: Any) -> dict[str, Any]:
            _check(value, dict)
            return {_text(key): item.to_avro(each) for key, each in value.items()}

        def from_avro(value: Any) -> dict[str, Any]:
            return {key: item.from_avro(each) for key, each in value.items()}

        return AvroType({"type": "map", "values": item.schema}, "map", (dict,), to_avro, from_avro)

    # -- records

    def _of_model(self, core: Core, where: str) -> AvroType:
        cls: type = core["cls"]
        inner = core["schema"]
        if core.get("root_model"):
            return _of_root(cls, self.of(inner, where))
        while inner["type"] in _THROUGH:
            self._refuse_serializer(inner, where)
            inner = inner["schema"]
        self._refuse_serializer(inner, where)
        if inner.get("extras_schema") or core.get("config", {}).get("extra_fields_behavior") == "allow":
            raise self._refused(
                where, f"{cls.__qualname__} has extra='allow', and Avro has no place for such fields"
            )
        if inner.get("computed_fields"):
            raise self._refused(
                where, f"{cls.__qualname__} has computed fields; make them fields, or properties"
            )
        fields = [(name, each["schema"], each) for name, each in inner["fields"].items()]
        return self._record(cls, fields, where, getattr)

    def _of_dataclass(self, core: Core, where: str) -> AvroType:
        inner = core["schema"]
        while inner["type"] in _THROUGH:
            inner = inner["schema"]
        fields = [(each["name"], each["schema"], each) for each in inner["fields"]]
        record = self._record(core["cls"], fields, where, getattr)
        return replace(record, from_avro=partial(_made, record), made=_same)  # strict models want no dict

    def _of_typed_dict(self, core: Core, where: str) -> AvroType:
        cls: type = core["cls"]
        for name, each in core["fields"].items():
            if not each.get("required", True):
                raise self._refused(
                    f"{where}.{name}", "a field of Avro is always there; write `T | None`, and require it"
                )
        fields = [(name, each["schema"], each) for name, each in core["fields"].items()]
        return self._record(cls, fields, where, dict.__getitem__)

    def _record(
        self, cls: type, fields: Iterable[tuple[str, Core, Core]], where: str, get: Callable[[Any, str], Any]
    ) -> AvroType:
        name = self._name_of(cls, where)
        if name in self._named:
            return self._again(name)
        held = dict if get is dict.__getitem__ else cls
        schema = self._named_schema("record", name) | {"fields": []}
        parts: dict[str, tuple[str, AvroType]] = {}
        placeholder = AvroType(
            schema,
            self._full(name),
            (held,),
            partial(_to_record, held, get, parts),
            partial(_from_record, parts),
            made=partial(_validated, cls),
        )
        self._remember(name, cls, placeholder)
        for own, core, described in fields:
            at = f"{where}.{own}" if where else own
            avro = described.get("serialization_alias") or own
            self._check_field(avro, described, at)
            if avro in parts:
                raise self._refused(at, f"two fields are called {avro!r}")
            part = self.of(core, at)
            schema["fields"].append({"name": avro, **self._with_default(core, part, at)})
            parts[avro] = own, part
        return self._remember(name, cls, replace(placeholder, fields=frozenset(parts)))

    def _check_field(self, avro: str, described: Core, at: str) -> None:
        if not _NAME.fullmatch(avro):
            raise self._refused(at, f"{avro!r} is no name in Avro; use letters, digits and _")
        if described.get("serialization_exclude"):
            raise self._refused(at, "it is excluded from what is written; leave it out of the event's type")

    def _with_default(self, core: Core, part: AvroType, where: str) -> dict[str, Json]:
        """A field's type, and its default where readers of older records need one and pydantic has one."""
        found, default = _default_of(core)
        branches = part.branches
        if not found:
            is_optional = any(each.branch == "null" for each in branches)
            return {"type": part.schema, "default": None} if is_optional else {"type": part.schema}
        try:
            written = part.to_avro(default)
        except Unencodable as error:
            raise self._refused(where, f"its default does not fit: {error}") from error
        schema = part.schema
        if branches:  # a default is of the first branch
            first: str = written[0]
            schema = [each.schema for each in sorted(branches, key=lambda each: each.branch != first)]
        as_json = _as_json(written)
        try:
            back = part.from_avro(as_json)
        except Undecodable:
            back = part
        if not (isinstance(back, dict | list) or back == default) or back != back:  # noqa: PLR0124  (NaN)
            raise self._refused(where, "Avro's JSON cannot tell which type its default is of; give it none")
        return {"type": schema, "default": as_json}

    # -- unions

    def _of_nullable(self, core: Core, where: str) -> AvroType:
        return self._union([_NULL, self.of(core["schema"], where)], where)

    def _of_union(self, core: Core, where: str) -> AvroType:
        choices = [each[0] if isinstance(each, tuple) else each for each in core["choices"]]
        return self._union([self.of(each, where) for each in choices], where)

    def _of_tagged_union(self, core: Core, where: str) -> AvroType:
        return self._union([self.of(each, where) for each in core["choices"].values()], where)

    def _union(self, types: list[AvroType], where: str) -> AvroType:
        """A union within a union is one union; null comes first."""
        if any(each.branches and each.is_wrapped for each in types):
            raise self._refused(where, "a RootModel of a union within a union; write its types")
        flat = [branch for each in types for branch in each.branches or (each,)]
        branches: dict[str, AvroType] = {}
        for branch in sorted(flat, key=lambda each: each.branch != "null"):
            if _differ(branches.setdefault(branch.branch, branch), branch):
                raise self._refused(
                    where,
                    f"a union of two types that are both {branch.branch} in Avro; "
                    "write one of them, or wrap them into models",
                )
        if len([each for each in branches.values() if dict in each.holds]) > 1:
            raise self._refused(where, "a union of several dicts cannot be told apart; write models")
        if len(branches) == 1:
            return next(iter(branches.values()))
        return AvroType(
            [branch.schema for branch in branches.values()],
            "union",
            tuple(kind for branch in branches.values() for kind in branch.holds),
            partial(_to_branch, _most_special_first(list(branches.values()))),
            partial(_from_branch, branches),
            branches=tuple(branches.values()),
        )

    # -- names

    def _name_of(self, cls: type, where: str) -> str:
        name = re.sub(r"\W+", "_", cls.__name__, flags=re.ASCII).strip("_")
        known = self._named.get(name)
        if known is not None and known[0] is not cls:
            raise self._refused(
                where, f"two types are called {name}; Avro knows types by name, so rename one"
            )
        if not _NAME.fullmatch(name):
            raise self._refused(where, f"{name!r} is no name in Avro; use letters, digits and _")
        return name

    def _full(self, name: str) -> str:
        return name if self._namespace is None else f"{self._namespace}.{name}"

    def _named_schema(self, kind: str, name: str) -> dict[str, Json]:
        return {"type": kind, "name": name} | ({"namespace": self._namespace} if self._namespace else {})

    def _remember(self, name: str, cls: type, derived: AvroType) -> AvroType:
        self._named[name] = (cls, derived)
        return derived

    def _again(self, name: str) -> AvroType:
        """A type that is described elsewhere in the schema is named; so a type may hold itself."""
        first = self._named[name][1]
        return replace(first, schema=first.branch)

    def _refuse_serializer(self, core: Core, where: str) -> None:
        own = core.get("serialization", {}).get("type", "")
        if own.startswith("function-") and core["type"] != "any":
            raise self._refused(
                where, "it has a serializer of its own, and Avro writes the value; remove the serializer"
            )

    def _refused(self, where: str, why: str) -> WiringError:
        at = where.lstrip(".")
        return WiringError(f"{self._root} cannot be Avro: {f'field {at!r}: ' if at else ''}{why}")


# -- values


def _same(value: Any) -> Any:
    return value


def _untagged(value: Any) -> Any:
    """A named type that was written as a branch of a union comes with its name; lists are never tuples."""
    return value[1] if type(value) is tuple else value


def _check(value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise Unencodable(f"a {type(value).__qualname__} is no {kind.__qualname__}")


def _long(value: Any) -> int:
    if type(value) is not int:
        _check(value, int)
        if isinstance(value, bool):
            raise Unencodable("a bool is no int")
    if value not in _LONG:
        raise Unencodable("the number does not fit into 64 bits")
    return int(value)


def _double(value: Any) -> float:
    if isinstance(value, int) and not isinstance(value, bool) and float(value) == value:
        return float(value)
    _check(value, float)
    return float(value)


def _boolean(value: Any) -> bool:
    _check(value, bool)
    return bool(value)


def _text(value: Any) -> str:
    _check(value, str)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            position = error.start
        else:
            return str(value)
        raise Unencodable(f"the text has no UTF-8 form: character {position} is half of a surrogate pair")
    return str(value)


def _bytes(value: Any) -> bytes:
    _check(value, bytes)
    return bytes(value)


def _raw_bytes(value: Any) -> Any:
    return value.encode("latin-1") if isinstance(value, str) else value  # a default, as schemas have it


def _nothing(value: Any) -> None:
    if value is not None:
        raise Unencodable(f"a {type(value).__qualname__} is no None")


def _days(value: Any) -> int:
    _check(value, date)
    if isinstance(value, datetime):
        raise Unencodable("a datetime is no date")
    return int(value.toordinal()) - _EPOCH_DAY


def _date(value: Any) -> Any:
    return date.fromordinal(value + _EPOCH_DAY) if isinstance(value, int) else value


def _micros(value: Any) -> int:
    _check(value, datetime)
    if value.utcoffset() is None:
        raise Unencodable(
            "the datetime has no time zone, so it is no instant; make it aware: datetime.now(UTC)"
        )
    try:
        instant: datetime = value.astimezone(UTC)
    except OverflowError:
        instant = None  # type: ignore[assignment]
    if instant is None:
        raise Unencodable("the datetime is no year from 1 to 9999 in UTC")
    return (instant - _EPOCH) // _MICROSECOND


def _instant(value: Any) -> Any:
    return _EPOCH + timedelta(microseconds=value) if isinstance(value, int) else value


def _micros_of_day(value: Any) -> int:
    _check(value, time)
    if value.tzinfo is not None:
        raise Unencodable("the time has a time zone, and Avro's time of day has none")
    return int(((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond)


def _time_of_day(value: Any) -> Any:
    if not isinstance(value, int):
        return value
    seconds, micros = divmod(value, 1_000_000)
    return time(seconds // 3600, seconds // 60 % 60, seconds % 60, micros)


def _uuid_text(value: Any) -> str:
    _check(value, UUID)
    return str(value)


def _uuid(value: Any) -> Any:
    return UUID(value) if isinstance(value, str) else value


def _decimal_bytes(value: Any, *, precision: int, scale: int) -> bytes:
    """Two's complement of the unscaled number; digits that the scale has no place for are refused."""
    _check(value, Decimal)
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise Unencodable("the Decimal is no number")
    number = int("".join(map(str, digits)))
    shift = exponent + scale
    if number and value.adjusted() + scale >= precision:
        raise Unencodable(f"the Decimal has more than {precision} digits ({scale} of them behind the point)")
    if number and shift < 0:
        number, rest = divmod(number, 10**-shift) if -shift < len(digits) else (0, number)
        if rest:
            raise Unencodable(f"the Decimal has more than {scale} places")
    elif number:
        number *= 10**shift
    if sign:
        number = -number
    return number.to_bytes((number.bit_length() + 8) // 8, "big", signed=True)


def _decimal(value: Any, *, scale: int) -> Any:
    raw = _raw_bytes(value)
    if not isinstance(raw, bytes):
        return value
    number = int.from_bytes(raw, "big", signed=True)
    return Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale))  # exact in every context


def _enum_of(cls: type[Enum], values: AvroType) -> AvroType:
    def to_avro(value: Any) -> Any:
        _check(value, cls)
        return values.to_avro(value.value)

    def from_avro(value: Any) -> Any:
        plain = values.from_avro(value)
        try:
            return cls(plain)
        except ValueError:
            return plain  # pydantic tells which field it was

    return AvroType(values.schema, values.branch, (cls,), to_avro, from_avro)


def _one_of(values: AvroType, expected: Iterable[Any]) -> AvroType:
    allowed = frozenset(expected)

    def to_avro(value: Any) -> Any:
        written = values.to_avro(value)
        if written not in allowed:
            raise Unencodable("the value is none of the Literal's")
        return written

    return AvroType(values.schema, values.branch, values.holds, to_avro, values.from_avro)


def _of_root(cls: type, inner: AvroType) -> AvroType:
    def to_avro(value: Any) -> Any:
        _check(value, cls)
        return inner.to_avro(value.root)

    return replace(inner, holds=(cls,), to_avro=to_avro, is_wrapped=True)


def _to_record(
    held: type, get: Callable[[Any, str], Any], parts: Mapping[str, tuple[str, AvroType]], value: Any
) -> dict[str, Any]:
    _check(value, held)
    written = {}
    for avro, (own, part) in parts.items():
        try:
            written[avro] = part.to_avro(get(value, own))
            continue
        except Unencodable as error:
            problem = f"field {own!r}: {error}"
        except (AttributeError, KeyError):
            problem = f"field {own!r} is missing"
        raise Unencodable(problem)
    return written


def _from_record(parts: Mapping[str, tuple[str, AvroType]], value: Any) -> dict[str, Any]:
    plain = _untagged(value)
    return {own: part.from_avro(plain[avro]) for avro, (own, part) in parts.items()}


def _made(record: AvroType, value: Any) -> Any:
    return record.made(record.from_avro(value))


def _validated(cls: type, fields: Any) -> Any:
    return adapter_of(cls).validator.validate_python(fields, by_alias=False, by_name=True)


# -- unions

_BRANCHES: dict[type, tuple[str, ...]] = {
    bool: ("boolean",),
    int: ("long", "int", "double"),
    float: ("double",),
    str: ("string", "bytes"),
    bytes: ("bytes", "string"),
    Decimal: ("bytes",),
    date: ("int",),
    datetime: ("long",),
    time: ("long",),
    UUID: ("string",),
    list: ("array",),
}
"""Which branch a value without a name is of: as a reader gives it, or as a default has it."""


def _differ(one: AvroType, other: AvroType) -> bool:
    """Whether two branches of one name are two types; of named types one may only be the other's name."""
    is_named = one.is_enum or one.fields is not None
    return one.holds != other.holds or not (is_named or one.schema == other.schema)


def _most_special_first(branches: list[AvroType]) -> list[AvroType]:
    """A datetime is a date and a bool an int: who is asked first counts."""
    return sorted(branches, key=lambda each: -max(len(kind.__mro__) for kind in each.holds))


def _to_branch(branches: list[AvroType], value: Any) -> Any:
    for each in branches:
        if isinstance(value, each.holds):
            return each.branch, each.to_avro(value)
    raise Unencodable(f"a {type(value).__qualname__} is none of the union's types")


def _from_branch(branches: Mapping[str, AvroType], value: Any) -> Any:
    if value is None:
        return None
    if type(value) is tuple:
        name, plain = value
        branch = branches.get(name) or _only_named(branches)
    else:
        branch, plain = _unnamed_branch(branches, value), value
    if branch is None:
        raise Undecodable("a value fits none of the union's types")
    found = branch.from_avro(plain)
    is_one_of_several = len(branches) > 1 + ("null" in branches)
    return branch.made(found) if is_one_of_several else found


def _only_named(branches: Mapping[str, AvroType]) -> AvroType | None:
    named = [each for each in branches.values() if each.fields is not None]
    return named[0] if len(named) == 1 else None


def _unnamed_branch(branches: Mapping[str, AvroType], value: Any) -> AvroType | None:
    """The writer had no union here, or nobody wrote it and it is a default."""
    if isinstance(value, dict):
        fitting = [each for each in branches.values() if each.fields == frozenset(value)]
        return fitting[0] if len(fitting) == 1 else branches.get("map")
    for name in _BRANCHES.get(type(value), ()):
        if name in branches:
            return branches[name]
    enums = [each for each in branches.values() if isinstance(value, str) and each.is_enum]
    return enums[0] if len(enums) == 1 else None


def _as_json(value: Any) -> Json:
    """A default as schemas have it: bytes as text of their code points."""
    match value:
        case bytes():
            return value.decode("latin-1")
        case dict():
            return {key: _as_json(each) for key, each in value.items()}
        case list():
            return [_as_json(each) for each in value]
        case tuple():
            return _as_json(value[1])
        case _:
            return value


_EMPTY = (list, dict, set, frozenset, tuple)


def _default_of(core: Core) -> tuple[bool, Any]:
    """Whether a field has a default that is the same for every record, and which."""
    if core["type"] != "default":
        return False, None
    if "default" in core:
        return True, core["default"]
    factory = core.get("default_factory")
    return (True, factory()) if factory in _EMPTY else (False, None)


_NULL = AvroType("null", "null", (type(None),), _nothing, _nothing)
_DATE = AvroType({"type": "int", "logicalType": "date"}, "int", (date,), _days, _date)
_UUID = AvroType({"type": "string", "logicalType": "uuid"}, "string", (UUID,), _uuid_text, _uuid)
_DATETIME = AvroType(
    {"type": "long", "logicalType": "timestamp-micros"}, "long", (datetime,), _micros, _instant
)
_TIME = AvroType(
    {"type": "long", "logicalType": "time-micros"}, "long", (time,), _micros_of_day, _time_of_day
)
_SCALAR_TYPES = {
    "int": AvroType("long", "long", (int,), _long, _same),
    "float": AvroType("double", "double", (float,), _double, _same),
    "bool": AvroType("boolean", "boolean", (bool,), _boolean, _same),
    "str": AvroType("string", "string", (str,), _text, _same),
    "bytes": AvroType("bytes", "bytes", (bytes,), _bytes, _raw_bytes),
}
