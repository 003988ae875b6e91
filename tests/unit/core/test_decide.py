from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottla.core.backoff import InPlace, conflict_delay_s
from ottla.core.decide import (
    Bury,
    Cancelled,
    Conflicted,
    Decision,
    Ended,
    Failed,
    Forward,
    GivenUp,
    Interrupted,
    Moment,
    Outcome,
    Reason,
    RetryInPlace,
    RunAgain,
    Simple,
    StopPartition,
    WaitAlone,
    WaitForCure,
    decide,
)
from ottla.core.retry_topics import RetryTopics

RETRY = InPlace(attempts=3, first_s=1, max_s=30, factor=2, jitter=0)
ERROR = ValueError("no")

DONE, LEAVE = Simple.DONE, Simple.LEAVE
CURE, STOP = WaitForCure(ERROR), StopPartition(ERROR)
AGAIN = RunAgain(conflict_delay_s(0, 0.5), ERROR)
IN_1S, IN_7S, IN_99S = RetryInPlace(1.0), RetryInPlace(7.0), RetryInPlace(99.0)


def given_up(reason: Reason) -> GivenUp:
    return GivenUp(ERROR, reason)


def bury(reason: Reason) -> Bury:
    return Bury(reason, ERROR)


EXHAUSTED, FULL, FATAL = bury(Reason.EXHAUSTED), bury(Reason.WINDOW_FULL), bury(Reason.FATAL)

# Per outcome four pairs (with a dead-letter topic, without one):
# the first attempt, the first with the window full, the last attempt, the last with the window full.
Row = tuple[
    tuple[Decision, Decision], tuple[Decision, Decision], tuple[Decision, Decision], tuple[Decision, Decision]
]
TABLE: list[tuple[Outcome, Row]] = [
    (Ended.SUCCEEDED, ((DONE, DONE), (DONE, DONE), (DONE, DONE), (DONE, DONE))),
    (Ended.DUPLICATE, ((DONE, DONE), (DONE, DONE), (DONE, DONE), (DONE, DONE))),
    (Ended.SKIPPED, ((DONE, DONE), (DONE, DONE), (DONE, DONE), (DONE, DONE))),
    (Failed(ERROR), ((IN_1S, IN_1S), (FULL, STOP), (EXHAUSTED, STOP), (EXHAUSTED, STOP))),
    (Failed(ERROR, after_s=7.0), ((IN_7S, IN_7S), (FULL, STOP), (EXHAUSTED, STOP), (EXHAUSTED, STOP))),
    (Failed(ERROR, after_s=99.0), ((IN_99S, IN_99S), (FULL, STOP), (EXHAUSTED, STOP), (EXHAUSTED, STOP))),
    (Failed(ERROR, is_fatal=True), ((FATAL, STOP), (FATAL, STOP), (FATAL, STOP), (FATAL, STOP))),
    (Failed(ERROR, is_fatal=True, after_s=7.0), ((FATAL, STOP), (FATAL, STOP), (FATAL, STOP), (FATAL, STOP))),
    *((given_up(reason), ((bury(reason), STOP),) * 4) for reason in Reason),
    (Interrupted(ERROR), ((CURE, CURE), (CURE, CURE), (CURE, CURE), (CURE, CURE))),
    (Conflicted(ERROR), ((AGAIN, AGAIN), (AGAIN, AGAIN), (AGAIN, AGAIN), (AGAIN, AGAIN))),
    (Cancelled.CANCELLED, ((LEAVE, LEAVE), (LEAVE, LEAVE), (LEAVE, LEAVE), (LEAVE, LEAVE))),
]
CIRCUMSTANCES = [(1, False), (1, True), (3, False), (3, True)]


@pytest.mark.parametrize(
    ("outcome", "attempt", "is_window_full", "has_dead_letter", "expected"),
    [
        pytest.param(
            outcome,
            attempt,
            is_full,
            has_dead_letter,
            pair[0 if has_dead_letter else 1],
            id=f"{outcome}-{attempt=}-{is_full=}-{has_dead_letter=}",
        )
        for outcome, row in TABLE
        for (attempt, is_full), pair in zip(CIRCUMSTANCES, row, strict=True)
        for has_dead_letter in (True, False)
    ],
)
def test_every_outcome_has_its_decision(
    outcome: Outcome,
    attempt: int,
    is_window_full: bool,  # noqa: FBT001
    has_dead_letter: bool,  # noqa: FBT001
    expected: Decision,
) -> None:
    decision = decide(
        outcome,
        attempt=attempt,
        moment=Moment(is_window_full=is_window_full),
        retry=RETRY,
        has_dead_letter=has_dead_letter,
    )

    assert decision == expected


