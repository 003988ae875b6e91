"""Typed sends: `KafkaTemplate` acknowledged by the broker, `Publisher` what adapters ask for."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar
from uuid import UUID

from ottla.core.identity import EVENT_ID_HEADER
from ottla.errors import NotSerializable, WiringError
from ottla.ports import RecordProducer
from ottla.records import EncodedRecord, Headers, SendResult
from ottla.serde.codecs import Codecs
from ottla.serde.json import Encoder, Unencodable, encoder
from ottla.serde.schemas import SchemaNotKnown
from ottla.topics import Key, Topic, name_problem

T = TypeVar("T")

_RANDOM_BITS = 0xFFFFFFFF_FFFF_0FFF_3FFF_FFFFFFFFFFFF
_VERSION_4 = 0x00000000_0000_4000_8000_000000000000

HeaderValues = Mapping[str, str | bytes | None] | Iterable[tuple[str, str | bytes | None]]
"""Headers as callers write them; text travels as UTF-8."""


class Publisher(Protocol):
    """Sends events to topics: a `KafkaTemplate`, or a `Transaction`, which sends when it commits."""

    def send(self, topic: Topic[T], value: T, /, *, event_id: str | None = None) -> Awaitable[object]: ...


class RecordEncoder:
    """Turns what callers send into bytes. Safe to share between tasks and threads.

    `topic_name` tells what a declared topic is called on the cluster
    (`Settings.topic_name`); `codecs` writes values by their topic's format.
    """

    def __init__(
        self,
        *,
        topic_name: Callable[[str], str] = str,
        new_event_id: Callable[[], str] | None = None,
        codecs: Codecs | None = None,
    ) -> None:
        self._codecs = codecs or Codecs(topic_name=topic_name)
        self._topic_name = topic_name
        self._new_event_id = new_event_id or new_id
        self._by_topic: dict[str, tuple[Topic[Any], Encoder]] = {}
        self._by_type: dict[type, Encoder] = {}

    def encode(
        self,
        topic: Topic[T] | str,
        value: T | None,
        *,
        key: Key = None,
        headers: HeaderValues | None = None,
        event_id: str | None = None,
    ) -> EncodedRecord:
        """What a send of these would send.

        Raises `NotSerializable`, and `SchemaNotKnown` where the schema's id is to be asked for first.
        """
        declared = topic if isinstance(topic, str) else topic.name
        real = self._topic_name(declared)
        if isinstance(topic, str) and (problem := name_problem(real)):  # a Topic has told its own
            raise NotSerializable(f"topic {real!r}: {problem}", topic=real)
        wire_key = _wire_key(real, topic, value, key)
        try:
            wire_value = self._encode_value(topic, value)
            wire_headers = self._wire_headers(headers, event_id)
        except ValueError as error:
            raise NotSerializable(f"{_named(real, wire_key)}: {error}", topic=real, key=wire_key) from error
        return EncodedRecord(real, wire_key, wire_value, wire_headers)

    def _encode_value(self, topic: Topic[T] | str, value: T | None) -> bytes | None:
        if value is None:
            return None
        if isinstance(topic, Topic):
            return self._topic_encoder(topic)(value)
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            return value.encode()
        try:
            return self._type_encoder(type(value))(value)
        except WiringError as error:
            raise Unencodable(str(error)) from error

    def _topic_encoder(self, topic: Topic[Any]) -> Encoder:
        """Made once per topic. A Topic of the same name but other content gets its own."""
        known = self._by_topic.get(topic.name)
        if known is None or known[0] is not topic:
            known = self._by_topic[topic.name] = (topic, self._codecs.encoder(topic))
        return known[1]

    def _type_encoder(self, kind: type) -> Encoder:
        if kind not in self._by_type:
            self._by_type[kind] = encoder(kind)
        return self._by_type[kind]

    def _wire_headers(self, given: HeaderValues | None, event_id: str | None) -> Headers:
        if given is None:
            return Headers(((EVENT_ID_HEADER, (event_id or self._new_event_id()).encode()),))
        pairs = given.items() if isinstance(given, Mapping) else given
        headers = Headers((name, _header(name, value)) for name, value in pairs)
        if event_id is None and headers.text(EVENT_ID_HEADER):
            return headers
        others = Headers(pair for pair in headers if pair[0] != EVENT_ID_HEADER)
        return others.with_added((EVENT_ID_HEADER, (event_id or self._new_event_id()).encode()))


class KafkaTemplate(RecordEncoder):
    """Sends values to topics and returns once they are acknowledged. Safe to share between tasks."""

    def __init__(
        self,
        producer: RecordProducer,
        *,
        topic_name: Callable[[str], str] = str,
        new_event_id: Callable[[], str] | None = None,
        codecs: Codecs | None = None,
    ) -> None:
        super().__init__(topic_name=topic_name, new_event_id=new_event_id, codecs=codecs)
        self._producer = producer

    async def send(
        self,
        topic: Topic[T] | str,
        value: T | None,
        *,
        key: Key = None,
        headers: HeaderValues | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        event_id: str | None = None,
    ) -> SendResult:
        """Send `value` and return where it stands once every in-sync replica has it.

        The key is `key`, else what the topic's `key` tells of the value; None sends
        a null key. A value of None is a tombstone. Every record carries an event id:
        `event_id`, else a header of that name, else a new one. A topic given by name
        takes any value: bytes and str as they are, everything else as JSON.

        Raises a `SendFailed` that names topic and key: `NotSerializable`,
        `RecordTooLarge`, `SendTimedOut` or `SendUnproven` (it may still have been
        written), `SendRefused` or `ProducerClosed`. A cancelled send may still be written;
        sending again with the same `event_id` makes that one event. For a topic with a
        schema also `SchemaNotRegistered` or `SchemaRegistryUnavailable`.
        """
        try:
            record = self.encode(topic, value, key=key, headers=headers, event_id=event_id)
        except SchemaNotKnown as unknown:  # the first send to a topic that the app does not name
            await unknown.learn()
            record = self.encode(topic, value, key=key, headers=headers, event_id=event_id)
        return await self._producer.send(
            record.topic,
            key=record.key,
            value=record.value,
            headers=record.headers,
            partition=partition,
            timestamp_ms=timestamp_ms,
        )


def new_id() -> str:
    """The text of a random UUID; `str(uuid.uuid4())` takes 2.5 µs, as long as encoding a small event."""
    bits = int.from_bytes(os.urandom(16), "big") & _RANDOM_BITS | _VERSION_4
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def encode_key(key: Key) -> bytes | None:
    """A key's bytes as Java's serializers of text write them, so that murmur2 finds the same partition."""
    if key is None or isinstance(key, bytes):
        return key
    if isinstance(key, str | UUID | int):
        return str(key).encode()
    raise TypeError(f"a {type(key).__qualname__} is no key: give str, bytes, UUID, int or None")


def _wire_key(real: str, topic: Topic[Any] | str, value: Any, key: Key) -> bytes | None:
    try:
        if key is not None or isinstance(topic, str) or topic.key is None:
            return encode_key(key)
        if value is None:
            reason = "a tombstone has nothing to tell its key by; give key="
        else:
            return encode_key(topic.key(value))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise NotSerializable(
            f"topic {real!r}: the key of this {type(value).__qualname__} cannot be told: "
            f"{type(error).__name__}: {error}",
            topic=real,
        ) from error
    raise NotSerializable(f"topic {real!r}: {reason}", topic=real)


def _header(name: str, value: str | bytes | None) -> bytes | None:
    if not isinstance(name, str):
        raise Unencodable(f"a header's name must be str, not {type(name).__qualname__}")
    name.encode()
    if isinstance(value, str):
        return value.encode()
    if value is None or isinstance(value, bytes):
        return value
    raise Unencodable(f"header {name!r} must be str, bytes or None, not {type(value).__qualname__}")


def _named(topic: str, key: bytes | None) -> str:
    return f"topic {topic!r}, key {key!r}"
