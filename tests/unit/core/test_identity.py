from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottla.core.identity import EVENT_ID_HEADER, content_digest, event_id
from ottla.records import Headers

AT = 1_795_407_112_630
COORDINATES = f"orders-3-42@{AT}"


def id_of(*pairs: tuple[str, bytes | None]) -> str:
    return event_id(Headers(pairs), "orders", 3, 42, AT)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param([(EVENT_ID_HEADER, b"e1")], "e1", id="ours"),
        pytest.param(
            [("ce_id", b"c1"), (EVENT_ID_HEADER, b"e1"), ("ce_source", b"/shop")], "e1", id="ours first"
        ),
        pytest.param([("ce_id", b"c1"), ("ce_source", b"/shop")], "/shop#c1", id="CloudEvents with source"),
        pytest.param([("ce_id", b"c1")], "c1", id="CloudEvents without source"),
        pytest.param([("ce_id", b"c1"), ("ce_source", b"")], "c1", id="CloudEvents with an empty source"),
        pytest.param([("ce_source", b"/shop")], COORDINATES, id="a source alone"),
        pytest.param([], COORDINATES, id="nothing"),
        pytest.param([("trace", b"t1")], COORDINATES, id="others"),
        pytest.param([(EVENT_ID_HEADER, b"e1"), (EVENT_ID_HEADER, b"e2")], "e2", id="the last of two"),
        pytest.param([(EVENT_ID_HEADER, None), ("ce_id", b"c1")], "c1", id="ours is null"),
        pytest.param([(EVENT_ID_HEADER, b""), ("ce_id", b"c1")], "c1", id="ours is empty"),
        pytest.param([(EVENT_ID_HEADER, b"\xff"), ("ce_id", b"c1")], "c1", id="ours is not UTF-8"),
        pytest.param([(EVENT_ID_HEADER, b"\xff"), ("ce_id", b"\xff")], COORDINATES, id="neither is UTF-8"),
        pytest.param([(EVENT_ID_HEADER, "größe".encode())], "größe", id="beyond ASCII"),
    ],
)
def test_the_event_id_is_ours_else_the_cloud_events_id_else_where_the_record_stands(
    headers: list[tuple[str, bytes | None]], expected: str
) -> None:
    assert id_of(*headers) == expected


def test_the_same_id_of_two_sources_is_two_events() -> None:
    shop = id_of(("ce_id", b"1"), ("ce_source", b"/shop"))
    bank = id_of(("ce_id", b"1"), ("ce_source", b"/bank"))

    assert shop != bank


def test_a_topic_made_anew_under_the_same_name_repeats_no_id() -> None:
    before = event_id(Headers(), "orders", 0, 0, AT)
    after = event_id(Headers(), "orders", 0, 0, AT + 1)

    assert before != after


def test_a_record_without_timestamp_has_an_id() -> None:
    without = event_id(Headers(), "orders", 3, 42, None)

    assert without == "orders-3-42@none"
    assert without != event_id(Headers(), "orders", 3, 42, 0)


def test_an_event_sent_again_on_the_other_side_of_midnight_keeps_its_id() -> None:
    midnight = datetime(2026, 1, 1, tzinfo=UTC)
    headers = Headers([(EVENT_ID_HEADER, b"e1")])

    before, after = (
        event_id(headers, "orders", 3, offset, int(at.timestamp() * 1000))
        for offset, at in ((42, midnight - timedelta(milliseconds=1)), (43, midnight))
    )

    assert before == after == "e1"


def test_the_timestamp_is_written_whole_and_not_as_a_day() -> None:
    midnight_ms = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)

    before, after = (event_id(Headers(), "orders", 3, 42, at) for at in (midnight_ms - 1, midnight_ms))

    assert (before, after) == ("orders-3-42@1767225599999", "orders-3-42@1767225600000")


PLACES = st.tuples(
    st.sampled_from(["a", "a-1", "a-1-1", "1"]),
    st.integers(0, 12),
    st.integers(0, 12),
    st.none() | st.integers(0, 12),
)


@given(PLACES, PLACES)
def test_two_places_never_share_an_id(
    one: tuple[str, int, int, int], other: tuple[str, int, int, int]
) -> None:
    assert (event_id(Headers(), *one) == event_id(Headers(), *other)) == (one == other)


CONTENT = st.none() | st.binary(max_size=4) | st.sampled_from([b"-", b"--", b"0:", b"1:-", b"3:abc"])


@given(CONTENT, CONTENT, CONTENT, CONTENT)
def test_digests_are_equal_when_key_and_value_are_and_only_then(
    key: bytes | None, value: bytes | None, other_key: bytes | None, other_value: bytes | None
) -> None:
    is_same = (key, value) == (other_key, other_value)

    assert (content_digest(key, value) == content_digest(other_key, other_value)) == is_same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((None, b"v"), (b"", b"v")),
        ((b"k", None), (b"k", b"")),
        ((None, b""), (b"", None)),
        ((b"ab", b"c"), (b"a", b"bc")),
        ((b"", b"abc"), (b"abc", b"")),
        ((b"k", b"v"), (b"v", b"k")),
        ((None, b"-"), (b"-", None)),
        ((b"1", b"2"), (b"11:2", None)),
    ],
)
def test_null_is_not_empty_and_the_border_of_key_and_value_counts(
    one: tuple[bytes | None, bytes | None], other: tuple[bytes | None, bytes | None]
) -> None:
    assert content_digest(*one) != content_digest(*other)


def test_a_digest_is_kept_for_the_rows_that_are_there() -> None:
    """A digest that changes between versions would turn every redelivery into a reused event id."""
    digest = content_digest(b"c-7", b'{"id":1}')

    assert digest == hashlib.sha256(b'3:c-78:{"id":1}').digest()
    assert len(digest) == 32
