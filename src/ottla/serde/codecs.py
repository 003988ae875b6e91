"""By a topic's format and by what registry there is: what writes its values, and what reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from ottla.core.formats import Avro, Json
from ottla.core.frames import framed, is_framed, read_frame
from ottla.core.schemas import WantedSchema, subject_of
from ottla.errors import Undecodable, WiringError
from ottla.records import Headers
from ottla.serde.json import Decoder, Encoder, adapter_of, decoder, encoder, name_of, or_null, without_none
from ottla.serde.schemas import SchemaNotKnown, SchemaStore
from ottla.topics import Topic

_NO_HEADERS = Headers()


class Codecs:
    """Makes encoders and readers of topics. `schemas` is None where there is no registry.

    `topic_name` tells what a declared topic is called on the cluster. Topics that may be JSON are
    (`or_json`) unless `has_registry`, which by default follows from `schemas`.
    """

    def __init__(
        self,
        schemas: SchemaStore | None = None,
        *,
        topic_name: Callable[[str], str] = str,
        has_registry: bool | None = None,
    ) -> None:
        self._schemas = schemas
        self._topic_name = topic_name
        self._has_registry = schemas is not None if has_registry is None else has_registry

    def is_framed(self, topic: Topic[Any]) -> bool:
        """Whether values of `topic` are written with a schema."""
        format_ = topic.format
        return not isinstance(format_, Json) and (self._has_registry or not format_.or_json)

    def asks_to_read(self, topic: Topic[Any]) -> bool:
        """Whether a registry may be asked for what values of `topic` were written with."""
        return self.is_framed(topic) and isinstance(topic.format, Avro)

    def wanted(self, topic: Topic[Any]) -> WantedSchema | None:
        """The schema of `topic` as this process has it; None where it has none. Raises `WiringError`."""
        return self._made(topic)[0] if self.is_framed(topic) else None

    def encoder(self, topic: Topic[Any]) -> Encoder:
        """What writes values of `topic`: raises `Unencodable`, and `SchemaNotKnown` until the id is known.

        Raises:
            WiringError: the type does not fit the format, or there is no registry.
        """
        if not self.is_framed(topic):
            return encoder(topic.type)
        wanted, write = self._made(topic)
        store = self._store(topic)

        def encode(value: Any) -> bytes | None:
            if value is None:
                return None
            body = write(value)
            return framed(store.id_of(wanted), body)

        return encode

    def reader(self, topic: Topic[Any], annotation: Any) -> Decoder | FramedReader:
        """What reads values of `topic` as `annotation`. Raises `WiringError`."""
        format_ = topic.format
        if isinstance(format_, Json):
            return decoder(annotation)
        plain = decoder(annotation) if format_.or_json else None
        if self.is_framed(topic):
            return FramedReader(topic, annotation, self._store(topic), plain)
        return _without_registry(decoder(annotation))

    def _made(self, topic: Topic[Any]) -> tuple[WantedSchema, Callable[[Any], bytes]]:
        kept, _ = without_none(topic.type)
        subject = subject_of(self._topic_name(topic.name))
        _check_type(topic, kept)
        if isinstance(topic.format, Avro):
            from ottla.serde.avro import AvroWriter

            writer = AvroWriter(kept, topic.format.namespace)
            return WantedSchema(subject, "AVRO", writer.text), writer
        plain = encoder(kept)

        def write(value: Any) -> bytes:
            return plain(value) or b""

        return WantedSchema(subject, "JSON", _json_schema(kept)), write

    def _store(self, topic: Topic[Any]) -> SchemaStore:
        if self._schemas is None:
            raise WiringError(
                f"topic {topic.name!r} is {_name(topic)}: set SCHEMA_REGISTRY_URL (https://host:port), "
                f"or declare it with {_name(topic)}(or_json=True), which is JSON where that is not set"
            )
        return self._schemas


class FramedReader:
    """Reads values that name the schema they were written with. `plain` reads those that do not."""

    def __init__(self, topic: Topic[Any], annotation: Any, store: SchemaStore, plain: Decoder | None) -> None:
        kept, _ = without_none(annotation)
        self._store = store
        self._plain = plain
        self._null = or_null(annotation, lambda value: value)
        self._is_raw = kept is bytes
        self._is_avro = isinstance(topic.format, Avro)
        self._read_json: Decoder | None = None
        if self._is_raw or kept is type(None):
            self._read_json = decoder(annotation)
            self._is_raw = True
            return
        _check_type(topic, kept)
        if isinstance(topic.format, Avro):
            from ottla.serde.avro import AvroReader

            self._read_avro = AvroReader(kept, topic.format.namespace)
        else:
            self._read_json = decoder(kept)

    async def __call__(self, value: bytes | None, headers: Headers | None) -> Any:
        """The value, its schema asked for where it is not known yet.

        Raises:
            Undecodable: it is none of the type, has no frame, or a frame of a schema that is unknown.
            SchemaRegistryUnavailable: or another `Unavailable`: its schema cannot be asked for now.
        """
        try:
            return self.decode(value, headers)
        except SchemaNotKnown as unknown:
            learn = unknown.learn
        await learn()
        return self.decode(value, headers)

    def decode(self, value: bytes | None, headers: Headers | None) -> Any:
        """The value. Raises `Undecodable`, and `SchemaNotKnown` for a schema that is not known yet."""
        if value is None:
            return self._null(None)
        if self._is_raw and self._read_json is not None:
            return self._read_json(value)
        known = headers or _NO_HEADERS
        if self._plain is not None and not is_framed(value, known):
            return self._plain(value)
        ref, body = read_frame(value, known)
        if self._read_json is not None:
            return self._read_json(body)
        written = self._store.schema(ref)
        if written.kind != "AVRO":
            raise Undecodable(f"schema {ref} is {written.kind}, and the topic is AVRO")
        return self._read_avro(body, ref, written)


def _without_registry(decode: Decoder) -> Decoder:
    def decode_or_tell(value: bytes | None) -> Any:
        if value is not None and value[:1] == b"\0":
            raise Undecodable(
                "the value has the frame of a schema registry, and SCHEMA_REGISTRY_URL is not set: "
                "all services of a topic want the same"
            )
        return decode(value)

    return decode_or_tell


def _check_type(topic: Topic[Any], kept: Any) -> None:
    if any(kept is plain for plain in (bytes, str, type(None))):  # an Annotated need not have a hash
        raise WiringError(
            f"topic {topic.name!r}: {name_of(kept)} has no schema; for {_name(topic)} write a "
            "pydantic model, a dataclass or a TypedDict"
        )
    if isinstance(topic.format, Avro) and find_spec("fastavro") is None:
        raise WiringError(f"topic {topic.name!r} is {_name(topic)}: install ottla[registry]")


def _name(topic: Topic[Any]) -> str:
    return type(topic.format).__name__


def _json_schema(kept: Any) -> str:
    from pydantic.errors import PydanticInvalidForJsonSchema

    by_alias = bool(getattr(kept, "model_config", {}).get("serialize_by_alias"))
    try:
        schema = adapter_of(kept).json_schema(mode="serialization", by_alias=by_alias)
    except PydanticInvalidForJsonSchema as error:
        raise WiringError(f"{name_of(kept)} has no JSON Schema: {str(error).splitlines()[0]}") from error
    return json.dumps(schema, separators=(",", ":"))
