from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottla.core.spring_headers import ATTEMPT, BIG_INTEGER, CODECS, INT32, INT64, TEXT, Codec, Family
from ottla.records import Headers
from tests.support.spring_records import captured, differing

SPRING = captured()
LONG = st.integers(-(2**63), 2**63 - 1)


@pytest.mark.parametrize("case", SPRING)
def test_what_spring_wrote_is_read_and_written_again_byte_for_byte(case: str) -> None:
    assert differing([SPRING[case].headers]) == 0


def test_every_captured_header_is_known_but_the_records_own() -> None:
    unknown = {name for record in SPRING.values() for name, _ in record.headers} - set(CODECS)

    assert unknown == {"trace", "__TypeId__"}


@pytest.mark.parametrize(
    "value", [b"\x00\x00\x00\x00\x00\x02", b"\x01\xa2\x06\x9ai\xb6\x00\x00\x00", b"", b"\x00\x01"]
)
def test_a_record_that_would_be_written_otherwise_differs(value: bytes) -> None:
    records = [record.headers for record in SPRING.values()]
    odd = Headers([("retry_topic-backoff-timestamp", value)])

    assert differing([*records, odd]) == 1


def test_the_group_has_one_name_in_both_families() -> None:
    assert {family.header("original-consumer-group") for family in Family} == {
        "kafka_dlt-original-consumer-group"
    }
    assert {family.header("original-topic") for family in Family} == {
        "kafka_dlt-original-topic",
        "kafka_original-topic",
    }


@pytest.mark.parametrize(
    ("codec", "value", "raw"),
    [
        (INT32, 2**31 - 1, "7fffffff"),
        (INT32, -(2**31), "80000000"),
        (INT64, -1, "ffffffffffffffff"),
        (INT64, 2**63 - 1, "7fffffffffffffff"),
        (BIG_INTEGER, 0, "00"),
        (BIG_INTEGER, 127, "7f"),
        (BIG_INTEGER, 128, "0080"),
        (BIG_INTEGER, -1, "ff"),
        (BIG_INTEGER, -128, "80"),
        (BIG_INTEGER, -129, "ff7f"),
        (BIG_INTEGER, 2**47 - 1, "7fffffffffff"),  # six bytes end here, in the year 6429
        (BIG_INTEGER, 2**47, "00800000000000"),
        (BIG_INTEGER, 2**63 - 1, "7fffffffffffffff"),
        (BIG_INTEGER, -(2**63), "8000000000000000"),
        (ATTEMPT, 1, "00000001"),
        (ATTEMPT, 32_767, "00007fff"),
    ],
)
def test_numbers_have_the_bytes_of_java(codec: Codec[int], value: int, raw: str) -> None:
    assert codec.encode(value).hex() == raw
    assert codec.decode(bytes.fromhex(raw)) == value


@pytest.mark.parametrize(
    ("codec", "raw"),
    [
        (INT32, ""),
        (INT32, "000001"),
        (INT32, "0000000001"),
        (INT64, "00000001"),
        (INT64, "000000000000000001"),
        (BIG_INTEGER, ""),
        (BIG_INTEGER, "000000000000000001"),
        (ATTEMPT, ""),
        (ATTEMPT, "0002"),
        (ATTEMPT, "00"),
        (ATTEMPT, "00000000"),
        (ATTEMPT, "ffffffff"),
        (ATTEMPT, "00008000"),
        (TEXT, "ff"),
        (TEXT, "c3"),
    ],
)
def test_bytes_that_do_not_fit_are_none(codec: Codec[object], raw: str) -> None:
    assert codec.decode(bytes.fromhex(raw)) is None


@pytest.mark.parametrize(("raw", "attempt"), [(b"\x02", 2), (b"\xff", 255), (b"2", 50)])
def test_an_attempt_of_one_byte_is_an_unsigned_one_even_where_it_looks_like_a_digit(
    raw: bytes, attempt: int
) -> None:
    assert ATTEMPT.decode(raw) == attempt


def javas_big_integer(number: int) -> bytes:
    """The shortest two's complement there is, found by trying."""
    return next(
        number.to_bytes(length, "big", signed=True)
        for length in range(1, 9)
        if -(2 ** (8 * length - 1)) <= number < 2 ** (8 * length - 1)
    )


@given(LONG)
def test_a_big_integer_is_as_short_as_it_can_be(number: int) -> None:
    raw = BIG_INTEGER.encode(number)

    assert raw == javas_big_integer(number)
    assert BIG_INTEGER.decode(raw) == number


@given(st.binary(max_size=10))
def test_no_bytes_make_any_header_raise(raw: bytes) -> None:
    for codec in CODECS.values():
        codec.decode(raw)


@given(st.text())
def test_text_comes_back_as_it_was_but_for_lone_surrogates(text: str) -> None:
    is_whole = not any("\ud800" <= letter <= "\udfff" for letter in text)

    decoded = TEXT.decode(TEXT.encode(text))

    assert decoded is not None
    assert (decoded == text) is is_whole
