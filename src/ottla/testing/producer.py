"""Sends to the in-memory broker; what `kafka/producer.py` is on Kafka."""

from __future__ import annotations

import asyncio

from ottla.errors import ProducerClosed, SendRefused
from ottla.records import Headers, SendResult
from ottla.testing.clock import ManualClock
from ottla.testing.log import Topics


class InMemoryProducer:
    """Writes at once, and acknowledges a turn of the event loop later. Fills `ports.Producer`."""

    def __init__(self, topics: Topics, clock: ManualClock) -> None:
        self._topics = topics
        self._clock = clock
        self._is_closed = False

    async def start(self) -> None:
        """There is nothing to open."""

    async def close(self, timeout_s: float) -> None:
        """A send fails from now on."""
        self._is_closed = True

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
        """Write the record. Raises a `SendFailed`; a topic that is not there is made."""
        if self._is_closed:
            raise ProducerClosed(
                f"topic {topic!r}: the producer is closed; send between start and stop", topic=topic, key=key
            )
        log = self._topics.log(topic)
        if partition is not None and not 0 <= partition < log.partitions:
            raise SendRefused(
                f"topic {topic!r} has {log.partitions} partitions and no partition {partition}",
                topic=topic,
                key=key,
            )
        if timestamp_ms is None:
            timestamp_ms = self._clock.time_ms()
        record = log.append(
            key=key, value=value, headers=headers, timestamp_ms=timestamp_ms, partition=partition
        )
        await asyncio.sleep(0)  # others run meanwhile, as on Kafka
        return SendResult(topic, record.partition(), record.offset(), timestamp_ms)
