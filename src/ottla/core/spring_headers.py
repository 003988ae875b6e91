"""The names of Spring Kafka's headers, and their bytes. Only what is in this file knows either.

Rules of this file:

- There are two families of names. A plain dead letter has `kafka_dlt-`; all that retry topics
  send, their dead letters included, has `kafka_`. One header has the same name in both:
  `kafka_dlt-original-consumer-group`.
- Numbers are big-endian and signed, of a fixed length; but the timestamps of retries take as few
  bytes as they need, as Java's `BigInteger` does: six until the year 6429.
- To decode never raises: bytes that do not fit are None, because anybody can write them.

Source: Spring Kafka 4.1.1 `KafkaHeaders`, `RetryTopicHeaders`, `DeadLetterRecordManager`,
`DeadLetterPublishingRecovererFactory`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_ATTEMPTS = 32_767
"""The highest attempt that Spring's reader believes: above it is the first again."""
_LONG_BYTES = 8


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """A kind of value: its bytes, and back; None where bytes are none of this kind."""

    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T | None]


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "big", signed=True)


def _fixed(length: int) -> Codec[int]:
    return Codec(
        lambda number: number.to_bytes(length, "big", signed=True),
        lambda raw: _number(raw) if len(raw) == length else None,
    )


def _minimal(number: int) -> bytes:
    bits = (number if number >= 0 else ~number).bit_length()
    return number.to_bytes(bits // 8 + 1, "big", signed=True)


def _attempt(raw: bytes) -> int | None:
    """One byte is how older versions of Spring wrote it, so that the text "2" is read as 50."""
    attempt = raw[0] if len(raw) == 1 else INT32.decode(raw)
    return attempt if attempt is not None and 1 <= attempt <= MOST_ATTEMPTS else None


# A lone surrogate (in the name of a class, say) is written as its escape rather than not at all.
TEXT: Codec[str] = Codec(lambda text: text.encode(errors="backslashreplace"), _text)
INT32, INT64 = _fixed(4), _fixed(8)
BIG_INTEGER: Codec[int] = Codec(_minimal, lambda raw: _number(raw) if 1 <= len(raw) <= _LONG_BYTES else None)
ATTEMPT: Codec[int] = Codec(INT32.encode, _attempt)


class Family(enum.Enum):
    """How the names of a failed record's headers begin."""

    DEAD_LETTER = "kafka_dlt-"
    RETRY_TOPIC = "kafka_"

    def header(self, what: str) -> str:
        """The name of the header that tells `what`, one of `FAILURE_CODECS`."""
        return GROUP_HEADER if what == "original-consumer-group" else f"{self.value}{what}"


GROUP_HEADER = "kafka_dlt-original-consumer-group"
ATTEMPTS_HEADER = "retry_topic-attempts"
FIRST_SEEN_HEADER = "retry_topic-original-timestamp"
DUE_HEADER = "retry_topic-backoff-timestamp"

FAILURE_CODECS: Mapping[str, Codec[int] | Codec[str]] = {
    "exception-fqcn": TEXT,
    "exception-cause-fqcn": TEXT,
    "exception-message": TEXT,
    "exception-stacktrace": TEXT,
    "key-exception-fqcn": TEXT,
    "key-exception-message": TEXT,
    "key-exception-stacktrace": TEXT,
    "original-topic": TEXT,
    "original-partition": INT32,
    "original-offset": INT64,
    "original-timestamp": INT64,
    "original-timestamp-type": TEXT,
    "original-consumer-group": TEXT,
}
"""What a failed record's headers tell, by the names without their family."""

RETRY_CODECS: Mapping[str, Codec[int]] = {
    FIRST_SEEN_HEADER: BIG_INTEGER,
    ATTEMPTS_HEADER: ATTEMPT,
    DUE_HEADER: BIG_INTEGER,
}
"""What retry topics add, in Spring's order. One more value a retry; the last one counts."""

CODECS: Mapping[str, Codec[int] | Codec[str]] = {
    **{family.header(what): codec for family in Family for what, codec in FAILURE_CODECS.items()},
    **RETRY_CODECS,
}
"""Every header of Spring Kafka's that we know, by its whole name."""
