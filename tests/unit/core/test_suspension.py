from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottla.core.suspension import Suspension

MIDDLE = 0.5


@pytest.fixture
def suspended() -> Suspension:
    suspension = Suspension()
    suspension.failed(MIDDLE)
    return suspension


def test_the_first_failure_suspends_and_asks_for_a_probe() -> None:
    suspension = Suspension()

    wait_s = suspension.failed(MIDDLE)

    assert wait_s == pytest.approx(0.18)
    assert not suspension.may_start


def test_failures_of_records_that_ran_beside_ask_for_no_further_probe(suspended: Suspension) -> None:
    assert suspended.failed(MIDDLE) is None


def test_one_record_starts_as_the_probe_and_no_other(suspended: Suspension) -> None:
    suspended.probe_due()
    assert suspended.may_start

    suspended.started("probe")

    assert not suspended.may_start


def test_a_probe_that_cured_nothing_is_followed_by_another_after_a_longer_wait(suspended: Suspension) -> None:
    suspended.probe_due()
    suspended.started("probe")

    assert suspended.failed(MIDDLE) is None
    assert suspended.ended("probe", MIDDLE) == pytest.approx(0.36)


def test_a_record_that_is_no_probe_asks_for_none_when_it_ends(suspended: Suspension) -> None:
    suspended.probe_due()
    suspended.started("probe")

    assert suspended.ended("another", MIDDLE) is None


def test_a_success_opens_at_once_and_the_next_outage_begins_with_a_short_wait(suspended: Suspension) -> None:
    suspended.probe_due()
    suspended.started("probe")

    assert suspended.succeeded()

    assert suspended.may_start
    assert suspended.ended("probe", MIDDLE) is None
    assert suspended.failed(MIDDLE) == pytest.approx(0.18)


def test_a_success_while_all_is_well_is_no_news() -> None:
    assert not Suspension().succeeded()


def test_after_the_end_nothing_starts_whatever_is_due_or_succeeds(suspended: Suspension) -> None:
    suspended.probe_due()
    suspended.started("probe")
    suspended.end()

    suspended.probe_due()

    assert not suspended.may_start
    assert not suspended.succeeded()
    assert suspended.ended("probe", MIDDLE) is None


@given(st.integers(0, 2000), st.floats(0, 1, exclude_max=True))
def test_the_wait_never_exceeds_ten_seconds(failures: int, chance: float) -> None:
    suspension = Suspension()
    wait_s = suspension.failed(chance)
    for _ in range(failures):
        suspension.started("probe")
        wait_s = suspension.ended("probe", chance)

    assert wait_s is not None
    assert 0 < wait_s <= 10
