from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottla.core.decide import Reason
from ottla.core.headers import (
    REASON_HEADER,
    Hop,
    Origin,
    dead_letter_headers,
    retry_headers,
    without_added,
    without_stack,
)
from ottla.core.provenance import Provenance, RetryState, read_provenance, read_retry
from ottla.core.spring_headers import CODECS, Family
from ottla.records import Headers
from tests.support.spring_records import captured

SPRING = {case: record.headers for case, record in captured().items()}
NOW = 1_795_407_112_963
DAY_MS = 86_400_000
LEFE = "org.springframework.kafka.listener.ListenerExecutionFailedException"
ILLEGAL_STATE = "java.lang.IllegalStateException"
DESERIALIZATION = "org.springframework.kafka.support.serializer.DeserializationException"
PLAIN, RETRY = Family.DEAD_LETTER, Family.RETRY_TOPIC
ORIGIN = Origin("orders", 3, 41, 1_700_000_000_000, 2, "billing")
HOP = Hop(2, 1_700_000_000_000, NOW)


@pytest.mark.parametrize(
    ("case", "family", "origin", "failure"),
    [
        (
            "failing listener",
            PLAIN,
            ("sk.orders", 1, "sk-orders"),
            (
                LEFE,
                ILLEGAL_STATE,
                "Listener method 'void demo.Peer.orders(demo.Peer$Order)' threw exception; bad qty",
            ),
        ),
        (
            "undecodable value",
            PLAIN,
            ("sk.orders", 5, "sk-orders"),
            (DESERIALIZATION, DESERIALIZATION, "failed to deserialize"),
        ),
        ("first retry", RETRY, ("sk.pay", 2, "sk-pay"), (LEFE, ILLEGAL_STATE, "Listener failed; no funds")),
        ("second retry", RETRY, ("sk.pay", 2, "sk-pay"), (LEFE, ILLEGAL_STATE, "Listener failed; no funds")),
        (
            "dead letter of retry topics",
            RETRY,
            ("sk.pay", 2, "sk-pay"),
            (LEFE, ILLEGAL_STATE, "Listener failed; no funds"),
        ),
    ],
)
def test_what_spring_wrote_is_read(
    case: str, family: Family, origin: tuple[str, int, str], failure: tuple[str, str, str]
) -> None:
    told = read_provenance(SPRING[case])

    assert told is not None
    assert told.family is family
    assert (told.topic, told.partition, told.group) == origin
    assert (told.exception, told.cause, told.message) == failure
    assert (told.offset, told.timestamp_ms, told.timestamp_type) == (2, 0x1A2069A69B6, "CreateTime")
    assert (told.stack or "").startswith(failure[0])
    assert told.reason is None


@pytest.mark.parametrize("hop", [None, HOP])
def test_what_we_write_is_read_again(hop: Hop | None) -> None:
    headers = dead_letter_headers(Headers(), ORIGIN, Reason.FATAL, ValueError("no"), hop)

    assert read_provenance(headers) == Provenance(
        RETRY if hop else PLAIN,
        topic="orders",
        partition=3,
        offset=41,
        timestamp_ms=1_700_000_000_000,
        timestamp_type="LogAppendTime",
        group="billing",
        exception="builtins.ValueError",
        cause="builtins.ValueError",
        message="no",
        stack="ValueError: no\n",
        reason="fatal exception",
    )


@pytest.mark.parametrize(
    "pairs", [[], [("trace", b"1")], [("retry_topic-attempts", b"\x02")], [(REASON_HEADER, b"x")]]
)
def test_headers_that_tell_of_no_failure_have_no_provenance(pairs: list[tuple[str, bytes]]) -> None:
    assert read_provenance(Headers(pairs)) is None


@pytest.mark.parametrize(
    ("name", "raw", "field", "value"),
    [
        ("kafka_dlt-original-topic", b"orders", "topic", "orders"),
        ("kafka_original-topic", b"orders", "topic", "orders"),
        ("kafka_dlt-original-consumer-group", b"billing", "group", "billing"),
        ("kafka_dlt-key-exception-fqcn", b"java.E", "exception", "java.E"),
        ("kafka_key-exception-message", b"no", "message", "no"),
        ("kafka_exception-cause-fqcn", b"java.E", "cause", "java.E"),
        ("kafka_dlt-original-topic", b"\xff", "topic", None),
        ("kafka_dlt-original-topic", None, "topic", None),
        ("kafka_dlt-original-partition", b"1", "partition", None),
        ("kafka_dlt-original-offset", b"\x00" * 4, "offset", None),
        ("kafka_dlt-original-timestamp", b"", "timestamp_ms", None),
        ("kafka_exception-stacktrace", b"\xc3", "stack", None),
    ],
)
def test_one_header_alone_is_read_or_is_none(name: str, raw: bytes | None, field: str, value: object) -> None:
    told = read_provenance(Headers([(name, raw)]))

    assert told is not None
    assert getattr(told, field) == value
    others = {other.name for other in fields(Provenance)} - {field, "family"}
    assert {getattr(told, other) for other in others} == {None}


