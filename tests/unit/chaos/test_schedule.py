"""What comes when is decided by the seed alone, and every run has enough of it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chaos.schedule import CYCLE_S, STORM_S, WITH_TRANSACTIONS, Family, Kind, Protocol, plan

seeds = st.integers(0, 2**32)


@given(seeds)
def test_the_same_seed_gives_the_same_plan(seed: int) -> None:
    assert plan(seed, 120) == plan(seed, 120)


def test_another_seed_gives_another_plan() -> None:
    assert len({plan(seed, 120).storms for seed in range(20)}) == 20


@given(seeds)
@settings(max_examples=50, deadline=None)
def test_ten_minutes_have_enough_of_everything_for_any_seed(seed: int) -> None:
    drawn = plan(seed, 600)
    kinds = {fault.kind for storm in drawn.storms for fault in storm}

    assert drawn.kills >= 60
    assert len(drawn.storms) >= 10
    assert kinds == set(Kind)


@given(seeds, st.integers(30, 900))
@settings(max_examples=50, deadline=None)
def test_a_kill_comes_at_least_every_ten_seconds_however_long_a_run_is(seed: int, seconds: int) -> None:
    assert plan(seed, seconds).kills >= seconds // 10


@given(seeds)
@settings(max_examples=50, deadline=None)
def test_every_fault_is_over_when_its_storm_is(seed: int) -> None:
    faults = [fault for storm in plan(seed, 300).storms for fault in storm]

    assert all(0 <= fault.at_s < fault.ends_s <= STORM_S + 0.02 for fault in faults)


@given(seeds)
@settings(max_examples=50, deadline=None)
def test_of_one_family_one_fault_goes_on_at_a_time(seed: int) -> None:
    for storm in plan(seed, 300).storms:
        for family in set(Family) - {Family.KILL}:
            spans = sorted((fault.at_s, fault.ends_s) for fault in storm if fault.kind.family is family)
            assert all(ends <= begins for (_, ends), (begins, _) in itertools.pairwise(spans))


@given(seeds)
@settings(max_examples=50, deadline=None)
def test_some_slots_of_a_run_begin_nothing_from_the_deck(seed: int) -> None:
    begun = {
        (number, int(fault.at_s // 4))
        for number, storm in enumerate(plan(seed, 600).storms)
        for fault in storm
        if fault.kind.family is not Family.KILL
    }

    assert len(begun) < 6 * 600 / CYCLE_S


@given(seeds)
def test_each_service_has_another_protocol(seed: int) -> None:
    assert set(plan(seed, 60).protocols.values()) == set(Protocol)


@given(seeds)
def test_a_failpoint_is_one_that_the_service_can_reach(seed: int) -> None:
    at_failpoints = [
        fault for storm in plan(seed, 300).storms for fault in storm if fault.kind is Kind.KILL_AT
    ]

    assert all(fault.point for fault in at_failpoints)
    assert not any(fault.role == "notes" and fault.point == "claimed" for fault in at_failpoints)


@pytest.mark.parametrize("kinds", [frozenset[Kind](), frozenset({Kind.KILL}), frozenset({Kind.LATENCY})])
def test_only_the_kinds_that_are_asked_for_are_drawn(kinds: frozenset[Kind]) -> None:
    drawn = {fault.kind for storm in plan(1, 60, kinds=kinds).storms for fault in storm}

    assert drawn == kinds


@given(seeds)
def test_processes_die_only_where_it_is_asked_for_and_only_those_that_come_there(seed: int) -> None:
    drawn = plan(seed, 120, kinds=frozenset({Kind.KILL_AT}), points=("relay-read",))
    faults = [fault for storm in drawn.storms for fault in storm]

    assert {fault.point for fault in faults} == {"relay-read"}
    assert {fault.role for fault in faults} <= set(WITH_TRANSACTIONS)
