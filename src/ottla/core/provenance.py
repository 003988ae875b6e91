"""What the headers of a record tell of its failures and retries, whoever wrote them.

Rules of this file:

- Nothing here raises: anybody can write a header. What does not fit is None.
- Of a name that repeats the last value counts, as in Spring. In the plain family that is the latest
  failure, because each one is appended; on retry topics the origin stays the first one's, because
  it is written once, and what failed is the latest, because it is replaced.
- Where both families are present, the one that was written last tells of the latest failure,
  and all is read from that one.

Source: Spring Kafka 4.1.1 `DeadLetterPublishingRecovererFactory`,
`KafkaBackoffAwareMessageListenerAdapter`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from ottla.core.headers import REASON_HEADER
from ottla.core.spring_headers import (
    ATTEMPT,
    ATTEMPTS_HEADER,
    BIG_INTEGER,
    DUE_HEADER,
    FAILURE_CODECS,
    FIRST_SEEN_HEADER,
    GROUP_HEADER,
    INT32,
    INT64,
    TEXT,
    Codec,
    Family,
)
from ottla.records import Headers

T = TypeVar("T")

DAY_MS = 86_400_000

_FAMILY_OF = {
    name: family
    for family in Family
    for name in map(family.header, FAILURE_CODECS)
    if name != GROUP_HEADER  # the same in both
}


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a failed record comes from and why it failed; None is what no header tells.

    `timestamp_type` is Java's word: `CreateTime`, `LogAppendTime` or `NoTimestampType`. Of a record
    whose key alone could not be decoded Spring tells that failure. `reason` is ours, and
    None when somebody else wrote of a failure since.
    """

    family: Family
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    timestamp_ms: int | None = None
    timestamp_type: str | None = None
    group: str | None = None
    exception: str | None = None
    cause: str | None = None
    message: str | None = None
    stack: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class RetryState:
    """Where a record stands on its way through retry topics; on its first topic, at attempt 1.

    `first_seen_ms` is its timestamp there, None when that is still its own. `due_ms` is
    when it may be handled, None when at once.
    """

    attempt: int
    first_seen_ms: int | None
    due_ms: int | None


def read_provenance(headers: Headers) -> Provenance | None:
    """What the headers tell of the record's latest failure; None when they tell of none."""
    last_at = {name: at for at, (name, _) in enumerate(headers)}
    latest = max((at for name, at in last_at.items() if name in _FAMILY_OF), default=-1)
    if latest < 0 and GROUP_HEADER not in last_at:
        return None
    family = _FAMILY_OF[headers[latest][0]] if latest >= 0 else Family.DEAD_LETTER
    topics_at = [at for at, (name, _) in enumerate(headers) if name == family.header("original-topic")]
    # What failed before the last origin but one was told is of an earlier failure, and the
    # latest one's has been left out, because the record was too large.
    told_before = topics_at[-2] if len(topics_at) > 1 else -1

    def origin(what: str, codec: Codec[T]) -> T | None:
        return _last(headers, family.header(what), codec)

    def failure(what: str) -> str | None:
        name = family.header(what)
        if name not in last_at:
            name = family.header(f"key-{what}")  # there is none of a cause: nothing is found
        return _last(headers, name, TEXT) if last_at.get(name, -1) > told_before else None

    return Provenance(
        family,
        topic=origin("original-topic", TEXT),
        partition=origin("original-partition", INT32),
        offset=origin("original-offset", INT64),
        timestamp_ms=origin("original-timestamp", INT64),
        timestamp_type=origin("original-timestamp-type", TEXT),
        group=origin("original-consumer-group", TEXT),
        exception=failure("exception-fqcn"),
        cause=failure("exception-cause-fqcn"),
        message=failure("exception-message"),
        stack=failure("exception-stacktrace"),
        reason=headers.text(REASON_HEADER) if last_at.get(REASON_HEADER, -1) > latest else None,
    )


def read_retry(headers: Headers, *, now_ms: int) -> RetryState:
    """The attempt that this delivery is, and its times, as Spring's reader takes them.

    A due time more than a day ahead of `now_ms` is taken for none: a clock or a writer is
    wrong, and waiting for it would hold up what is behind.
    """
    attempt = _last(headers, ATTEMPTS_HEADER, ATTEMPT)
    due_ms = _last(headers, DUE_HEADER, BIG_INTEGER)
    return RetryState(
        attempt=1 if attempt is None else attempt,
        first_seen_ms=_last(headers, FIRST_SEEN_HEADER, BIG_INTEGER),
        due_ms=None if due_ms is None or due_ms > now_ms + DAY_MS else due_ms,
    )


def _last(headers: Headers, name: str, codec: Codec[T]) -> T | None:
    raw = headers.last(name)
    return None if raw is None else codec.decode(raw)