def again(first: Hop | None, second: Hop | None, group: str = "billing") -> tuple[Headers, Origin]:
    """A dead letter that was sent back as it is, and failed again elsewhere."""
    before = dead_letter_headers(Headers(), ORIGIN, Reason.FATAL, ValueError("first"), first)
    origin = Origin("returns", 9, 9, 9, 1, group)
    return dead_letter_headers(before, origin, Reason.EXHAUSTED, KeyError("second"), second), origin


@pytest.mark.parametrize(("first", "second"), [(None, None), (None, HOP), (HOP, None)])
def test_of_two_failures_the_latest_is_told_whatever_their_families(
    first: Hop | None, second: Hop | None
) -> None:
    headers, _ = again(first, second)

    told = read_provenance(headers)

    assert told is not None
    assert told.family is (RETRY if second else PLAIN)
    assert (told.topic, told.partition, told.offset, told.timestamp_ms) == ("returns", 9, 9, 9)
    assert (told.exception, told.message) == ("builtins.KeyError", "'second'")
    assert told.reason == "attempts exhausted"


def test_on_retry_topics_the_first_origin_and_the_latest_failure_are_told() -> None:
    headers, _ = again(HOP, HOP)

    told = read_provenance(headers)

    assert told is not None
    assert (told.topic, told.offset) == ("orders", 41)
    assert (told.exception, told.reason) == ("builtins.KeyError", "attempts exhausted")


def test_the_origin_of_another_groups_retries_is_not_told_as_ours() -> None:
    headers, _ = again(HOP, HOP, group="shipping")

    told = read_provenance(headers)

    assert told is not None
    assert (told.topic, told.offset, told.group) == ("returns", 9, "shipping")


def test_a_reason_of_ours_from_before_somebody_elses_failure_is_none() -> None:
    ours = dead_letter_headers(Headers(), ORIGIN, Reason.FATAL, ValueError())

    told = read_provenance(ours.with_added(*SPRING["failing listener"]))

    assert told is not None
    assert told.topic == "sk.orders"
    assert told.reason is None


@pytest.mark.parametrize("hop", [None, HOP])
def test_what_was_left_out_of_a_large_record_is_not_told_from_an_earlier_failure(hop: Hop | None) -> None:
    headers, _ = again(None, hop)

    told = read_provenance(without_added(headers))

    assert told is not None
    assert (told.topic, told.offset, told.timestamp_ms) == ("returns", 9, 9)
    assert (told.group, told.reason) == ("billing", "attempts exhausted")
    assert {told.exception, told.cause, told.message, told.stack} == {None}


def test_what_was_left_out_at_the_third_failure_is_not_told_from_the_second() -> None:
    twice, origin = again(None, None)
    thrice = dead_letter_headers(twice, origin, Reason.FATAL, OSError("third"))

    told = read_provenance(without_added(thrice))

    assert told is not None
    assert told.reason == "fatal exception"
    assert {told.exception, told.cause, told.message, told.stack} == {None}


def test_only_the_stack_is_missing_where_only_that_was_left_out() -> None:
    headers, _ = again(None, None)

    told = read_provenance(without_stack(headers))

    assert told is not None
    assert (told.exception, told.stack) == ("builtins.KeyError", None)


PAIRS = st.tuples(st.sampled_from([*CODECS, REASON_HEADER, "trace"]), st.none() | st.binary(max_size=9))


@given(st.lists(PAIRS, max_size=12), st.integers(-DAY_MS, 2**62))
def test_no_headers_make_a_reader_raise(pairs: list[tuple[str, bytes | None]], now_ms: int) -> None:
    headers = Headers(pairs)

    read_provenance(headers)
    state = read_retry(headers, now_ms=now_ms)

    assert 1 <= state.attempt <= 32_767
    assert state.due_ms is None or state.due_ms <= now_ms + DAY_MS


