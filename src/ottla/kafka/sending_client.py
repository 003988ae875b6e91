"""One librdkafka producer: the thread that serves it, and what is out, by topic.

Rules of this file:
- `produce`, `out` and `drained` are the event loop's. One daemon thread polls for delivery reports and
  hands each batch of them to the loop in one call.
- The poll thread holds the last reference to the client: destroying it blocks.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from ottla.core.acknowledgements import Acknowledgements
from ottla.kafka.client_errors import UNAUTHORIZED, is_fatal, made
from ottla.kafka.properties import CLIENT_LOGGER
from ottla.records import SendResult

_POLL_S = 0.1

Report = tuple["asyncio.Future[SendResult]", str, KafkaError | None, Any]
"""What became of a send to a topic: no error once every in-sync replica has the record, and the message."""


class SendingClient:
    """`on_reports`, `on_refusal` and `on_fatal` are called on `loop`.

    A refusal is the end of a client whose user may not write at all, which an operator can
    cure; what is fatal, nobody can. It may be made in a thread: with tokens that takes a second.
    """

    def __init__(
        self,
        properties: Mapping[str, Any],
        *,
        name: str,
        loop: asyncio.AbstractEventLoop,
        on_reports: Callable[[SendingClient, list[Report]], None],
        on_refusal: Callable[[SendingClient], None],
        on_fatal: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._on_reports = on_reports
        self._on_refusal = on_refusal
        self._on_fatal = on_fatal
        self._reports: list[Report] = []
        self._is_ending = threading.Event()
        self._is_idle = asyncio.Event()
        self.out: dict[str, int] = {}
        """How many sends to each topic wait for their acknowledgement."""
        self.acknowledgements = Acknowledgements()
        self.last_error = ""
        """The client's latest trouble."""
        self.refusal: KafkaError | None = None
        """Why this client can send nothing more."""
        with_callbacks = {**properties, "error_cb": self._on_error}
        self._client = made(lambda: Producer(with_callbacks, logger=CLIENT_LOGGER), "producer")
        self._poller = threading.Thread(target=self._poll, args=(self._client,), name=name, daemon=True)

    def start(self) -> None:
        """Begin to serve it."""
        self._poller.start()

    def produce(self, topic: str, record: dict[str, Any], acknowledged: asyncio.Future[SendResult]) -> None:
        """Queue a record. Raises what the client raises: `BufferError` when its queue is full."""
        record["on_delivery"] = partial(self._delivered, acknowledged, topic)
        self._client.produce(topic, **record)
        self.out[topic] = self.out.get(topic, 0) + 1

    def settled(self, reports: list[Report]) -> None:
        """These are out no more."""
        for topic, count in Counter(topic for _, topic, _, _ in reports).items():
            self.out[topic] -= count
            if not self.out[topic]:
                del self.out[topic]
        if not self.out:
            self._is_idle.set()

    async def drained(self) -> None:
        """Until nothing is out."""
        while self.out:
            self._is_idle.clear()
            await self._is_idle.wait()

    async def purge(self) -> None:
        """Give up what is out: its reports come at once."""
        await asyncio.to_thread(self._client.purge)

    async def end(self) -> None:
        """Hand over the reports that are there, and destroy the client. Nothing is called after it."""
        del self._client
        self._is_ending.set()
        await asyncio.to_thread(self._poller.join)

    # What follows runs on the poll thread.

    def _poll(self, client: Producer) -> None:
        """Serve callbacks until told to end; the last reference dies here, off the loop."""
        while True:
            is_ending = self._is_ending.is_set()
            try:
                client.poll(0 if is_ending else _POLL_S)
            except KafkaException as error:  # what is fatal is raised, with its own code
                self._on_error(error.args[0])
            if self._reports:
                batch, self._reports = self._reports, []
                if not self._post(self._on_reports, self, batch):
                    return
            if is_ending:
                return

    def _delivered(
        self, acknowledged: asyncio.Future[SendResult], topic: str, error: KafkaError | None, message: Any
    ) -> None:
        self._reports.append((acknowledged, topic, error, message))

    def _on_error(self, error: KafkaError) -> None:
        self.last_error = error.str()
        if error.code() in UNAUTHORIZED and error.fatal():
            self.refusal = error
            self._post(self._on_refusal, self)
        elif is_fatal(error):
            self._post(self._on_fatal, error.str())

    def _post(self, call: Callable[..., None], *arguments: Any) -> bool:
        """Have the loop do it; False when the loop was closed under us, and nobody waits any more."""
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            return False
        return True
