from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottla.core.decide import Reason
from ottla.core.headers import (
    HEADERS_LOST_HEADER,
    MAX_MESSAGE_BYTES,
    MAX_STACK_BYTES,
    REASON_HEADER,
    Hop,
    Origin,
    class_name,
    dead_letter_headers,
    retry_headers,
    without_added,
    without_stack,
)
from ottla.core.spring_headers import GROUP_HEADER
from ottla.records import Headers
from tests.support.spring_records import captured

# A record's own headers come first, `__TypeId__` is its serializer's.
SPRING = {case: record.headers for case, record in captured().items()}
STACK = "kafka_dlt-exception-stacktrace"
NO_HEADERS = Headers()
ORIGIN = Origin("sk.orders", 1, 2, 0x1A2069A69B6, 1, "sk-orders")


class BadQuantity(Exception):
    """Named by its module."""


class Unspeakable(Exception):
    """An exception that cannot even say what it is."""

    def __str__(self) -> str:
        raise AttributeError("detail")


def headers_for(
    error: BaseException, *, original: Headers | None = NO_HEADERS, reason: Reason = Reason.EXHAUSTED
) -> Headers:
    return dead_letter_headers(original, ORIGIN, reason, error)


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except type(error) as caught:
        return caught


def test_a_dead_letter_of_a_failing_listener_has_the_headers_of_springs_in_its_order() -> None:
    spring = SPRING["failing listener"]

    ours = headers_for(raised(ValueError("no")), original=Headers([("trace", b"t1")]))

    assert [name for name, _ in ours] == [name for name, _ in spring[:-1]] + [REASON_HEADER]
    assert spring[-1][0] == "__TypeId__"


@pytest.mark.parametrize(
    ("case", "origin"),
    [
        ("failing listener", ORIGIN),
        ("undecodable value", Origin("sk.orders", 5, 2, 0x1A2069A69B6, 1, "sk-orders")),
    ],
)
def test_where_it_stood_is_written_in_springs_bytes(case: str, origin: Origin) -> None:
    spring = [pair for pair in SPRING[case] if pair[0].startswith("kafka_dlt-original-")]

    ours = dead_letter_headers(Headers(), origin, Reason.EXHAUSTED, ValueError("no"))

    assert [pair for pair in ours if pair[0].startswith("kafka_dlt-original-")] == spring
    assert len(spring) == 6


def test_the_message_joins_error_and_cause_as_springs_does() -> None:
    spring = dict(SPRING["failing listener"])["kafka_dlt-exception-message"]
    outer = RuntimeError("Listener method 'void demo.Peer.orders(demo.Peer$Order)' threw exception")

    ours = headers_for(raised(outer, ValueError("bad qty")))

    assert ours.last("kafka_dlt-exception-message") == spring


@pytest.mark.parametrize(
    ("number", "name"), [(0, b"NoTimestampType"), (1, b"CreateTime"), (2, b"LogAppendTime")]
)
def test_the_kind_of_timestamp_is_named_as_in_java(number: int, name: bytes) -> None:
    origin = Origin("orders", 0, 0, 0, number, "billing")

    headers = dead_letter_headers(Headers(), origin, Reason.FATAL, ValueError())

    assert headers.last("kafka_dlt-original-timestamp-type") == name


def test_the_far_ends_of_every_number_are_written() -> None:
    origin = Origin("orders", 2**31 - 1, 2**63 - 1, -1, 0, "billing")

    headers = dead_letter_headers(Headers(), origin, Reason.FATAL, ValueError())

    assert headers.last("kafka_dlt-original-partition") == bytes.fromhex("7fffffff")
    assert headers.last("kafka_dlt-original-offset") == bytes.fromhex("7fffffffffffffff")
    assert headers.last("kafka_dlt-original-timestamp") == bytes.fromhex("ffffffffffffffff")