@given(st.lists(PAIRS, max_size=12), st.sampled_from([None, HOP]))
def test_what_we_wrote_last_is_told_whatever_stood_before(
    pairs: list[tuple[str, bytes | None]], hop: Hop | None
) -> None:
    foreign = Headers([*pairs, ("kafka_dlt-original-consumer-group", b"another")])

    told = read_provenance(dead_letter_headers(foreign, ORIGIN, Reason.FATAL, ValueError("no"), hop))

    assert told == read_provenance(
        dead_letter_headers(Headers(), ORIGIN, Reason.FATAL, ValueError("no"), hop)
    )


@pytest.mark.parametrize(
    ("case", "state"),
    [
        ("failing listener", RetryState(1, None, None)),
        ("first retry", RetryState(2, 0x1A2069A69B6, 0x1A2069A6DC9)),
        ("second retry", RetryState(3, 0x1A2069A69B6, 0x1A2069A75B0)),
        ("dead letter of retry topics", RetryState(4, 0x1A2069A69B6, 0x1A2069A75B7)),
    ],
)
def test_where_springs_records_stand_on_their_way_is_read(case: str, state: RetryState) -> None:
    assert read_retry(SPRING[case], now_ms=captured()[case].timestamp_ms) == state


@pytest.mark.parametrize(
    ("values", "attempt"),
    [
        ([], 1),
        ([b"\x00\x00\x00\x02"], 2),
        ([b"\x00\x00\x00\x02", b"\x00\x00\x00\x03"], 3),
        ([b"\x03", b"\x00\x00\x00\x02"], 2),
        ([b"\x05"], 5),
        ([b"\xff"], 255),
        ([b"2"], 50),
        ([b"10"], 1),
        ([b"\x00"], 1),
        ([b"\x00\x00\x00\x00"], 1),
        ([b"\x00\x00\x7f\xff"], 32_767),
        ([b"\x00\x00\x80\x00"], 1),
        ([b"\xff\xff\xff\xff"], 1),
        ([b"\x00" * 7 + b"\x02"], 1),
        ([b"\x00\x00\x00\x02", b""], 1),  # the last value counts, also where it fits nothing
        ([b"\x00\x00\x00\x02", None], 1),
    ],
)
def test_the_attempt_is_what_springs_reader_makes_of_it(values: list[bytes | None], attempt: int) -> None:
    headers = Headers(("retry_topic-attempts", value) for value in values)

    assert read_retry(headers, now_ms=NOW) == RetryState(attempt, None, None)


def number(value: int) -> bytes:
    return value.to_bytes(8, "big", signed=True)


@pytest.mark.parametrize(
    ("raw", "due_ms"),
    [
        (number(NOW), NOW),
        (number(NOW - 1), NOW - 1),
        (number(NOW + DAY_MS), NOW + DAY_MS),
        (number(NOW + DAY_MS + 1), None),
        (number(2**63 - 1), None),
        (number(-1), -1),
        (b"\x00", 0),
        (b"\x01\x00", 256),
        (b"", None),
        (b"\x00" * 9, None),
        (None, None),
    ],
)
def test_the_due_time_has_one_to_eight_bytes_and_is_at_most_a_day_ahead(
    raw: bytes | None, due_ms: int | None
) -> None:
    headers = Headers([("retry_topic-backoff-timestamp", number(5)), ("retry_topic-backoff-timestamp", raw)])

    assert read_retry(headers, now_ms=NOW).due_ms == due_ms


@pytest.mark.parametrize(
    ("raw", "first_seen_ms"),
    [(number(NOW), NOW), (number(2**63 - 1), 2**63 - 1), (b"\xff", -1), (b"", None), (b"\x00" * 9, None)],
)
def test_the_first_timestamp_is_taken_as_it_is(raw: bytes, first_seen_ms: int | None) -> None:
    headers = Headers([("retry_topic-original-timestamp", raw)])

    assert read_retry(headers, now_ms=NOW).first_seen_ms == first_seen_ms


@given(st.integers(1, 32_767), st.integers(0, 2**62), st.integers(0, 2**61))
def test_a_hop_that_we_write_is_read_again(attempt: int, first_seen_ms: int, due_ms: int) -> None:
    headers = retry_headers(Headers(), ORIGIN, ValueError(), Hop(attempt, first_seen_ms, due_ms))

    assert read_retry(headers, now_ms=due_ms) == RetryState(attempt, first_seen_ms, due_ms)
