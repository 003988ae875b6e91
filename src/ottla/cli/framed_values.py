"""Values with a schema, read for `ottla dlt show`. They are only looked at: the letter keeps its bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ottla.core.frames import SchemaRef, is_framed, read_frame
from ottla.core.letters import HEX, Letter
from ottla.errors import OttlaError, Undecodable
from ottla.ports import RegisteredSchema, SchemaRegistry


@dataclass(slots=True)
class FramedValues:
    """Reads the values of letters by `registry`, which is None where no SCHEMA_REGISTRY_URL is set."""

    registry: SchemaRegistry | None
    _known: dict[SchemaRef, RegisteredSchema | None] = field(default_factory=dict)

    def read(self, letter: Letter) -> tuple[str, str | None] | None:
        """What the value is, and the value as JSON; None for one that names no schema. Blocks."""
        value, headers = letter.value, letter.headers or ()
        if value is None or not is_framed(value, headers):
            return None
        try:
            ref, body = read_frame(value, headers)
        except Undecodable as error:
            return str(error), None
        if self.registry is None:
            return f"framed, schema {ref}; set SCHEMA_REGISTRY_URL to see it decoded", None
        try:
            written = self._schema(ref)
            if written is None:
                return f"framed, schema {ref}, which the schema registry does not know", None
            return f"{written.kind} by schema {ref}", _as_json(body, ref, written)
        except OttlaError as error:
            return f"framed, schema {ref}; not decoded: {error}", None

    def _schema(self, ref: SchemaRef) -> RegisteredSchema | None:
        assert self.registry is not None  # noqa: S101  (its only caller has looked)
        if ref not in self._known:
            self._known[ref] = self.registry.schema(ref)
        return self._known[ref]


def _as_json(body: bytes, ref: SchemaRef, written: RegisteredSchema) -> str | None:
    if written.kind == "AVRO":
        from ottla.serde.avro import read_as_written

        return json.dumps(read_as_written(body, ref, written), indent=2, ensure_ascii=False, default=_shown)
    if written.kind == "JSON":
        try:
            return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError) as error:
            raise Undecodable(f"the body is no JSON: {type(error).__name__}") from None
    return None  # Protobuf, whose types we have not


def _shown(value: Any) -> str:
    return f"{HEX}{value.hex()}" if isinstance(value, bytes) else str(value)