@pytest.mark.parametrize("reason", Reason)
def test_the_last_header_says_why_it_was_given_up(reason: Reason) -> None:
    headers = headers_for(ValueError(), reason=reason)

    assert headers[-1] == ("ottla-dead-letter-reason", reason.value.encode())


def test_the_classes_of_error_and_cause_are_named_with_their_modules() -> None:
    headers = headers_for(raised(BadQuantity("3"), ValueError("negative")))

    assert headers.last("kafka_dlt-exception-fqcn") == f"{__name__}.BadQuantity".encode()
    assert headers.last("kafka_dlt-exception-cause-fqcn") == b"builtins.ValueError"


def test_without_a_cause_the_error_is_its_own() -> None:
    headers = headers_for(BadQuantity("3"))

    assert headers.last("kafka_dlt-exception-cause-fqcn") == f"{__name__}.BadQuantity".encode()
    assert headers.last("kafka_dlt-exception-message") == b"3"


def test_a_class_within_a_function_is_named_by_where_it_stands() -> None:
    class Local(Exception):
        pass

    assert class_name(Local()) == (
        f"{__name__}.test_a_class_within_a_function_is_named_by_where_it_stands.<locals>.Local"
    )


def test_the_stack_names_the_frame_that_raised_and_the_cause() -> None:
    headers = headers_for(raised(BadQuantity("3"), raised(ValueError("negative"))))

    stack = headers.text(STACK)

    assert stack is not None
    assert "in raised" in stack
    assert "ValueError: negative" in stack
    assert stack.endswith("BadQuantity: 3\n")


PAIRS = st.tuples(
    st.sampled_from(["trace", "", "kafka_dlt-original-topic", STACK, REASON_HEADER, "größe"]),
    st.none() | st.binary(max_size=20),
)


@given(st.lists(PAIRS, max_size=8), st.sampled_from(Reason))
def test_the_records_own_headers_stay_byte_for_byte(
    pairs: list[tuple[str, bytes | None]], reason: Reason
) -> None:
    added = len(headers_for(ValueError(), reason=reason))

    headers = headers_for(ValueError(), original=Headers(pairs), reason=reason)

    assert list(headers[: len(pairs)]) == pairs
    assert len(headers) == len(pairs) + added
    assert headers.last("kafka_dlt-original-topic") == b"sk.orders"
    assert headers.last(REASON_HEADER) == reason.value.encode()


def test_headers_that_cannot_be_read_leave_a_mark() -> None:
    headers = headers_for(ValueError("no"), original=None)

    assert headers[0] == (HEADERS_LOST_HEADER, b"a header name is not UTF-8")
    assert headers[1:] == headers_for(ValueError("no"))


def test_readable_headers_leave_no_such_mark() -> None:
    assert headers_for(ValueError("no")).last(HEADERS_LOST_HEADER) is None


@pytest.mark.parametrize("letter", ["x", "ü", "€", "🙂"])
@pytest.mark.parametrize("shift", range(4))
def test_a_long_message_is_cut_at_a_character(letter: str, shift: int) -> None:
    text = "-" * shift + letter * (MAX_MESSAGE_BYTES + 1)

    message = headers_for(ValueError(text)).last("kafka_dlt-exception-message")

    assert message is not None
    assert MAX_MESSAGE_BYTES - 4 < len(message) <= MAX_MESSAGE_BYTES
    assert text.startswith(message.decode().removesuffix("..."))
    assert message.endswith(b"...")


@pytest.mark.parametrize("letter", ["x", "ü", "€", "🙂"])
@pytest.mark.parametrize("shift", range(4))
def test_a_long_stack_keeps_its_end_and_is_cut_at_a_character(letter: str, shift: int) -> None:
    text = letter * MAX_STACK_BYTES + "-" * shift

    stack = headers_for(ValueError(text)).last(STACK)

    assert stack is not None
    assert MAX_STACK_BYTES - 4 < len(stack) <= MAX_STACK_BYTES
    assert f"ValueError: {text}\n".endswith(stack.decode().removeprefix("..."))
    assert stack.startswith(b"...")


