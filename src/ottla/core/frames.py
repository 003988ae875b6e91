"""How a record's value says which schema it was written with.

Confluent's frame is a zero byte, four bytes of schema id, and the body; a later form of it
puts the schema's GUID into a header and leaves the body bare. Others are told apart, so
that a dead letter names whose they are.

Source: Confluent "Wire format"; confluent_kafka.schema_registry.serde `SchemaId`; AWS Glue
`AWSSchemaRegistryConstants`; Apicurio `DefaultIdHandler`, which writes ids of eight bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from ottla.errors import Undecodable

SCHEMA_ID_HEADER = "__value_schema_id"
"""Of the form whose body is bare."""

SchemaRef = int | UUID
"""What a registry knows a schema by: its id, or its GUID."""

_MAGIC = 0
_GUID_MAGIC = 1
_GLUE_MAGIC = 3
_HEAD = 5
_GUID = 17
_GLUE_HEAD = 18
_LARGEST_ID = 2**31 - 1


class Frame(NamedTuple):
    """The schema that a value was written with, and the value's body."""

    schema: SchemaRef
    body: bytes


def framed(schema_id: int, body: bytes) -> bytes:
    """`body` in Confluent's frame."""
    return b"\0" + schema_id.to_bytes(4, "big") + body


def is_framed(value: bytes, headers: Iterable[tuple[str, bytes | None]]) -> bool:
    """Whether `value` names a schema, well or badly; no JSON does."""
    return value[:1] == b"\0" or _header(headers) is not None


def read_frame(value: bytes, headers: Iterable[tuple[str, bytes | None]] = ()) -> Frame:
    """Take `value` apart. Raises `Undecodable`, which says whose frame it is, where that can be told."""
    if (header := _header(headers)) is not None:
        return _by_header(header, value)
    if not value:
        raise Undecodable("an empty value has no frame of a schema registry")
    if value[0] == _GLUE_MAGIC and len(value) >= _GLUE_HEAD:
        raise Undecodable(
            "the frame is AWS Glue's (03); this listener reads Confluent's (00 and four bytes of schema id)"
        )
    if value[0] != _MAGIC:
        raise Undecodable(
            f"no frame of a schema registry: the first byte is {value[0]:02x} and not 00 "
            "(its sender may write plain JSON, text, or Avro without a frame)"
        )
    if len(value) < _HEAD:
        raise Undecodable(f"the frame is truncated: {len(value)} bytes, and its head has {_HEAD}")
    schema_id = int.from_bytes(value[1:_HEAD], "big")
    if schema_id == 0:
        # Ids begin at 1; the upper half of an id of eight bytes is zero.
        raise Undecodable(
            "schema id 0 is none: the frame may be Apicurio's own, with ids of eight bytes "
            "(set apicurio.registry.use-id=contentId and apicurio.registry.id-handler="
            "io.apicurio.registry.serde.Default4ByteIdHandler at its sender)"
        )
    if schema_id > _LARGEST_ID:
        raise Undecodable(f"schema id {schema_id} is larger than a registry gives")
    return Frame(schema_id, value[_HEAD:])


def _header(headers: Iterable[tuple[str, bytes | None]]) -> bytes | None:
    found = None
    for name, value in headers:
        if name == SCHEMA_ID_HEADER and value is not None:
            found = value  # the latest counts, as in Kafka's `lastHeader`
    return found


def _by_header(header: bytes, value: bytes) -> Frame:
    if len(header) == _GUID and header[0] == _GUID_MAGIC:
        return Frame(UUID(bytes=header[1:]), value)
    if len(header) == _HEAD and header[0] == _MAGIC:
        return Frame(int.from_bytes(header[1:], "big"), value)
    raise Undecodable(
        f"the header {SCHEMA_ID_HEADER} has {len(header)} bytes that are no schema id: "
        "01 and a GUID of 16 bytes are"
    )
