from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottla.core.decide import Reason
from ottla.core.detours import REPLAY_ID_HEADER, Arrival, Road, read_arrival
from ottla.core.headers import Hop, Origin, dead_letter_headers, retry_headers
from ottla.core.spring_headers import CODECS
from ottla.records import Headers

NOW_MS = 1_795_000_000_000
ORIGIN = Origin("orders", 2, 41, NOW_MS - 5_000, 1, "billing")
ERROR = ValueError("no funds")
RETRIED = retry_headers(Headers(), ORIGIN, ERROR, Hop(2, NOW_MS - 5_000, NOW_MS + 1_000))
DEAD = dead_letter_headers(Headers(), ORIGIN, Reason.EXHAUSTED, ERROR)
REPLAYED = DEAD.with_added((REPLAY_ID_HEADER, b"r-1"))


def arrival(road: Road, headers: Headers, *, group: str = "billing") -> Arrival | None:
    return read_arrival(road, headers, group=group, now_ms=NOW_MS)


def test_a_retried_record_brings_its_attempt_its_times_and_where_it_stood_first() -> None:
    assert arrival(Road.RETRY, RETRIED) == Arrival(2, ORIGIN, NOW_MS - 5_000, NOW_MS + 1_000)


def test_a_replay_begins_anew_and_keeps_where_it_stood_first() -> None:
    assert arrival(Road.REPLAY, REPLAYED) == Arrival(1, ORIGIN, is_replay=True)


def test_a_replay_by_way_of_a_retry_topic_is_known_by_its_header() -> None:
    replay = arrival(Road.RETRY, RETRIED.with_added((REPLAY_ID_HEADER, b"r-1")))

    assert replay is not None
    assert replay.is_replay


def test_a_dead_letter_is_no_replay_whatever_it_claims() -> None:
    assert arrival(Road.DEAD_LETTER, REPLAYED) == Arrival(1, ORIGIN)


@pytest.mark.parametrize(
    ("road", "headers", "is_ours"),
    [
        (Road.RETRY, RETRIED, False),
        (Road.DEAD_LETTER, DEAD, False),
        (Road.REPLAY, REPLAYED, True),  # a topic that nobody else has
        (Road.RETRY, Headers(), True),  # Spring writes no group for some failures
    ],
)
def test_what_another_group_put_on_a_shared_topic_is_not_ours(
    road: Road, headers: Headers, *, is_ours: bool
) -> None:
    assert (arrival(road, headers, group="notifications") is not None) == is_ours


@pytest.mark.parametrize("missing", ["topic", "partition", "offset", "timestamp"])
def test_coordinates_count_only_as_a_whole(missing: str) -> None:
    headers = Headers(pair for pair in RETRIED if pair[0] != f"kafka_original-{missing}")

    found = arrival(Road.RETRY, headers)

    assert found is not None
    assert found.origin is None


def test_a_record_whose_group_was_handed_over_is_ours() -> None:
    taken_over = replace(ORIGIN, group="payments")
    headers = retry_headers(Headers(), taken_over, ERROR, Hop(3, NOW_MS, NOW_MS))

    found = arrival(Road.RETRY, headers, group="payments")

    assert found is not None
    assert (found.attempt, found.origin) == (3, taken_over)


NAMES = st.sampled_from([*CODECS, REPLAY_ID_HEADER, "own"])
ANYTHING = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=12)), max_size=12).map(Headers)


@given(st.sampled_from(Road), ANYTHING)
def test_whatever_headers_say_an_arrival_is_sound_or_not_ours(road: Road, headers: Headers) -> None:
    found = arrival(road, headers)

    if found is not None:
        assert 1 <= found.attempt <= 32_767
        assert found.due_ms is None or found.due_ms <= NOW_MS + 86_400_000
        assert found.is_replay <= (road in {Road.RETRY, Road.REPLAY})
