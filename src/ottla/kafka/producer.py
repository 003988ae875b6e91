"""Acknowledged sends over librdkafka's producer.

Rules of this file:
- `produce` is called on the loop's thread; one daemon thread polls for delivery reports and hands
  each batch of them to the loop in one call, where their futures are resolved.
- A full local queue is waited for in a line, first come first served, and never raised.
- Cancelling a send that waits for room takes it out of the line. Cancelling one that waits for its
  acknowledgement does not: the record is in the queue and will most likely be written.
- A client whose user may not write at all is at its end, though an operator can cure that: its records
  are refused, and another is made.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from ottla.errors import FatalClientError, NotSerializable, ProducerClosed
from ottla.kafka.client_errors import UNAUTHORIZED, is_fatal, made, record_name, send_failure
from ottla.kafka.properties import CLIENT_LOGGER
from ottla.records import Headers, SendResult

_log = logging.getLogger(__name__)

_POLL_S = 0.1
_ANEW_S = 5.0
"""How long a client that is at its end goes on refusing before another is made."""

_Report = tuple["asyncio.Future[SendResult]", KafkaError | None, Any]


class KafkaProducer:
    """Sends for the tasks of one event loop; fills `ports.RecordProducer`.

    `properties` are `producer_properties(settings)`. `on_fatal` is called on the
    loop, at most once, when the client cannot go on.
    """

    def __init__(
        self,
        properties: Mapping[str, Any],
        *,
        name: str = "producer",
        on_fatal: Callable[[FatalClientError], None] | None = None,
    ) -> None:
        self._properties = properties
        self._name = name
        self._on_fatal = on_fatal
        self._client: Producer | None = None
        self._closing = False
        self._unacknowledged = 0
        self._line = asyncio.Lock()
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._reports: list[_Report] = []
        self._last_error = ""
        self._refusal: KafkaError | None = None
        self._has_told_refusal = False

    async def start(self) -> None:
        """Make the client. Raises `SettingsError` for a property that librdkafka refuses."""
        self._loop = asyncio.get_running_loop()
        self._stop_polling = threading.Event()
        self._client = await asyncio.to_thread(self._make)
        self._poller = threading.Thread(target=self._poll, args=(self._client,), name=self._name, daemon=True)
        self._poller.start()

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> SendResult:
        """Return once every in-sync replica has the record. Raises a `SendFailed`."""
        acknowledged: asyncio.Future[SendResult] = asyncio.get_running_loop().create_future()
        record: dict[str, Any] = {
            "key": key,
            "value": value,
            "headers": _client_headers(topic, key, headers),
            "on_delivery": partial(self._delivered, acknowledged),
        }
        if partition is not None:
            record["partition"] = partition
        if timestamp_ms is not None:
            record["timestamp"] = timestamp_ms
        if self._line.locked() or not self._enqueued(topic, record):
            await self._enqueue_in_turn(topic, record)
        return await acknowledged

    async def close(self, timeout_s: float) -> None:
        """Wait for the acknowledgements that are out, `timeout_s` at most, and end the client.

        New sends and those that wait for room fail with `ProducerClosed`, and so does
        what is not acknowledged in time, though it may have been written.
        """
        client, self._closing = self._client, True
        if client is None:
            return
        self._room.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self._acknowledged_all()
        except TimeoutError:
            _log.warning(
                "%s: %d sends were not acknowledged within %g s and are given up",
                self._name,
                self._unacknowledged,
                timeout_s,
            )
            await asyncio.to_thread(client.purge)
        # The poll thread is to hold the last reference: destroying the client blocks.
        del client
        self._client = None
        self._stop_polling.set()
        await asyncio.to_thread(self._poller.join)

    async def _acknowledged_all(self) -> None:
        while self._unacknowledged:
            self._idle.clear()
            await self._idle.wait()

    async def _enqueue_in_turn(self, topic: str, record: dict[str, Any]) -> None:
        """Behind those that came before; each delivered batch lets the first in line try again."""
        async with self._line:
            while not self._enqueued(topic, record):
                self._room.clear()
                await self._room.wait()

    def _enqueued(self, topic: str, record: dict[str, Any]) -> bool:
        """Hand the record to librdkafka; False when its queue is full."""
        client = self._client
        if client is None or self._closing:
            raise ProducerClosed(
                f"{record_name(topic, record['key'])}: the producer is closed; send between start and stop",
                topic=topic,
                key=record["key"],
            )
        try:
            client.produce(topic, **record)
        except BufferError:
            return False
        except KafkaException as error:
            reason = self._refusal or error.args[0]
            raise send_failure(reason, topic, record["key"], self._last_error) from error
        except (TypeError, ValueError, OverflowError) as error:
            raise NotSerializable(
                f"{record_name(topic, record['key'])}: the client takes no such record: {error}",
                topic=topic,
                key=record["key"],
            ) from error
        self._unacknowledged += 1
        return True

    # What follows runs on the poll thread.

    def _poll(self, client: Producer) -> None:
        """Serve callbacks until told to stop; the last reference dies here, off the loop."""
        while True:
            stopping = self._stop_polling.is_set()
            try:
                client.poll(0 if stopping else _POLL_S)
            except KafkaException as error:  # what is fatal is raised, with its own code
                self._on_error(error.args[0])
            if self._reports:
                batch, self._reports = self._reports, []
                if not self._post(self._resolve, batch):
                    return
            if stopping:
                return
            if self._refusal is not None:
                client = self._anew(client)

    def _make(self) -> Producer:
        properties = {**self._properties, "error_cb": self._on_error}
        return made(lambda: Producer(properties, logger=CLIENT_LOGGER), "producer")

    def _anew(self, client: Producer) -> Producer:
        """Another client, after a while; what the old one holds is refused, and it dies here."""
        client.purge()
        with suppress(KafkaException):  # the same again
            client.poll(0)
        batch, self._reports = self._reports, []
        self._post(self._resolve, batch)
        if self._stop_polling.wait(_ANEW_S):
            return client
        another, is_taken = self._make(), threading.Event()
        self._post(self._take, (another, is_taken))
        while not is_taken.wait(_POLL_S) and not self._stop_polling.is_set():
            continue
        return another

    def _delivered(
        self, acknowledged: asyncio.Future[SendResult], error: KafkaError | None, message: Any
    ) -> None:
        self._reports.append((acknowledged, error, message))

    def _on_error(self, error: KafkaError) -> None:
        self._last_error = error.str()
        if error.code() in UNAUTHORIZED and error.fatal():
            if not self._has_told_refusal:
                self._has_told_refusal = True
                cure = "grant WRITE on the topics that are sent to (MSK also WriteDataIdempotently)"
                _log.error("%s: %s; %s. It asks again every few seconds", self._name, error.str(), cure)
            self._refusal = error
        elif is_fatal(error):
            self._post(self._fatal, error.str())

    def _post(self, call: Callable[[Any], None], argument: Any) -> bool:
        """Have the loop do it; False when the loop was closed under us, and nobody waits any more."""
        try:
            self._loop.call_soon_threadsafe(call, argument)
        except RuntimeError:
            return False
        return True

    # What follows runs on the loop.

    def _resolve(self, batch: list[_Report]) -> None:
        self._unacknowledged -= len(batch)
        for acknowledged, error, message in batch:
            if error is None:
                self._has_told_refusal = False
                if not acknowledged.done():
                    acknowledged.set_result(_result(message))
                continue
            failure = send_failure(self._refusal or error, message.topic(), message.key(), self._last_error)
            if acknowledged.done():
                _log.error("%s: a send that nobody waits for failed: %s", self._name, failure)
            else:
                acknowledged.set_exception(failure)
        self._room.set()
        if not self._unacknowledged:
            self._idle.set()

    def _take(self, another: tuple[Producer, threading.Event]) -> None:
        client, is_taken = another
        if not self._closing:
            self._client, self._refusal = client, None
        is_taken.set()

    def _fatal(self, reason: str) -> None:
        report, self._on_fatal = self._on_fatal, None
        if report is not None:
            report(
                FatalClientError(
                    f"{self._name}: the Kafka client cannot go on: {reason}; start a new process"
                )
            )


def _client_headers(topic: str, key: bytes | None, headers: Headers) -> list[tuple[str, bytes | None]]:
    """Headers as the client takes them, without the names that it does not survive.

    confluent-kafka 2.16.1 ends the process by a segmentation fault when a name has no
    UTF-8 form, and cuts names at a NUL.
    """
    for name, _ in headers:
        if "\0" in name or not _has_utf8(name):
            text = f"{record_name(topic, key)}: the header name {name!r} cannot be sent; take UTF-8, no NUL"
            raise NotSerializable(text, topic=topic, key=key)
    return list(headers)


def _has_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _result(message: Any) -> SendResult:
    kind, timestamp_ms = message.timestamp()
    return SendResult(message.topic(), message.partition(), message.offset(), timestamp_ms if kind else None)