def test_text_of_exactly_the_bound_is_whole() -> None:
    message = "x" * MAX_MESSAGE_BYTES
    stack = "x" * (MAX_STACK_BYTES - len("ValueError: \n"))

    assert headers_for(ValueError(message)).text("kafka_dlt-exception-message") == message
    assert headers_for(ValueError(stack)).text(STACK) == f"ValueError: {stack}\n"


@given(
    st.text(st.characters(min_codepoint=0xD700, max_codepoint=0xE000), min_size=1, max_size=50),
    st.integers(1, 300),
)
def test_lone_surrogates_and_any_cut_leave_text_that_can_be_read(text: str, times: int) -> None:
    headers = headers_for(ValueError(text * times))

    message, stack = headers.last("kafka_dlt-exception-message"), headers.last(STACK)

    assert message is not None
    assert stack is not None
    assert message.decode()
    assert stack.decode()
    assert len(message) <= MAX_MESSAGE_BYTES
    assert len(stack) <= MAX_STACK_BYTES


def test_a_lone_surrogate_is_written_as_its_escape() -> None:
    headers = headers_for(ValueError("a\udc80b"))

    assert headers.last("kafka_dlt-exception-message") == rb"a\udc80b"


def test_an_exception_whose_text_cannot_be_had_is_dead_lettered_all_the_same() -> None:
    headers = headers_for(raised(RuntimeError("outer"), Unspeakable()))

    assert headers.last("kafka_dlt-exception-message") == b"outer; <exception str() failed>"
    assert headers.last("kafka_dlt-exception-cause-fqcn") == f"{__name__}.Unspeakable".encode()


def test_without_its_stack_a_dead_letter_is_otherwise_the_same() -> None:
    headers = headers_for(raised(ValueError("no")), original=Headers([("trace", None), ("trace", b"")]))

    shorter = without_stack(headers)

    assert shorter == tuple(pair for pair in headers if pair[0] != STACK)
    assert len(shorter) == len(headers) - 1


def test_the_stack_that_a_replayed_record_brought_along_stays() -> None:
    headers = headers_for(raised(ValueError("no")), original=Headers([(STACK, b"the first time")]))

    assert without_stack(headers).all(STACK) == (b"the first time",)


# The journey of one captured record of @RetryableTopic: two retry topics, then the dead-letter topic.
FIRST_SEEN_MS = 0x1A2069A69B6
PAY = Origin("sk.pay", 2, 2, FIRST_SEEN_MS, 1, "sk-pay")
HOPS = [
    ("first retry", Hop(2, FIRST_SEEN_MS, 0x1A2069A6DC9)),
    ("second retry", Hop(3, FIRST_SEEN_MS, 0x1A2069A75B0)),
    ("dead letter of retry topics", Hop(4, FIRST_SEEN_MS, 0x1A2069A75B7)),
]
RETRY_STACK = "kafka_exception-stacktrace"
FAILURE = ["fqcn", "cause-fqcn", "message", "stacktrace"]
RETRY_FAILURE = {f"kafka_exception-{what}" for what in FAILURE}


def without_type(headers: Headers) -> Headers:
    return Headers(pair for pair in headers if pair[0] != "__TypeId__")


def journey(error: BaseException, hops: int, own: Headers = NO_HEADERS) -> Headers:
    """The headers after `hops` retries, each from where the record stood then."""
    headers = own
    for number in range(hops):
        origin = Origin(f"sk.pay-retry-{number}", number, number, 7, 1, "sk-pay") if number else PAY
        headers = retry_headers(headers, origin, error, Hop(number + 2, FIRST_SEEN_MS, number))
    return headers


