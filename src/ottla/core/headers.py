"""What a failed record says of itself, in the header names and bytes of Spring Kafka.

Rules of this file:

- The record's own headers stay byte for byte and stand before ours. Readers take the last value of a name.
- A plain dead letter appends everything each time, so that a replayed one tells of both failures.
- On retry topics the origin is that of the first topic and stays; what failed is replaced each
  time; which attempt, since when and until when is appended.
- Text is bounded, because a broker refuses a record whose stack trace made it too large,
  and then the dead letter could never be written.

Source: Spring Kafka 4.1.1 `DeadLetterRecordManager`, with `appendOriginalHeaders` off for retry
topics as `DeadLetterPublishingRecovererFactory` has it. There a plain dead letter's exception
headers are replaced as well.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from ottla.core.decide import Reason
from ottla.core.spring_headers import (
    ATTEMPT,
    ATTEMPTS_HEADER,
    BIG_INTEGER,
    DUE_HEADER,
    FIRST_SEEN_HEADER,
    GROUP_HEADER,
    INT32,
    INT64,
    RETRY_CODECS,
    TEXT,
    Family,
)
from ottla.records import Headers


def dead_letter_headers(
    original: Headers | None, origin: Origin, reason: Reason, error: BaseException, hop: Hop | None = None
) -> Headers:
    """The headers of a dead letter: the record's own, then why it failed, where it stood, and the reason.

    `original` is None when the client cannot read the record's headers (a name that is
    not UTF-8): then a marker says that they are lost. `hop` belongs to a dead letter of a
    listener with retry topics, wherever it failed, and puts all names into that family.
    """
    if hop is None:
        family, own = Family.DEAD_LETTER, _readable(original)
        headers = own.with_added(*_failure(error, family), *_where(origin, family))
    else:
        headers = retry_headers(original, origin, error, hop)
    return headers.with_added((REASON_HEADER, TEXT.encode(reason.value)))


def retry_headers(original: Headers | None, origin: Origin, error: BaseException, hop: Hop) -> Headers:
    """The headers of a record on its way to a retry topic.

    `origin` is where it stands now, and is written only where no header tells of an earlier
    topic. Headers that name another group than ours are of another journey, and so
    are all the others that tell of an origin: ours are written behind them. Otherwise a
    record replayed after another group's failure would be taken for that group's, and skipped.
    """
    failure = _failure(error, Family.RETRY_TOPIC)
    replaced = {name for name, _ in failure}
    kept = Headers(pair for pair in _readable(original) if pair[0] not in replaced)
    return kept.with_added(
        *failure,
        *_origin_untold(kept, origin),
        (FIRST_SEEN_HEADER, BIG_INTEGER.encode(hop.first_seen_ms)),
        (ATTEMPTS_HEADER, ATTEMPT.encode(hop.attempt)),
        (DUE_HEADER, BIG_INTEGER.encode(hop.due_ms)),
    )


MAX_MESSAGE_BYTES = 2_048
MAX_STACK_BYTES = 8_192
REASON_HEADER = "ottla-dead-letter-reason"
HEADERS_LOST_HEADER = "ottla-headers-lost"
_TIMESTAMP_TYPES = {0: "NoTimestampType", 1: "CreateTime", 2: "LogAppendTime"}

_Pairs = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record stood when its group gave it up. `timestamp_type` is the client's number."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    timestamp_type: int
    group: str


@dataclass(frozen=True, slots=True)
class Hop:
    """What a record takes along to the next topic on its way through retry topics.

    `attempt` is the one to come, so 2 behind the first failure; `first_seen_ms` the record's timestamp on
    its first topic; `due_ms` when it may be handled, for a dead letter the time of the failure.
    """

    attempt: int
    first_seen_ms: int
    due_ms: int


def without_stack(headers: Headers) -> Headers:
    """The headers without the stack trace that we wrote, for a record that was refused as too large.

    An earlier stack trace stays: a replayed record brought it along. The same headers
    where there is none of ours.
    """
    family, ours = _latest_failure(headers)
    stack = family.header("exception-stacktrace")
    return Headers((*headers[:ours], *(pair for pair in headers[ours:] if pair[0] != stack)))


def without_added(headers: Headers) -> Headers:
    """What is left when a record is too large even without its stack: of ours only what finds its origin.

    That is topic, partition, offset, timestamp (a record without an id of its own is known by all four),
    group and reason, and of what retry topics wrote the last values. The record's
    own headers stay; the same headers where there is nothing to leave out.
    """
    family, ours = _latest_failure(headers)
    dispensable = {family.header(what) for what in _DISPENSABLE}
    last_retry = {name: at for at, (name, _) in enumerate(headers) if name in RETRY_CODECS}
    return Headers(
        pair
        for at, pair in enumerate(headers)
        if not (at >= ours and pair[0] in dispensable)
        and not (family is Family.RETRY_TOPIC and last_retry.get(pair[0], at) != at)
    )


_DISPENSABLE = (
    "exception-fqcn",
    "exception-cause-fqcn",
    "exception-message",
    "exception-stacktrace",
    "original-timestamp-type",
)


def class_name(error: BaseException) -> str:
    """`module.Class`, as Java writes a class name."""
    cls = type(error)
    return f"{cls.__module__}.{cls.__qualname__}"


def _readable(original: Headers | None) -> Headers:
    if original is None:
        return Headers(((HEADERS_LOST_HEADER, b"a header name is not UTF-8"),))
    return original


def _failure(error: BaseException, family: Family) -> _Pairs:
    """Class, cause, message and stack. The cause is the explicit one (`raise … from`), else the error itself.

    All text is taken from `traceback`, which bears an exception whose `__str__` raises:
    that one would otherwise have no dead letter, and come back for ever.
    """
    cause = error.__cause__ or error
    message = _text(error) if cause is error else f"{_text(error)}; {_text(cause)}"
    stack = "".join(traceback.format_exception(error))
    return (
        (family.header("exception-fqcn"), TEXT.encode(class_name(error))),
        (family.header("exception-cause-fqcn"), TEXT.encode(class_name(cause))),
        (family.header("exception-message"), _bounded(message, MAX_MESSAGE_BYTES)),
        (family.header("exception-stacktrace"), _bounded_tail(stack, MAX_STACK_BYTES)),
    )


def _where(origin: Origin, family: Family) -> _Pairs:
    return (
        (family.header("original-topic"), TEXT.encode(origin.topic)),
        (family.header("original-partition"), INT32.encode(origin.partition)),
        (family.header("original-offset"), INT64.encode(origin.offset)),
        (family.header("original-timestamp"), INT64.encode(origin.timestamp_ms)),
        (family.header("original-timestamp-type"), TEXT.encode(_TIMESTAMP_TYPES[origin.timestamp_type])),
        (GROUP_HEADER, TEXT.encode(origin.group)),
    )


def _origin_untold(headers: Headers, origin: Origin) -> _Pairs:
    """What is to be written of the origin behind `headers`: all of it, or what no header tells yet."""
    told = {name for name, _ in headers}
    where = _where(origin, Family.RETRY_TOPIC)
    if GROUP_HEADER in told and headers.last(GROUP_HEADER) != TEXT.encode(origin.group):
        return where
    return tuple(pair for pair in where if pair[0] not in told)


def _latest_failure(headers: Headers) -> tuple[Family, int]:
    """The family of the last failure that is told, and where the headers begin that were written with it."""
    firsts = {family.header("exception-fqcn"): family for family in Family}
    for at in range(len(headers) - 1, -1, -1):
        if (family := firsts.get(headers[at][0])) is not None:
            return family, at
    return Family.DEAD_LETTER, len(headers)


def _text(error: BaseException) -> str:
    return str(traceback.TracebackException(type(error), error, None))


def _bounded(text: str, most: int) -> bytes:
    raw = TEXT.encode(text)
    return raw if len(raw) <= most else raw[: most - 3].decode(errors="ignore").encode() + b"..."


def _bounded_tail(text: str, most: int) -> bytes:
    """The end of `text`: the innermost frame and the message stand last in a Python traceback."""
    raw = TEXT.encode(text)
    return raw if len(raw) <= most else b"..." + raw[3 - most :].decode(errors="ignore").encode()
