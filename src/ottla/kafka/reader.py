"""Reads what lies between two offsets of a topic, in no group: the cluster is as it was afterwards.

Rules of this file:

- Partitions are read one after the other, each in the order of its offsets, so that two
  readings of the same spans give the same records in the same order.
- A span ends at its end, or where the partition ends before: behind the last record there may
  be markers, aborted transactions or, in an open one, what may not be read yet.
- Every call on the Consumer is made on one thread, and the event loop waits for one at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from ottla.core.letters import Span
from ottla.errors import AuthenticationFailed, BrokerUnavailable, NotAuthorized, TopicMissing
from ottla.kafka.client_errors import made, unavailable
from ottla.kafka.properties import CLIENT_LOGGER
from ottla.ports import Message

T = TypeVar("T")

_POLL_S = 0.2
_ASK_S = 10.0
_ASK_AGAIN_S = 0.1
_SILENCE_S = 30.0
_BATCH = 500
_NO_PARTITION = -1


class TopicReader:
    """One consumer, for one task at a time. `properties` are `reader_properties(settings)`."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._properties = dict(properties)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reader")

    async def __aenter__(self) -> Self:
        """Make the client. Raises `SettingsError` for a property that librdkafka refuses."""
        make = partial(Consumer, dict(self._properties), logger=CLIENT_LOGGER)
        self._consumer = await self._on_thread(partial(made, make, "consumer"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._on_thread(self._consumer.close)
        self._thread.shutdown()

    async def spans(self, topic: str, partitions: Iterable[int]) -> dict[int, Span]:
        """From the oldest record to the end of each partition, as it is now."""
        return {number: await self._on_thread(partial(self._span, topic, number)) for number in partitions}

    async def read(self, topic: str, spans: Mapping[int, Span]) -> AsyncIterator[list[Message]]:
        """The records of `spans`, in batches that are never empty.

        Raises an `Unavailable` for what keeps it from reading, or when nothing came for half a minute.
        """
        for number, span in sorted(spans.items()):
            if span.start >= span.end:
                continue
            start = ClientPartition(topic, number, span.start)
            await self._on_thread(partial(self._consumer.assign, [start]))
            heard_at, has_ended = time.monotonic(), False
            while not has_ended:
                messages, has_ended = await self._on_thread(partial(self._poll, topic, number, span.end))
                if messages:
                    yield messages
                if messages or has_ended:
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > _SILENCE_S:
                    where = f"{topic}-{number}"
                    raise BrokerUnavailable(f"{where}: nothing came for {_SILENCE_S:g} s; check the brokers")

    def _span(self, topic: str, number: int) -> Span:
        """Asked again for a while: a topic that was just made, or whose leader moves, has none to tell."""
        deadline = time.monotonic() + _ASK_S
        while True:
            try:
                found = self._consumer.get_watermark_offsets(ClientPartition(topic, number), timeout=_ASK_S)
            except KafkaException as error:
                reason = unavailable(error.args[0], [topic], self._properties)
                if reason is not None or time.monotonic() > deadline:
                    raise reason or _no_offsets(topic, number, error.args[0].str()) from error
                time.sleep(_ASK_AGAIN_S)
                continue
            if found is None:
                raise _no_offsets(topic, number, f"no broker answers within {_ASK_S:g} s")
            return Span(*found)

    def _poll(self, topic: str, number: int, end: int) -> tuple[list[Message], bool]:
        """What came, and whether the span has ended."""
        first = self._consumer.poll(_POLL_S)
        if first is None:
            return [], False
        messages: list[Message] = []
        for each in [first, *self._consumer.consume(_BATCH, 0)]:
            error = each.error()
            message = cast("Message", each)  # an event names its partition, where it has one
            if message.partition() not in {number, _NO_PARTITION}:
                continue
            if error is None:
                if message.offset() < end:
                    messages.append(message)
                if message.offset() >= end - 1:
                    return messages, True
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  (public all the same)
                return messages, True
            elif isinstance(
                reason := unavailable(error, [topic], self._properties), AuthenticationFailed | TopicMissing
            ):
                raise reason
            elif error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise NotAuthorized(f"{error.str()}; grant READ on topic {topic}")
        return messages, False

    async def _on_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def _no_offsets(topic: str, number: int, said: str) -> BrokerUnavailable:
    cure = "check that Kafka runs, and that this user may READ the topic"
    return BrokerUnavailable(f"{topic}-{number}: its offsets cannot be asked: {said}; {cure}")