@pytest.mark.parametrize("number", range(len(HOPS)))
def test_each_hop_of_retry_topics_writes_what_spring_writes_in_its_order(number: int) -> None:
    case, hop = HOPS[number]
    before = without_type(SPRING[HOPS[number - 1][0]]) if number else NO_HEADERS
    origin = Origin("sk.pay-retry-1000", 0, number, 7, 1, "sk-pay") if number else PAY
    spring = without_type(SPRING[case])

    ours = retry_headers(before, origin, ValueError("no funds"), hop)

    assert [name for name, _ in ours] == [name for name, _ in spring]
    assert [pair for pair in ours if pair[0] not in RETRY_FAILURE] == [
        pair for pair in spring if pair[0] not in RETRY_FAILURE
    ]


def test_a_dead_letter_of_retry_topics_is_the_last_hop_with_its_reason() -> None:
    before, error = without_type(SPRING["second retry"]), ValueError("no funds")
    hop = HOPS[-1][1]

    letter = dead_letter_headers(before, PAY, Reason.EXHAUSTED, error, hop)

    assert letter == retry_headers(before, PAY, error, hop).with_added((REASON_HEADER, b"attempts exhausted"))


def test_a_dead_letter_at_the_first_attempt_is_of_the_family_too() -> None:
    letter = dead_letter_headers(NO_HEADERS, PAY, Reason.FATAL, ValueError(), HOPS[0][1])

    assert {name for name, _ in letter if "dlt" in name} == {GROUP_HEADER}
    assert letter.last("kafka_original-offset") == bytes.fromhex("0000000000000002")
    assert letter.last("retry_topic-attempts") == bytes.fromhex("00000002")


def test_what_failed_is_replaced_and_where_it_began_stays() -> None:
    headers = retry_headers(journey(ValueError("first"), 3), PAY, KeyError("second"), HOPS[1][1])

    assert headers.all("kafka_exception-fqcn") == (b"builtins.KeyError",)
    assert headers.all("kafka_exception-message") == (b"'second'",)
    assert headers.all("kafka_original-topic") == (b"sk.pay",)
    assert headers.all("kafka_original-partition") == (bytes.fromhex("00000002"),)


def test_attempts_and_times_are_appended_each_time() -> None:
    headers = journey(ValueError(), 3)

    assert headers.all("retry_topic-attempts") == tuple(bytes([0, 0, 0, n]) for n in (2, 3, 4))
    assert headers.all("retry_topic-backoff-timestamp") == (b"\x00", b"\x01", b"\x02")
    assert set(headers.all("retry_topic-original-timestamp")) == {bytes.fromhex("01a2069a69b6")}


@pytest.mark.parametrize("group", [b"another", b"", None])
def test_the_origin_of_another_groups_journey_is_not_taken_for_ours(group: bytes | None) -> None:
    theirs = Headers([("kafka_original-topic", b"theirs"), (GROUP_HEADER, group)])

    headers = retry_headers(theirs, PAY, ValueError(), HOPS[0][1])

    assert headers[:2] == theirs
    assert headers.last("kafka_original-topic") == b"sk.pay"
    assert headers.last(GROUP_HEADER) == b"sk-pay"


def test_what_an_earlier_writer_did_not_tell_of_the_origin_is_added() -> None:
    theirs = Headers([("kafka_original-topic", b"first")])

    headers = retry_headers(theirs, PAY, ValueError(), HOPS[0][1])

    assert headers.all("kafka_original-topic") == (b"first",)
    assert headers.all("kafka_original-offset") == (bytes.fromhex("0000000000000002"),)
    assert headers.all(GROUP_HEADER) == (b"sk-pay",)


@given(st.lists(PAIRS, max_size=8), st.integers(1, 4))
def test_on_retry_topics_the_records_own_headers_stay_byte_for_byte(
    pairs: list[tuple[str, bytes | None]], hops: int
) -> None:
    headers = journey(ValueError("no"), hops, Headers(pairs))

    assert list(headers[: len(pairs)]) == pairs


