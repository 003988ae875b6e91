"""What checks compare with: words for what differs, and when a retry may be made."""

from __future__ import annotations

from ottla.core.provenance import RetryState, read_retry
from ottla.records import Record

LISTENER_FAILED = "org.springframework.kafka.listener.ListenerExecutionFailedException"
ILLEGAL_STATE = "java.lang.IllegalStateException"
NO_FUNDS = "tests.interop.world.NoFunds"

SPRING_IS_LATE_MS = 10_000
"""Neither side is ever early. Spring is late at most by this; it promises less."""
WE_ARE_LATE_MS = 5_000


def equal(found: object, wanted: object, what: str) -> None:
    """Raises AssertionError that names `what` when the two differ."""
    assert found == wanted, f"{what}: {found!r}, not {wanted!r}"


def retry_state(record: Record) -> RetryState:
    """What its headers tell of its retries."""
    assert record.timestamp_ms is not None, f"{record.topic} keeps no timestamps"
    return read_retry(record.headers, now_ms=record.timestamp_ms)


def due_ms(record: Record) -> int:
    """When it may be handled; AssertionError when it does not tell."""
    due_ms = retry_state(record).due_ms
    assert due_ms is not None, f"the record on {record.topic} has no due time"
    return due_ms


def failed_in_between(record: Record, called_ms: int, delay_ms: int) -> None:
    """The due time of `record` is so long after its failure, which was after the call and before the send."""
    failed_ms = due_ms(record) - delay_ms
    assert called_ms <= failed_ms <= (record.timestamp_ms or 0), f"due time on {record.topic}: {failed_ms}"


def in_time(at_ms: int, due_ms: int, what: str, most_ms: int = SPRING_IS_LATE_MS) -> None:
    """Neither early nor later than `most_ms`."""
    late_ms = at_ms - due_ms
    assert 0 <= late_ms < most_ms, f"{what} was made {late_ms} ms after its time"
