from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottla.core.decide import Reason
from ottla.core.headers import (
    HEADERS_LOST_HEADER,
    MAX_MESSAGE_BYTES,
    MAX_STACK_BYTES,
    REASON_HEADER,
    Origin,
    class_name,
    dead_letter_headers,
    without_stack,
)
from ottla.records import Headers

# Bytes that Spring Kafka wrote. A record's own headers come first, `__TypeId__` is its serializer's.
SPRING = {
    record["case"]: [(name, bytes.fromhex(value)) for name, value in record["headers"]]
    for record in json.loads((Path(__file__).parents[2] / "data" / "spring-records.json").read_text())[
        "records"
    ]
}
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