def test_the_table_lists_every_outcome() -> None:
    listed = [outcome for outcome, _ in TABLE]

    assert {type(outcome) for outcome in listed} == set(get_args(Outcome))
    assert {outcome for outcome in listed if isinstance(outcome, Ended)} == set(Ended)
    assert {outcome.reason for outcome in listed if isinstance(outcome, GivenUp)} == set(Reason)


ERRORS = st.builds(ValueError)
OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    st.sampled_from(Ended),
    st.builds(Failed, ERRORS, is_fatal=st.booleans(), after_s=st.none() | st.floats(0, 1e6)),
    st.builds(GivenUp, ERRORS, st.sampled_from(Reason)),
    st.builds(Interrupted, ERRORS),
    st.sampled_from(Cancelled),
)


@given(
    OUTCOMES,
    st.integers(1, 10**6),
    st.floats(0, 1, exclude_max=True),
    st.builds(InPlace, attempts=st.integers(1, 10**6)),
    st.booleans(),
    st.booleans(),
)
def test_nothing_but_an_end_is_done_and_nothing_else_is_lost(  # noqa: PLR0917
    outcome: Outcome,
    attempt: int,
    chance: float,
    retry: InPlace,
    is_window_full: bool,  # noqa: FBT001
    has_dead_letter: bool,  # noqa: FBT001
) -> None:
    decision = decide(
        outcome,
        attempt=attempt,
        moment=Moment(chance=chance, is_window_full=is_window_full),
        retry=retry,
        has_dead_letter=has_dead_letter,
    )

    assert isinstance(decision, get_args(Decision))
    assert (decision is Simple.DONE) == isinstance(outcome, Ended)
    assert not (isinstance(decision, RetryInPlace) and (attempt >= retry.attempts or is_window_full))
    assert not isinstance(decision, StopPartition if has_dead_letter else Bury)


def test_chance_moves_the_wait() -> None:
    retry = InPlace(attempts=3, first_s=1, max_s=30, jitter=0.2)

    assert decide(Failed(ERROR), attempt=1, moment=Moment(chance=0.0), retry=retry) == RetryInPlace(0.8)


def test_waits_grow_with_the_attempt() -> None:
    waits = [decide(Failed(ERROR), attempt=attempt, moment=Moment(), retry=RETRY) for attempt in (1, 2)]

    assert waits == [RetryInPlace(1.0), RetryInPlace(2.0)]


TOPICS = RetryTopics(attempts=3, first_s=1, factor=2)
NOW = Moment(now_ms=10_000, first_seen_ms=5_000)


@pytest.mark.parametrize(
    ("outcome", "attempt", "retry", "expected"),
    [
        (Failed(ERROR), 1, TOPICS, Forward(TOPICS.stages[0], 11_000, ERROR)),
        (Failed(ERROR), 2, TOPICS, Forward(TOPICS.stages[1], 12_000, ERROR)),
        (Failed(ERROR), 3, TOPICS, Bury(Reason.EXHAUSTED, ERROR)),
        (Failed(ERROR, is_fatal=True), 1, TOPICS, Bury(Reason.FATAL, ERROR)),
        (Failed(ERROR, after_s=0.5), 1, TOPICS, Forward(TOPICS.stages[0], 10_500, ERROR)),
        (Failed(ERROR), 1, RetryTopics(timeout_s=5), Forward(RetryTopics().stages[0], 11_000, ERROR)),
        (Failed(ERROR), 1, RetryTopics(timeout_s=4.9), Bury(Reason.EXHAUSTED, ERROR)),
        (Interrupted(ERROR), 1, TOPICS, WaitForCure(ERROR)),
        (Interrupted(ERROR, holds_up_others=False), 1, TOPICS, WaitAlone(ERROR)),
    ],
)
def test_a_failure_goes_on_to_the_retry_topic_of_its_attempt(
    outcome: Outcome, attempt: int, retry: RetryTopics, expected: Decision
) -> None:
    assert decide(outcome, attempt=attempt, moment=NOW, retry=retry) == expected


def test_a_full_window_matters_only_in_place() -> None:
    moment = replace(NOW, is_window_full=True)

    assert isinstance(decide(Failed(ERROR), attempt=1, moment=moment, retry=TOPICS), Forward)


@pytest.mark.parametrize(("failing_s", "is_given_up"), [(0.0, False), (59.9, False), (60.0, True)])
def test_what_fails_for_too_long_has_no_further_attempt(failing_s: float, *, is_given_up: bool) -> None:
    retry = InPlace(attempts=1_000_000, max_elapsed_s=60)

    decision = decide(Failed(ERROR), attempt=7, moment=Moment(failing_s=failing_s), retry=retry)

    assert isinstance(decision, Bury) == is_given_up
