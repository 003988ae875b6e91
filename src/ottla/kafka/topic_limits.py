"""Whether a topic is there and takes a record, told before the record is stored in the outbox.

What is stored is promised, so what could never be sent is refused while somebody is
there to be told. But orders are taken while Kafka is away: where no broker answers,
nothing is refused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from ottla.core.sizes import batch_bytes
from ottla.errors import NotAuthorized, RecordTooLarge, TopicMissing, Unavailable
from ottla.kafka.client_errors import record_name
from ottla.records import EncodedRecord

_FRESH_S = 60.0
_MISSING_FRESH_S = 1.0
_AGAIN_S = 5.0
"""How long nobody is asked after no broker has answered."""


class _Known(NamedTuple):
    at: float
    largest: int | None = None
    absent: Unavailable | None = None


class TellsLargestBatch(Protocol):
    """What is asked of a `ports.Cluster`."""

    async def largest_batch(self, topic: str) -> int | None: ...


class TopicLimits:
    """Fills `transaction.Check`. Safe to share between tasks; made on the event loop it belongs to."""

    def __init__(self, cluster: TellsLargestBatch, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster = cluster
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._unanswered_at = float("-inf")

    async def check(self, record: EncodedRecord) -> None:
        """Return when `record` can be sent, or nobody answers.

        Raises `TopicMissing`, `NotAuthorized` or `RecordTooLarge`.
        """
        known = self._known.get(record.topic)
        if known is None or known.absent is not None or self._clock() - known.at > _FRESH_S:
            asking = self._ask(record.topic)
            if asking is not None and (known is None or known.absent is not None):
                await asyncio.shield(asking)  # an old answer will do meanwhile, no answer will not
            known = self._known.get(record.topic)
        if known is None:
            return
        if known.absent is not None:
            raise type(known.absent)(str(known.absent))
        self._check_size(record, known.largest)

    def check_in_thread(self, record: EncodedRecord) -> None:
        """The same; blocks the calling thread, which is not the event loop's."""
        asyncio.run_coroutine_threadsafe(self.check(record), self._loop).result()

    def _check_size(self, record: EncodedRecord, largest: int | None) -> None:
        size = batch_bytes(record.key, record.value, record.headers)
        if largest is not None and size > largest:
            raise RecordTooLarge(
                f"{record_name(record.topic, record.key)}: {size} bytes, the topic takes {largest}; "
                "raise its max.message.bytes, or send a reference to the content",
                topic=record.topic,
                key=record.key,
            )

    def _ask(self, topic: str) -> asyncio.Task[None] | None:
        """The question under way, or a new one; None when it would be too soon."""
        if topic not in self._asking:
            now, known = self._clock(), self._known.get(topic)
            if now - self._unanswered_at < _AGAIN_S:
                return None
            if known is not None and known.absent is not None and now - known.at < _MISSING_FRESH_S:
                return None
            self._asking[topic] = self._loop.create_task(self._learn(topic), name=f"limits of {topic}")
        return self._asking[topic]

    async def _learn(self, topic: str) -> None:
        try:
            largest = await self._cluster.largest_batch(topic)
            self._known[topic] = _Known(self._clock(), largest)
        except (TopicMissing, NotAuthorized) as error:
            self._known[topic] = _Known(self._clock(), absent=error)
        except Unavailable:
            self._unanswered_at = self._clock()
            if (known := self._known.get(topic)) is not None and known.absent is not None:
                del self._known[topic]  # it may have been made since
        finally:
            del self._asking[topic]
