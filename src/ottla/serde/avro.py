"""Avro's binary form by fastavro: values of a type, by the schema that is derived from it.

Rules of this file:
- A value is read by the schema that it was written with and resolved to ours; so a field that
  older senders do not know has its default.
- No value of a payload appears in an error.
"""

from __future__ import annotations

import json
import struct
from io import BytesIO
from typing import Any

from ottla.core.frames import SchemaRef
from ottla.errors import Undecodable, WiringError
from ottla.ports import RegisteredSchema
from ottla.serde.avro_schema import avro_type
from ottla.serde.json import Unencodable, adapter_of, describe, name_of

_UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
"""What fastavro raises for bytes that are none of their schema; which of them is not documented."""

_LONGEST = 300


class AvroWriter:
    """Values of one type to Avro. `text` is their schema, the same for the same type."""

    def __init__(self, annotation: Any, namespace: str | None) -> None:
        from fastavro import parse_schema, schemaless_writer
        from fastavro.schema import SchemaParseException, UnknownType

        self._type = avro_type(annotation, namespace=namespace)
        self._write = schemaless_writer
        try:
            self.text = json.dumps(self._type.schema, allow_nan=False, separators=(",", ":"))
            self._schema = parse_schema(json.loads(self.text))
        except (SchemaParseException, UnknownType, ValueError) as error:
            raise WiringError(f"{name_of(annotation)} cannot be Avro: {error}") from error

    def __call__(self, value: Any) -> bytes:
        """The body of a frame. Raises `Unencodable`."""
        try:
            datum = self._type.to_avro(value)
        except RecursionError:
            datum = None
        if datum is None:
            raise Unencodable("the value holds itself, or is nested too deep")
        body = BytesIO()
        self._write(body, self._schema, datum)
        return body.getvalue()


class AvroReader:
    """Values of one type from Avro, whichever schema they were written with."""

    def __init__(self, annotation: Any, namespace: str | None) -> None:
        from fastavro.read import SchemaResolutionError

        self._name = name_of(annotation)
        self._type = avro_type(annotation, namespace=namespace)
        self._validator = adapter_of(annotation).validator
        self._parsed: dict[SchemaRef, tuple[Any, Any, str | None]] = {}
        self._unreadable = (*_UNREADABLE, SchemaResolutionError)

    def __call__(self, body: bytes, ref: SchemaRef, written: RegisteredSchema) -> Any:
        """The value in `body`, written with the schema that is known as `ref`. Raises `Undecodable`."""
        from fastavro import schemaless_reader
        from pydantic import ValidationError

        writer, reader, name = self._schemas(ref, written)
        source = BytesIO(body)
        try:
            datum: Any = schemaless_reader(source, writer, reader, return_named_type=True)
            if name is not None:
                datum = (name, datum)
            if left := len(body) - source.tell():
                raise Undecodable(f"schema {ref}: {left} bytes are left behind the value")
            return self._validator.validate_python(self._type.from_avro(datum), by_alias=False, by_name=True)
        except ValidationError as error:
            problem = describe(error)
        except self._unreadable as error:
            raise self._not_read(ref, error) from None
        raise Undecodable(f"not {self._name}: {problem}")

    def _not_read(self, ref: SchemaRef, error: BaseException) -> Undecodable:
        # Only the words of a failed resolution are about schemas; others can quote the payload.
        words = str(error) if type(error).__name__ == "SchemaResolutionError" else type(error).__name__
        words = words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"
        return Undecodable(f"what was written with schema {ref} cannot be read as {self._name}: {words}")

    def _schemas(self, ref: SchemaRef, written: RegisteredSchema) -> tuple[Any, Any, str | None]:
        """The writer's schema, ours or None where they are the same, and what a bare record stands for."""
        if ref not in self._parsed:
            writer = parsed(written)
            plain = json.loads(written.text)
            ours = self._type.schema
            name = None
            if isinstance(plain, dict) and plain.get("type") == "record":
                if isinstance(ours, list):
                    name = self._branch_of(plain["name"])
                elif isinstance(ours, dict) and ours.get("type") == "record":
                    # A listener may have a type of its own for an event, under another name.
                    ours = {**ours, "aliases": [writer["name"]]}
            self._parsed[ref] = writer, None if plain == self._type.schema else _parse(ours, {}), name
        return self._parsed[ref]

    def _branch_of(self, name: str) -> str:
        """The branch of our union that the record `name` is."""
        short = name.rsplit(".", 1)[-1]
        for branch in self._type.branches:
            if branch.branch.rsplit(".", 1)[-1] == short:
                return branch.branch
        return name


def read_as_written(body: bytes, ref: SchemaRef, written: RegisteredSchema) -> Any:
    """What `body` holds by its own schema, for people to see. Raises `Undecodable`."""
    from fastavro import schemaless_reader

    schema = parsed(written)
    try:
        return schemaless_reader(BytesIO(body), schema, None)
    except _UNREADABLE as error:
        raise Undecodable(f"the bytes are none of schema {ref}: {type(error).__name__}") from None


def parsed(written: RegisteredSchema) -> Any:
    """A registered schema as fastavro reads it. Raises `Undecodable` for one that is no Avro."""
    named: dict[str, Any] = {}
    try:
        for text in written.references:
            _parse(json.loads(text), named)
        return _parse(json.loads(written.text), named)
    except _UNREADABLE as error:
        raise Undecodable(f"the registered schema is no Avro schema: {type(error).__name__}") from error


def _parse(schema: Any, named: dict[str, Any]) -> Any:
    from fastavro import parse_schema
    from fastavro.schema import SchemaParseException, UnknownType

    try:
        return parse_schema(schema, named)
    except (SchemaParseException, UnknownType) as error:
        raise Undecodable(f"the registered schema is no Avro schema: {error}") from error
