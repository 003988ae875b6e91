"""How large a record is for a broker, which compares it with the topic's `max.message.bytes`.

Source: Apache Kafka 4.2, message format 2: `DefaultRecordBatch`, `DefaultRecord`.
"""

from __future__ import annotations

from ottla.records import Headers

_BATCH_OVERHEAD = 61
_RECORD_OVERHEAD = 3  # attributes, and the deltas of timestamp and offset, which are 0


def batch_bytes(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """The size of the record as an uncompressed batch of its own."""
    record = _RECORD_OVERHEAD + _content(key) + _content(value) + _varint(len(headers))
    record += sum(_content(name.encode()) + _content(content) for name, content in headers)
    return _BATCH_OVERHEAD + _varint(record) + record


def _content(content: bytes | None) -> int:
    """Its length, -1 for none, and itself."""
    return 1 if content is None else _varint(len(content)) + len(content)


def _varint(number: int) -> int:
    """A zigzag varint of a number that is not negative: seven bits a byte, one for the sign."""
    return number.bit_length() // 7 + 1
