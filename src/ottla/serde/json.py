"""JSON by pydantic; `bytes` and `str` travel as they are, None as a null value (a tombstone).

Rules of this file:
- A decoder is made once per listener and an encoder once per topic; what cannot work fails there.
- A payload's values never appear in an error: pydantic's error types and locations do.
- Nothing is dropped in silence: a value that is not of the topic's type is refused, also
  where pydantic alone would write the fields that both types share.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, NewType, Union, get_args, get_origin

from ottla.errors import Undecodable, WiringError

if TYPE_CHECKING:  # pydantic costs 0.1 s of import: only makers of decoders and encoders pay it
    from pydantic import TypeAdapter, ValidationError

Decoder = Callable[[bytes | None], Any]
Encoder = Callable[[Any], bytes | None]

_MAX_ERRORS = 5
_MAX_MESSAGE = 500
_FIELD = re.compile(r"field_name='(\w+)'")


class Unencodable(ValueError):
    """A value does not fit the type it is sent as; names no values."""


def decoder(annotation: Any) -> Decoder:
    """A function from a record's value to what `annotation` promises, raising `Undecodable`.

    `bytes` are handed on, `str` is UTF-8, everything else is JSON. A null value is
    decoded only where the annotation has None. Raises `WiringError` for an annotation
    that no bytes can fit. Exceptions of the type's own validators other than
    ValueError and AssertionError pass through.
    """
    kept, _ = without_none(annotation)
    return or_null(annotation, _decode_value(kept))


def or_null(annotation: Any, decode: Callable[[bytes], Any]) -> Decoder:
    """`decode`, and None for a null value, or `Undecodable` where `annotation` has no None."""
    _, takes_null = without_none(annotation)

    def decode_or_null(value: bytes | None) -> Any:
        if value is not None:
            return decode(value)
        if takes_null:
            return None
        raise Undecodable(
            f"the value is null (a tombstone) and {name_of(annotation)} has no None: "
            f"annotate `{name_of(annotation)} | None` to handle tombstones"
        )

    return decode_or_null


def encoder(annotation: Any) -> Encoder:
    """A function from a value to bytes, raising `Unencodable`; None becomes a null value."""
    kept, _ = without_none(annotation)
    encode = _encode_value(kept)

    def encode_or_null(value: Any) -> bytes | None:
        return None if value is None else encode(value)

    return encode_or_null


def _decode_value(kept: Any) -> Callable[[bytes], Any]:
    if kept is bytes:
        return lambda value: value
    if kept is str:
        return _text
    if kept is type(None):
        return _refuse_value
    return _json_decoder(kept)


def _json_decoder(kept: Any) -> Callable[[bytes], Any]:
    from pydantic import ValidationError

    # The validator's own method: 0.88 µs for a small order, 1.29 µs through the adapter.
    validate = adapter_of(kept).validator.validate_json

    def decode(value: bytes) -> Any:
        try:
            return validate(value)
        except ValidationError as error:
            problem = describe(error)
        # Raised outside the handler: the original, which quotes the payload, is not chained.
        raise Undecodable(f"not {name_of(kept)}: {problem}")

    return decode


def _encode_value(kept: Any) -> Callable[[Any], bytes]:
    if kept is bytes:
        return lambda value: _of_type(value, bytes)
    if kept is str:
        return _utf8
    if kept is type(None):
        return lambda value: _of_type(value, type(None))
    return _json_encoder(kept)


def _json_encoder(kept: Any) -> Callable[[Any], bytes]:
    from pydantic_core import PydanticSerializationError

    to_json = adapter_of(kept).serializer.to_json
    # Pydantic writes whatever has the model's attributes and leaves out the rest: another class is refused.
    exact = kept if hasattr(kept, "__pydantic_validator__") or is_dataclass(kept) else None

    def encode(value: Any) -> bytes:
        if exact is not None and not isinstance(value, exact):
            raise Unencodable(f"a {type(value).__qualname__} is no {name_of(kept)}")
        try:
            return to_json(value, warnings="error")
        except PydanticSerializationError as error:
            field = _FIELD.search(str(error))
        where = f" (field {field[1]!r})" if field else ""
        raise Unencodable(f"this {type(value).__qualname__} does not fit {name_of(kept)}{where}")

    return encode


def adapter_of(kept: Any) -> TypeAdapter[Any]:
    """Pydantic's view of a type. Raises `WiringError` for one that it does not know."""
    from pydantic import PydanticUserError, TypeAdapter

    try:
        adapter = TypeAdapter(kept)
        if not adapter.pydantic_complete:
            adapter.rebuild(raise_errors=True)
    except PydanticUserError as error:
        reason = str(error.message).splitlines()[0]
        raise WiringError(
            f"{name_of(kept)} cannot be read from or written as JSON: {reason} "
            "Use a pydantic model, a dataclass, a TypedDict, bytes or str"
        ) from error
    except NameError as error:
        raise WiringError(f"{name_of(kept)} names a type that is not defined: {error}") from error
    return adapter


def without_none(annotation: Any) -> tuple[Any, bool]:
    """The annotation apart from None, and whether None was in it."""
    plain = _unwrapped(annotation)
    if plain is None or plain is type(None):
        return type(None), True
    if plain is Any:
        return Any, True
    if get_origin(plain) not in (Union, types.UnionType):
        return plain, False
    members = [_unwrapped(member) for member in get_args(plain)]
    kept = [member for member in members if member is not type(None)]
    if len(kept) > 1 and (bytes in kept or str in kept):
        raise WiringError(
            f"{name_of(annotation)} is ambiguous: bytes and str take every record; annotate one of them alone"
        )
    if len(kept) == len(members):
        return plain, False
    return (kept[0] if len(kept) == 1 else Union[tuple(kept)]), True  # noqa: UP007 - built at run time


def _unwrapped(annotation: Any) -> Any:
    """`NewType` and `type` aliases down to what they stand for, and `Annotated` where it adds nothing."""
    while True:
        if isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        elif get_origin(annotation) is Annotated and get_args(annotation)[0] in (bytes, str):
            raise WiringError(
                f"{name_of(annotation)} cannot be checked: bytes and str are handed on as they are; "
                "annotate them plainly, or wrap the rule in a pydantic RootModel"
            )
        else:
            return annotation


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 text: byte {error.start} of {len(value)} begins no character"
    raise Undecodable(problem)


def _utf8(value: Any) -> bytes:
    text: str = _of_type(value, str)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        problem = f"the text has no UTF-8 form: character {error.start} is half of a surrogate pair"
    raise Unencodable(problem)


def _refuse_value(value: bytes) -> None:
    raise Undecodable(f"{len(value)} bytes where the listener takes only null values (tombstones)")


def _of_type(value: Any, wanted: type) -> Any:
    if isinstance(value, wanted):
        return value
    raise Unencodable(f"a {type(value).__qualname__} is no {wanted.__qualname__}")


def describe(error: ValidationError) -> str:
    """Where and how the payload is wrong, without a value of it."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    parts = [f"{'.'.join(map(str, one['loc'])) or 'value'}: {one['type']}" for one in found[:_MAX_ERRORS]]
    if len(found) > _MAX_ERRORS:
        parts.append(f"and {len(found) - _MAX_ERRORS} more")
    text = ", ".join(parts)
    return text if len(text) <= _MAX_MESSAGE else f"{text[: _MAX_MESSAGE - 1]}…"


def name_of(annotation: Any) -> str:
    """How messages call a type."""
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__qualname__
    return str(annotation).replace("typing.", "")
