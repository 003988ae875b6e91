"""Sends a record that may be a dead letter, whichever road it comes by."""

from __future__ import annotations

from ottla.core.headers import without_added, without_stack
from ottla.errors import RecordTooLarge
from ottla.ports import RecordProducer
from ottla.records import EncodedRecord


async def publish(producer: RecordProducer, record: EncodedRecord) -> None:
    """Return once it is acknowledged; what failed goes with less about its failure rather than not at all.

    First without its stack trace, then with nothing but where it comes from. A record that is
    too large without that is so for its own size, and stays where it is. Raises a `SendFailed`.
    """
    try:
        return await _send(producer, record)
    except RecordTooLarge:
        whole = record.headers  # shrunk only now: most records are none that failed, and none is too large
        smaller = [each for each in (without_stack(whole), without_added(whole)) if each != whole]
        if not smaller:
            raise
    *larger, smallest = dict.fromkeys(smaller)
    for headers in larger:
        try:
            return await _send(producer, record._replace(headers=headers))
        except RecordTooLarge:
            continue
    return await _send(producer, record._replace(headers=smallest))


async def _send(producer: RecordProducer, record: EncodedRecord) -> None:
    await producer.send(
        record.topic, key=record.key, value=record.value, headers=record.headers, partition=record.partition
    )
