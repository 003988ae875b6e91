"""Acknowledged sends over librdkafka's producer.

Rules of this file:
- All of it runs on the event loop. A `SendingClient` has a thread, and reports here.
- A full local queue is waited for in a line, first come first served, and never raised.
- Cancelling a send that waits for room takes it out of the line. Cancelling one that waits for its
  acknowledgement does not: the record is in the queue and will most likely be written.
- A client is replaced by another when its user may not write at all, since an operator can cure that, and
  when a send has timed out: it may know the topic's leaders no more, as after the topic was deleted and
  made anew (librdkafka #4898); and when it calls a record written and cannot say where: it has lost count.
  The order of a topic survives: what comes later waits until the old client has nothing out for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaException

from ottla.errors import (
    FatalClientError,
    NotSerializable,
    ProducerClosed,
    SendFailed,
    SendTimedOut,
    SendUnproven,
    SettingsError,
)
from ottla.kafka.client_errors import record_name, send_failure
from ottla.kafka.sending_client import Report, SendingClient
from ottla.records import Headers, SendResult

_log = logging.getLogger(__name__)

_ANEW_S = 5.0
"""How long a client that is refused goes on refusing before another is made."""


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
        self._client: SendingClient | None = None
        self._former: SendingClient | None = None  # replaced, and not done with what is out
        self._replacing: asyncio.Task[None] | None = None
        self._held: set[str] = set()  # topics whose next record is for another client
        self._closing = False
        self._lines: dict[str, asyncio.Lock] = {}
        self._room = asyncio.Event()
        self._has_told_refusal = False

    async def start(self) -> None:
        """Make the client. Raises `SettingsError` for a property that librdkafka refuses."""
        self._loop = asyncio.get_running_loop()
        self._client = await asyncio.to_thread(self._make)
        self._client.start()

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
        }
        if partition is not None:
            record["partition"] = partition
        if timestamp_ms is not None:
            record["timestamp"] = timestamp_ms
        line = self._lines.get(topic) or self._lines.setdefault(topic, asyncio.Lock())
        if line.locked() or not self._enqueued(topic, record, acknowledged):
            async with line:  # behind those that came before
                while not self._enqueued(topic, record, acknowledged):
                    self._room.clear()
                    await self._room.wait()
        return await acknowledged

    async def close(self, timeout_s: float) -> None:
        """Wait for the acknowledgements that are out, `timeout_s` at most, and end the client.

        New sends and those that wait for room fail with `ProducerClosed`, and so does
        what is not acknowledged in time, though it may have been written.
        """
        self._closing = True
        self._room.set()
        if self._replacing is not None:
            self._replacing.cancel()
            with suppress(asyncio.CancelledError):
                await self._replacing
        clients = [client for client in (self._former, self._client) if client is not None]
        self._client = self._former = None
        try:
            async with asyncio.timeout(timeout_s):
                for client in clients:
                    await client.drained()
        except TimeoutError:
            _log.warning(
                "%s: %d sends were not acknowledged within %g s and are given up",
                self._name,
                sum(sum(client.out.values()) for client in clients),
                timeout_s,
            )
            for client in clients:
                await client.purge()
        for client in clients:
            await client.end()

    def _make(self) -> SendingClient:
        return SendingClient(
            self._properties,
            name=self._name,
            loop=self._loop,
            on_reports=self._resolve,
            on_refusal=self._refused,
            on_fatal=self._fatal,
        )

    def _enqueued(self, topic: str, record: dict[str, Any], acknowledged: asyncio.Future[SendResult]) -> bool:
        """Hand the record to the client; False when it has to wait."""
        client = self._client
        if client is None or self._closing:
            raise ProducerClosed(
                f"{record_name(topic, record['key'])}: the producer is closed; send between start and stop",
                topic=topic,
                key=record["key"],
            )
        if topic in self._held or (self._former is not None and topic in self._former.out):
            return False
        try:
            client.produce(topic, record, acknowledged)
        except BufferError:
            return False
        except KafkaException as error:
            reason = client.refusal or error.args[0]
            raise send_failure(reason, topic, record["key"], client.last_error) from error
        except (TypeError, ValueError, OverflowError) as error:
            raise NotSerializable(
                f"{record_name(topic, record['key'])}: the client takes no such record: {error}",
                topic=topic,
                key=record["key"],
            ) from error
        return True

    # -- what a client reports

    def _resolve(self, client: SendingClient, batch: list[Report]) -> None:
        client.settled(batch)
        for acknowledged, topic, error, message in batch:
            failure: SendFailed
            if error is not None:
                failure = send_failure(client.refusal or error, topic, message.key(), client.last_error)
            elif client.acknowledgements.proves(topic, message.partition(), message.offset()):
                self._has_told_refusal = False
                if not acknowledged.done():
                    acknowledged.set_result(_result(message))
                continue
            else:
                failure = _unproven(message)
            if isinstance(failure, SendTimedOut | SendUnproven) and client is self._client:
                self._held.add(topic)
                self._replace(client)
            if acknowledged.done():
                _log.error("%s: a send that nobody waits for failed: %s", self._name, failure)
            else:
                acknowledged.set_exception(failure)
        self._room.set()

    def _refused(self, client: SendingClient) -> None:
        if not self._has_told_refusal and client.refusal is not None:
            self._has_told_refusal = True
            cure = "grant WRITE on the topics that are sent to (MSK also WriteDataIdempotently)"
            text = "%s: %s; %s. It asks again every few seconds"
            _log.error(text, self._name, client.refusal.str(), cure)
        if client is self._client:
            self._replace(client)

    def _fatal(self, reason: str) -> None:
        report, self._on_fatal = self._on_fatal, None
        if report is not None:
            report(
                FatalClientError(
                    f"{self._name}: the Kafka client cannot go on: {reason}; start a new process"
                )
            )

    # -- another client

    def _replace(self, client: SendingClient) -> None:
        """One at a time; what comes meanwhile is looked at afterwards."""
        if self._replacing is None and not self._closing:
            self._replacing = asyncio.create_task(self._another(client), name=f"{self._name}: another client")
            self._replacing.add_done_callback(self._replaced)

    async def _another(self, former: SendingClient) -> None:
        if former.refusal is not None:
            await former.purge()
            await asyncio.sleep(_ANEW_S)
        another = await self._made_at_last()
        another.start()
        self._client, self._former = another, former
        if self._held:
            names = ", ".join(sorted(self._held))
            _log.warning("%s: sends to %s were not confirmed; another client takes over", self._name, names)
            self._held.clear()
        self._room.set()
        await former.drained()
        self._former = None
        self._room.set()
        await former.end()

    def _replaced(self, replacing: asyncio.Task[None]) -> None:
        self._replacing = None
        if replacing.cancelled():
            return
        if error := replacing.exception():
            self._fatal(f"no other client took over: {error!r}")
        elif self._client is not None and (self._held or self._client.refusal is not None):
            self._replace(self._client)

    async def _made_at_last(self) -> SendingClient:
        """The properties were good once; a file that they name may be away for a while."""
        while True:
            try:
                return await asyncio.to_thread(self._make)
            except SettingsError as error:
                _log.error("%s: no other client can be made: %s", self._name, error)
                await asyncio.sleep(_ANEW_S)


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


def _unproven(message: Any) -> SendUnproven:
    topic, key, offset = message.topic(), message.key(), message.offset()
    told = (
        "no offset"
        if offset is None
        else f"offset {offset}, which earlier answers had passed: unless the topic was made anew, another's"
    )
    text = (
        f"{record_name(topic, key)}: the broker's answer is no proof that it is written (partition "
        f"{message.partition()}, {told}); send it again, it may be there twice then"
    )
    return SendUnproven(text, topic=topic, key=key)


def _result(message: Any) -> SendResult:
    kind, timestamp_ms = message.timestamp()
    return SendResult(message.topic(), message.partition(), message.offset(), timestamp_ms if kind else None)