def test_headers_that_cannot_be_read_leave_one_mark_on_retry_topics() -> None:
    first = retry_headers(None, PAY, ValueError(), HOPS[0][1])

    second = retry_headers(first, PAY, ValueError(), HOPS[1][1])

    assert second[0] == (HEADERS_LOST_HEADER, b"a header name is not UTF-8")
    assert len(second.all(HEADERS_LOST_HEADER)) == 1


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_without_its_stack_a_retry_is_otherwise_the_same(hops: int) -> None:
    headers = journey(ValueError("no"), hops, Headers([("trace", None)]))

    assert without_stack(headers) == tuple(pair for pair in headers if pair[0] != RETRY_STACK)


def test_a_stack_that_was_left_out_takes_no_earlier_one_with_it() -> None:
    headers = headers_for(raised(ValueError("no")), original=headers_for(ValueError("the first time")))

    once = without_stack(headers)

    assert len(once.all(STACK)) == 1
    assert without_stack(once) == once


@pytest.mark.parametrize("shrink", [without_stack, without_added])
def test_a_record_that_tells_of_no_failure_is_left_alone(
    shrink: Callable[[Headers], Headers],
) -> None:
    headers = Headers([("trace", b"1"), ("retry_topic-attempts", b"2"), ("retry_topic-attempts", b"3")])

    assert shrink(headers) == headers


MINIMUM = ["topic", "partition", "offset", "timestamp"]


def test_a_plain_dead_letter_that_is_too_large_keeps_what_finds_its_origin() -> None:
    headers = headers_for(raised(ValueError("no")), original=Headers([("trace", None), ("trace", b"")]))

    smallest = without_added(headers)

    assert [name for name, _ in smallest] == [
        "trace",
        "trace",
        *[f"kafka_dlt-original-{what}" for what in MINIMUM],
        GROUP_HEADER,
        REASON_HEADER,
    ]
    assert set(smallest) <= set(headers)


@pytest.mark.parametrize("hops", [1, 2, 300])
def test_a_retry_that_is_too_large_keeps_what_finds_its_origin_and_the_last_of_what_moves_it(
    hops: int,
) -> None:
    headers = journey(ValueError("no"), hops, Headers([("trace", b"1")]))

    smallest = without_added(headers)

    kept_first = [] if hops == 1 else ["kafka_original-timestamp-type"]  # stands among the earlier hops'
    assert sorted(name for name, _ in smallest) == sorted(
        [
            "trace",
            *[f"kafka_original-{what}" for what in MINIMUM],
            *kept_first,
            GROUP_HEADER,
            "retry_topic-attempts",
            "retry_topic-backoff-timestamp",
            "retry_topic-original-timestamp",
        ]
    )
    assert smallest.last("retry_topic-attempts") == headers.last("retry_topic-attempts")
    assert smallest.last("retry_topic-backoff-timestamp") == headers.last("retry_topic-backoff-timestamp")


def test_what_a_replayed_record_brought_along_is_not_left_out() -> None:
    brought = headers_for(raised(ValueError("the first time")))

    headers = headers_for(raised(ValueError("again")), original=brought)

    assert without_added(headers)[: len(brought)] == brought


@given(st.lists(PAIRS, max_size=6), st.integers(0, 3), st.booleans())
def test_leaving_out_more_comes_to_the_same_in_one_step_or_two(
    pairs: list[tuple[str, bytes | None]],
    hops: int,
    dies: bool,  # noqa: FBT001
) -> None:
    headers = journey(ValueError("no"), hops, Headers(pairs))
    if dies:
        headers = dead_letter_headers(headers, PAY, Reason.EXHAUSTED, ValueError("no"))

    assert without_added(without_stack(headers)) == without_added(headers)


def test_a_class_whose_name_cannot_be_encoded_has_its_dead_letter_all_the_same() -> None:
    odd = type("Odd", (Exception,), {"__module__": "m\udc80"})

    headers = headers_for(odd())

    assert headers.last("kafka_dlt-exception-fqcn") == rb"m\udc80.Odd"
