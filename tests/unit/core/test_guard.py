from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottla.core.guard import Guard, GuardState
from ottla.errors import WiringError

RUN_ONLY = Guard(run=3, ratio=1, over=1)
RATIO_ONLY = Guard(run=1_000, ratio=0.5, over=10)


class Records:
    """Records as they end, told to a guard as an engine tells them."""

    def __init__(self, policy: Guard) -> None:
        self.guard = GuardState(policy)
        self._succeeded = 0

    def may_bury(self) -> bool:
        return self.guard.may_bury(self._succeeded)

    def succeeded(self) -> bool:
        self._succeeded += 1
        lifts = self.guard.is_tripped
        if lifts:
            self.guard.lift(self._succeeded)
        return lifts


def asked(state: Records, story: str) -> str:
    """The answers, 1 for True, to a story of records that succeeded (s) or were given up (d)."""
    return "".join(str(int(state.succeeded() if event == "s" else state.may_bury())) for event in story)


@pytest.mark.parametrize(
    ("story", "answers"),
    [
        ("ddd", "111"),
        ("dddd", "1110"),
        ("ddddddd", "1110000"),
        ("ddsddds", "1101110"),  # a success between begins a new run
        ("ddddsdddd", "111011110"),  # a success lifts, and the run begins anew
        ("ddddssdd", "11101011"),
    ],
)
def test_a_run_of_dead_letters_ends_at_its_bound_until_a_record_succeeds(story: str, answers: str) -> None:
    assert asked(Records(RUN_ONLY), story) == answers


@pytest.mark.parametrize(
    ("story", "answers"),
    [
        ("sssss" + "ddddd" + "d" + "d", "00000" + "11111" + "1" + "0"),  # half is not more than half
        ("ddddddddd" + "d" + "d", "111111111" + "1" + "0"),  # asked only once ten have ended
        ("dddddd" + "ssss" + "d", "111111" + "0000" + "0"),
        ("dddddd" + "sssss" + "d", "111111" + "00000" + "1"),  # the first has left the last ten
        ("dddddd" + "ssss" + "d" + "s" + "d" * 10 + "d", "1111110000" + "0" + "1" + "1" * 9 + "00"),
    ],
)
def test_too_large_a_share_of_the_last_records_trips_it(story: str, answers: str) -> None:
    assert asked(Records(RATIO_ONLY), story) == answers


def test_a_ratio_of_one_is_never_exceeded() -> None:
    state = Records(Guard(run=1_000, ratio=1, over=5))

    assert asked(state, "d" * 1_000) == "1" * 1_000


@pytest.mark.parametrize("share", range(1, 100))
def test_a_share_that_is_exactly_the_ratio_does_not_exceed_it(share: int) -> None:
    state = Records(Guard(run=1_000, ratio=share / 100, over=100))  # 0.29 * 100 is below 29

    answers = asked(state, "d" * share + "s" * (100 - share) + "d")

    assert answers[-1] == "1"


def test_it_says_which_bound_was_reached_and_forgets_it_when_lifted() -> None:
    by_run, by_ratio = Records(RUN_ONLY), Records(RATIO_ONLY)

    asked(by_run, "dddd")
    asked(by_ratio, "s" + "ddddds" + "dddd")

    run, ratio = by_run.guard, by_ratio.guard
    assert (run.is_tripped, run.why) == (True, "3 records in a row were dead-lettered")
    assert (ratio.is_tripped, ratio.why) == (True, "8 of the last 10 records were dead-lettered")
    assert by_run.succeeded()
    assert (run.is_tripped, run.why) == (False, "")


def test_the_defaults_let_fifty_go_in_a_row() -> None:
    assert asked(Records(Guard()), "d" * 52) == "1" * 50 + "00"


def test_the_defaults_stop_when_more_than_half_of_a_hundred_were_given_up() -> None:
    mixed = "ddsdd" * 20

    assert asked(Records(Guard()), mixed + "d")[-1] == "0"
    assert asked(Records(Guard()), "ds" * 50 + "d")[-1] == "1"


class Model:
    """Every record that ended, in a list."""

    def __init__(self, policy: Guard) -> None:
        self.policy = policy
        self.ended: list[str] = []
        self.is_tripped = False

    def may_bury(self) -> bool:
        run = next((n for n, event in enumerate(reversed(self.ended)) if event == "s"), len(self.ended))
        last = self.ended[-self.policy.over :]
        too_many = len(last) == self.policy.over and last.count("d") / self.policy.over > self.policy.ratio
        self.is_tripped = self.is_tripped or run + 1 > self.policy.run or too_many
        if not self.is_tripped:
            self.ended.append("d")
        return not self.is_tripped

    def succeeded(self) -> bool:
        lifts, self.is_tripped = self.is_tripped, False
        if lifts:
            self.ended = []
        self.ended.append("s")
        return lifts


POLICIES = st.builds(
    Guard, run=st.integers(1, 12), ratio=st.sampled_from([0.01, 0.25, 0.5, 0.75, 1]), over=st.integers(1, 12)
)
STORIES = st.lists(st.sampled_from(["s", "d", "dd", "ddddd"]), max_size=60).map("".join)


@given(POLICIES, STORIES)
def test_beside_a_model_that_keeps_every_record(policy: Guard, story: str) -> None:
    state, model = Records(policy), Model(policy)

    for event in story:
        answer = state.succeeded() if event == "s" else state.may_bury()
        assert answer == (model.succeeded() if event == "s" else model.may_bury())
        assert state.guard.is_tripped == model.is_tripped
        assert bool(state.guard.why) == state.guard.is_tripped


@given(POLICIES, STORIES)
def test_no_more_than_the_run_goes_without_a_success(policy: Guard, story: str) -> None:
    answers = asked(Records(policy), story)
    buried = "".join(
        event for event, answer in zip(story, answers, strict=True) if (event, answer) != ("d", "0")
    )

    assert max((len(part) for part in buried.split("s")), default=0) <= policy.run


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("run", 0),
        ("run", -1),
        ("ratio", 0),
        ("ratio", -0.1),
        ("ratio", 1.01),
        ("ratio", math.nan),
        ("over", 0),
        ("over", -1),
    ],
)
def test_a_value_out_of_its_range_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(WiringError, match=rf"^Guard: .*{field}={value} must"):
        Guard(**{field: value})  # type: ignore[arg-type]


def test_every_value_out_of_its_range_is_told_at_once() -> None:
    with pytest.raises(WiringError) as caught:
        Guard(run=0, ratio=2, over=0)

    assert str(caught.value) == (
        "Guard: run=0 must be at least 1; ratio=2 must be above 0 and at most 1; over=0 must be at least 1"
    )


def test_a_success_beside_it_is_seen_when_it_is_asked_for() -> None:
    guard = GuardState(Guard(run=1))

    before_it_trips = guard.is_over(1)
    answers = [guard.may_bury(3), guard.may_bury(3)]

    assert not before_it_trips
    assert answers == [True, False]
    assert not guard.is_over(3)
    assert guard.is_over(4)
