"""Sends a record that may be a dead letter, whichever road it comes by."""

from __future__ import annotations

from ottla.core.headers import without_stack
from ottla.errors import RecordTooLarge
from ottla.ports import RecordProducer
from ottla.records import EncodedRecord


async def publish(producer: RecordProducer, record: EncodedRecord) -> None:
    """Return once it is acknowledged; a dead letter goes without its stack trace rather than not at all.

    Raises a `SendFailed`.
    """
    try:
        await _send(producer, record)
    except RecordTooLarge:
        smaller = without_stack(record.headers)
        if smaller == record.headers:
            raise
        await _send(producer, record._replace(headers=smaller))


async def _send(producer: RecordProducer, record: EncodedRecord) -> None:
    await producer.send(
        record.topic, key=record.key, value=record.value, headers=record.headers, partition=record.partition
    )
