"""What a dead letter says of itself, in the header names and bytes of Spring Kafka.

Numbers are big-endian: int32 for partitions, int64 for offsets and timestamps. Ours are
appended behind the record's own headers, which stay byte for byte; readers take the
last value of a name. Text is bounded, because a broker refuses a record whose stack
trace made it too large, and then the dead letter could never be written.

Source: Spring Kafka 4.1.1 `DeadLetterPublishingRecoverer`, `KafkaHeaders.DLT_*`.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from ottla.core.decide import Reason
from ottla.records import Headers

MAX_MESSAGE_BYTES = 2_048
MAX_STACK_BYTES = 8_192
REASON_HEADER = "ottla-dead-letter-reason"
HEADERS_LOST_HEADER = "ottla-headers-lost"
_STACK_HEADER = "kafka_dlt-exception-stacktrace"
_TIMESTAMP_TYPES = {0: "NoTimestampType", 1: "CreateTime", 2: "LogAppendTime"}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record stood when its group gave it up. `timestamp_type` is the client's number."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    timestamp_type: int
    group: str


def dead_letter_headers(
    original: Headers | None, origin: Origin, reason: Reason, error: BaseException
) -> Headers:
    """The headers of a dead letter: the record's own, then why it failed and where it stood.

    `original` is None when the client cannot read the record's headers (a name that is
    not UTF-8): then a marker says that they are lost.
    """
    lost = ((HEADERS_LOST_HEADER, b"a header name is not UTF-8"),) if original is None else ()
    return (original or Headers()).with_added(
        *lost,
        *_failure(error),
        ("kafka_dlt-original-topic", origin.topic.encode()),
        ("kafka_dlt-original-partition", origin.partition.to_bytes(4, "big")),
        ("kafka_dlt-original-offset", origin.offset.to_bytes(8, "big")),
        ("kafka_dlt-original-timestamp", origin.timestamp_ms.to_bytes(8, "big", signed=True)),
        ("kafka_dlt-original-timestamp-type", _TIMESTAMP_TYPES[origin.timestamp_type].encode()),
        ("kafka_dlt-original-consumer-group", origin.group.encode()),
        (REASON_HEADER, reason.value.encode()),
    )


def _failure(error: BaseException) -> tuple[tuple[str, bytes], ...]:
    """Class, cause, message and stack. The cause is the explicit one (`raise … from`), else the error itself.

    All text is taken from `traceback`, which bears an exception whose `__str__` raises:
    that one would otherwise have no dead letter, and come back for ever.
    """
    cause = error.__cause__ or error
    message = _text(error) if cause is error else f"{_text(error)}; {_text(cause)}"
    stack = "".join(traceback.format_exception(error))
    return (
        ("kafka_dlt-exception-fqcn", class_name(error).encode()),
        ("kafka_dlt-exception-cause-fqcn", class_name(cause).encode()),
        ("kafka_dlt-exception-message", _bounded(message, MAX_MESSAGE_BYTES)),
        (_STACK_HEADER, _bounded_tail(stack, MAX_STACK_BYTES)),
    )


def without_stack(headers: Headers) -> Headers:
    """A dead letter's headers without its stack trace, for a record that was refused as too large.

    An earlier stack trace stays: a replayed record brought it along. The same headers
    where there is none.
    """
    ours = max((at for at, (name, _) in enumerate(headers) if name == _STACK_HEADER), default=len(headers))
    return Headers((*headers[:ours], *headers[ours + 1 :]))


def _text(error: BaseException) -> str:
    return str(traceback.TracebackException(type(error), error, None))


def class_name(error: BaseException) -> str:
    """`module.Class`, as Java writes a class name."""
    cls = type(error)
    return f"{cls.__module__}.{cls.__qualname__}"


def _bounded(text: str, most: int) -> bytes:
    raw = text.encode(errors="backslashreplace")
    return raw if len(raw) <= most else raw[: most - 3].decode(errors="ignore").encode() + b"..."


def _bounded_tail(text: str, most: int) -> bytes:
    """The end of `text`: the innermost frame and the message stand last in a Python traceback."""
    raw = text.encode(errors="backslashreplace")
    return raw if len(raw) <= most else b"..." + raw[3 - most :].decode(errors="ignore").encode()
