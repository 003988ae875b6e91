from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottla.core.decide import Reason
from ottla.core.headers import Origin, dead_letter_headers
from ottla.core.letters import Letter, LetterFilter, Span, decoded, short_class, told_by
from ottla.records import Headers

ORIGIN = Origin("orders", 3, 41, 1_700_000_000_000, 1, "billing")


class Boom(Exception):
    """Has a dotted name longer than a builtin's."""


def letter_of(headers: Headers | None = None, key: bytes | None = b"o-1") -> Letter:
    if headers is None:
        error = Boom("no")
        error.__cause__ = KeyError("card")
        own = Headers([("trace", b"t-1"), ("trace", b"t-2"), ("raw", b"\xff")])
        headers = dead_letter_headers(own, ORIGIN, Reason.EXHAUSTED, error)
    return Letter("orders-billing-dlt", 3, 17, 5_000, key, b"{}", headers, told_by(headers))


@pytest.mark.parametrize(
    ("wanted", "is_match"),
    [
        (LetterFilter(), True),
        (LetterFilter(group="billing"), True),
        (LetterFilter(group="bill"), False),
        (LetterFilter(exception="Boom"), True),
        (LetterFilter(exception=f"{Boom.__module__}.Boom"), True),
        (LetterFilter(exception="KeyError"), True),
        (LetterFilter(exception="builtins.KeyError"), True),
        (LetterFilter(exception="oom"), False),
        (LetterFilter(exception="ValueError"), False),
        (LetterFilter(key="o-1"), True),
        (LetterFilter(key="0x6f2d31"), True),
        (LetterFilter(key="0x6F2D31"), True),
        (LetterFilter(key="o"), False),
        (LetterFilter(headers=(("trace", "t-2"),)), True),
        (LetterFilter(headers=(("trace", "t-1"),)), False),
        (LetterFilter(headers=(("trace", "t-2"), ("absent", ""))), False),
        (LetterFilter(headers=(("kafka_dlt-original-partition", "3"),)), True),
        (LetterFilter(headers=(("kafka_dlt-original-offset", "41"),)), True),
        (LetterFilter(since_ms=5_000), True),
        (LetterFilter(since_ms=5_001), False),
        (LetterFilter(until_ms=5_001), True),
        (LetterFilter(until_ms=5_000), False),
        (LetterFilter(partition=3), True),
        (LetterFilter(partition=0), False),
        (LetterFilter(from_offset=17, to_offset=17), True),
        (LetterFilter(from_offset=18), False),
        (LetterFilter(to_offset=16), False),
        (LetterFilter(reason="attempts exhausted"), True),
        (LetterFilter(reason="Exhausted"), True),
        (LetterFilter(reason="undecodable"), False),
        (LetterFilter(group="billing", key="o-2"), False),
    ],
    ids=str,
)
def test_a_letter_is_meant_when_all_filters_hold(wanted: LetterFilter, *, is_match: bool) -> None:
    assert wanted.matches(letter_of()) is is_match


@pytest.mark.parametrize(
    "wanted",
    [
        LetterFilter(group="billing"),
        LetterFilter(exception="Boom"),
        LetterFilter(key="o-1"),
        LetterFilter(headers=(("trace", "t-2"),)),
        LetterFilter(since_ms=0),
        LetterFilter(until_ms=9_000),
        LetterFilter(reason="undecodable"),
    ],
    ids=str,
)
@pytest.mark.parametrize("headers", [Headers(), None], ids=["empty", "unreadable"])
def test_what_a_record_does_not_tell_matches_no_filter_that_asks_for_it(
    wanted: LetterFilter, headers: Headers | None
) -> None:
    letter = Letter("dead", 0, 0, None, None, None, headers, told_by(headers))

    assert not wanted.matches(letter)
    assert LetterFilter().matches(letter)


def test_a_java_class_is_named_whole_or_from_any_part_on() -> None:
    headers = Headers([("kafka_exception-cause-fqcn", b"demo.Peer$Refused")])
    letter = letter_of(headers)

    names = ["demo.Peer$Refused", "Peer$Refused", "Refused", "Peer", "demo", "eer$Refused"]

    assert [name for name in names if LetterFilter(exception=name).matches(letter)] == names[:3]


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("builtins.ValueError", "ValueError"),
        ("demo.Peer$Refused", "Refused"),
        ("plain", "plain"),
        ("a.f.<locals>.Boom", "Boom"),
        ("odd.", "odd."),
        ("", ""),
    ],
)
def test_a_class_is_shown_without_what_it_is_in(name: str, short: str) -> None:
    assert short_class(name) == short


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("kafka_dlt-original-offset", b"\0\0\0\0\0\0\0\7", 7),
        ("retry_topic-attempts", b"\0\0\0\2", 2),
        ("kafka_dlt-original-offset", b"7", None),
        ("trace", b"t-1", "t-1"),
        ("trace", b"\xff", None),
    ],
)
def test_a_header_is_decoded_as_what_it_is(name: str, raw: bytes, value: object) -> None:
    assert decoded(name, raw) == value


OFFSETS = st.integers(0, 12)


@given(st.none() | OFFSETS, st.none() | OFFSETS, OFFSETS, OFFSETS)
def test_what_is_read_is_what_can_match(first: int | None, last: int | None, low: int, count: int) -> None:
    wanted = LetterFilter(partition=3, from_offset=first, to_offset=last)
    letter = letter_of()

    span = wanted.span(3, low, low + count)

    matching = [o for o in range(low, low + count) if wanted.matches(replace(letter, offset=o))]
    assert list(range(*span)) == matching
    assert wanted.span(2, low, low + count) == Span(low, low)
