from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ottla.core.backoff import InPlace, Never, conflict_delay_s, exponential_s
from ottla.errors import WiringError

FAR = 10**6
CHANCES = st.floats(0, 1, exclude_max=True)
POLICIES = st.builds(
    InPlace,
    attempts=st.integers(1, FAR + 1),
    first_s=st.floats(1e-9, 10),
    max_s=st.floats(10, 1e9),
    factor=st.floats(1, 1e300),
    jitter=st.floats(0, 1, exclude_max=True),
)


@pytest.mark.parametrize(
    ("attempt", "waits_s"),
    [(1, 0.2), (2, 0.4), (3, 0.8), (4, 1.6), (7, 12.8), (8, 25.6), (9, 30.0), (10, 30.0), (FAR, 30.0)],
)
def test_the_wait_doubles_up_to_its_cap(attempt: int, waits_s: float) -> None:
    assert exponential_s(attempt, first_s=0.2, factor=2, max_s=30) == pytest.approx(waits_s)


@pytest.mark.parametrize(
    ("conflicts", "chance", "waits_s"), [(1, 0.0, 0.025), (1, 1.0, 0.05), (4, 1.0, 0.4), (FAR, 1.0, 5.0)]
)
def test_the_wait_after_a_conflict_is_short_and_spread(conflicts: int, chance: float, waits_s: float) -> None:
    assert conflict_delay_s(conflicts, chance) == pytest.approx(waits_s)


@pytest.mark.parametrize("attempt", [1, 2, FAR])
def test_a_factor_of_one_waits_the_same_each_time(attempt: int) -> None:
    assert exponential_s(attempt, first_s=0.5, factor=1, max_s=30) == 0.5


@pytest.mark.parametrize("factor", [1.0, math.nextafter(1, 2), 1.0001, 2.0, 1e308])
@pytest.mark.parametrize("first_s", [5e-324, 1e-300, 0.2])
@pytest.mark.parametrize("max_s", [0.2, 30.0, 1e308])
def test_the_wait_is_defined_at_the_far_ends_of_every_schedule(
    factor: float, first_s: float, max_s: float
) -> None:
    waits_s = [exponential_s(n, first_s=first_s, factor=factor, max_s=max_s) for n in (1, 2, 1_030, FAR)]

    assert waits_s == sorted(waits_s)
    assert waits_s[0] == first_s
    assert waits_s[-1] <= max_s


@given(POLICIES, st.integers(1, FAR), CHANCES)
def test_no_wait_is_negative_or_above_the_cap(policy: InPlace, attempt: int, chance: float) -> None:
    assume(attempt < policy.attempts)

    delay_s = policy.delay_s(attempt, chance)

    assert delay_s is not None
    assert 0 <= delay_s <= policy.max_s


@given(POLICIES, st.integers(1, FAR), st.integers(0, 100))
def test_without_jitter_no_wait_is_shorter_than_the_one_before(
    policy: InPlace, attempt: int, later: int
) -> None:
    def wait_s(attempt: int) -> float:
        return exponential_s(attempt, first_s=policy.first_s, factor=policy.factor, max_s=policy.max_s)

    assert wait_s(attempt) <= wait_s(attempt + later)


@given(st.integers(1, 9), CHANCES)
def test_jitter_moves_a_wait_by_at_most_its_share(attempt: int, chance: float) -> None:
    policy = InPlace(attempts=10, first_s=0.2, max_s=1e9, jitter=0.2)

    delay_s = policy.delay_s(attempt, chance)

    assert delay_s == pytest.approx(0.2 * 2 ** (attempt - 1), rel=0.2 + 1e-9)


@pytest.mark.parametrize(("chance", "delay_s"), [(0.0, 0.8), (0.5, 1.0), (1 - 1e-12, 1.2)])
def test_chance_places_the_wait_between_both_ends_of_the_jitter(chance: float, delay_s: float) -> None:
    policy = InPlace(first_s=1, max_s=30, jitter=0.2)

    assert policy.delay_s(1, chance) == pytest.approx(delay_s)


def test_jitter_lifts_no_wait_above_the_cap() -> None:
    policy = InPlace(first_s=1, max_s=1, jitter=0.5)

    assert policy.delay_s(1, 0.9) == 1


@pytest.mark.parametrize(("attempt", "is_last"), [(1, False), (4, False), (5, True), (6, True), (FAR, True)])
def test_the_last_attempt_has_no_wait_behind_it(attempt: int, is_last: bool) -> None:  # noqa: FBT001
    assert (InPlace(attempts=5).delay_s(attempt, 0.5) is None) == is_last


def test_never_is_one_attempt() -> None:
    assert Never().attempts == 1
    assert Never().delay_s(1, 0.5) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attempts", 0),
        ("attempts", -1),
        ("first_s", 0),
        ("first_s", -1),
        ("first_s", math.nan),
        ("first_s", math.inf),
        ("max_s", 0.1),
        ("max_s", math.nan),
        ("max_s", math.inf),
        ("factor", 0.99),
        ("factor", math.nan),
        ("factor", math.inf),
        ("jitter", -0.01),
        ("jitter", 1),
        ("jitter", math.nan),
        ("when_window_full", "stop"),
    ],
)
def test_a_value_out_of_its_range_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(WiringError, match=rf"^InPlace: .*{field}={value!r} must"):
        InPlace(**{field: value})  # type: ignore[arg-type]


def test_every_value_out_of_its_range_is_told_at_once() -> None:
    with pytest.raises(WiringError) as caught:
        InPlace(attempts=0, first_s=-1, max_s=-2, factor=0.5, jitter=2)

    assert str(caught.value) == (
        "InPlace: attempts=0 must be at least 1; first_s=-1 must be above 0; "
        "max_s=-2 must be at least first_s; factor=0.5 must be at least 1; jitter=2 must lie in [0, 1)"
    )


def test_the_narrowest_values_are_taken() -> None:
    policy = InPlace(attempts=1, first_s=1, max_s=1, factor=1, jitter=0)

    assert policy.delay_s(1, 0) is None
