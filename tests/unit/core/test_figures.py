from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottla.core.figures import BOUNDS_S, NOTHING, Histogram


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (0.001, 0), (0.0010001, 1), (0.1, 6), (60.0, 14), (60.1, 15), (86_400.0, 15)],
)
def test_a_duration_falls_into_the_first_bucket_whose_bound_it_does_not_exceed(
    seconds: float, bucket: int
) -> None:
    histogram = Histogram()

    histogram.observe(seconds)

    assert histogram.now().counts.index(1) == bucket
    assert histogram.now().sum_s == seconds


@given(st.lists(st.floats(0, 100)))
def test_buckets_count_all_that_is_at_most_as_long(durations: list[float]) -> None:
    histogram = Histogram()
    for seconds in durations:
        histogram.observe(seconds)

    told = dict(histogram.now().cumulative())

    assert told == {
        **{str(bound): sum(seconds <= bound for seconds in durations) for bound in BOUNDS_S},
        "+Inf": len(durations),
    }
    assert histogram.now().sum_s == pytest.approx(sum(durations))


def test_what_was_told_does_not_change_with_what_comes_later() -> None:
    histogram = Histogram()
    told = histogram.now()

    histogram.observe(1.0)

    assert told == NOTHING
