from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from ottla.core.pacing import BufferLimits, Pacing, Poll, Step

LIMITS = BufferLimits(records=800, bytes=1_000, batch=200, full_for_s=2.0, reserve_interval_s=0.1)
EIGHTH, HALF = 100, 400


@pytest.fixture
def pacing() -> Pacing:
    return Pacing(LIMITS)


@pytest.fixture
def full(pacing: Pacing) -> Pacing:
    """Full since second 10."""
    assert pacing.next(10.0, 800, 0) is Step.WAIT
    return pacing


@pytest.fixture
def paused(pacing: Pacing) -> Pacing:
    """Over its bound of bytes."""
    assert pacing.next(10.0, 0, 1_000) is Step.PAUSE
    return pacing


@pytest.mark.parametrize(("records", "most"), [(0, 200), (600, 200), (601, 199), (799, 1)])
def test_it_asks_for_no_more_than_the_room_and_a_batch(pacing: Pacing, records: int, most: int) -> None:
    assert pacing.next(10.0, records, 0) == Poll(most)


@pytest.mark.parametrize("records", [800, 801, 10_000])
def test_without_room_it_waits_without_pausing(pacing: Pacing, records: int) -> None:
    assert pacing.next(10.0, records, 0) is Step.WAIT
    assert not pacing.is_paused


def test_while_full_it_polls_one_record_per_interval(full: Pacing) -> None:
    steps = [full.next(10 + ms / 1000, 800, 0) for ms in (5, 99, 101, 105, 199, 202, 250)]

    assert steps == [Step.WAIT, Step.WAIT, Poll(1), Step.WAIT, Step.WAIT, Poll(1), Step.WAIT]


@pytest.mark.parametrize(
    ("records", "step"),
    [(800 - EIGHTH + 1, Step.WAIT), (800 - EIGHTH, Poll(EIGHTH)), (HALF, Poll(200)), (0, Poll(200))],
)
def test_it_stays_full_until_an_eighth_is_free(full: Pacing, records: int, step: Poll | Step) -> None:
    assert full.next(10.05, records, 0) == step


def test_full_begins_anew_after_an_eighth_was_free(full: Pacing) -> None:
    full.next(11.9, 0, 0)

    steps = [full.next(now, 800, 0) for now in (11.95, 13.9, 13.96)]

    assert steps == [Step.WAIT, Poll(1), Step.PAUSE]


@pytest.mark.parametrize(
    ("now", "step"), [(11.9, Poll(1)), (12.0, Poll(1)), (12.01, Step.PAUSE), (99.0, Step.PAUSE)]
)
def test_full_for_too_long_it_pauses(full: Pacing, now: float, step: Poll | Step) -> None:
    assert full.next(now, 801, 0) == step
    assert full.is_paused == (step is Step.PAUSE)


@pytest.mark.parametrize(("size", "step"), [(999, Poll(200)), (1_000, Step.PAUSE), (5_000, Step.PAUSE)])
def test_over_its_bound_of_bytes_it_pauses_at_once(pacing: Pacing, size: int, step: Poll | Step) -> None:
    assert pacing.next(10.0, 3, size) == step


def test_over_its_bound_of_bytes_it_pauses_also_while_full(full: Pacing) -> None:
    assert full.next(10.05, 800, 1_000) is Step.PAUSE


@pytest.mark.parametrize(
    ("records", "size", "step"),
    [
        (HALF, 500, Step.RESUME),
        (0, 0, Step.RESUME),
        (HALF + 1, 0, Step.EVENTS),
        (0, 501, Step.EVENTS),
        (800, 1_000, Step.EVENTS),
    ],
)
def test_paused_it_polls_for_events_until_half_is_free(
    paused: Pacing, records: int, size: int, step: Step
) -> None:
    assert paused.next(99.0, records, size) is step
    assert paused.is_paused == (step is Step.EVENTS)


def test_after_a_pause_everything_begins_anew(paused: Pacing) -> None:
    paused.next(11.0, 0, 0)

    steps = [paused.next(now, records, 0) for now, records in ((11.1, 0), (11.2, 800), (13.1, 800))]

    assert steps == [Poll(200), Step.WAIT, Poll(1)]


def test_after_a_pause_for_being_full_too_long_the_next_full_time_counts_from_its_own_start(
    full: Pacing,
) -> None:
    full.next(13.0, 800, 0)
    full.next(14.0, 0, 0)

    steps = [full.next(now, 800, 0) for now in (14.1, 16.0, 16.2)]

    assert steps == [Step.WAIT, Poll(1), Step.PAUSE]


def test_the_smallest_buffer_works() -> None:
    pacing = Pacing(BufferLimits(records=1, bytes=1, batch=1))

    steps = [
        pacing.next(now, records, size)
        for now, records, size in (
            (0.0, 0, 0),
            (0.1, 1, 1),
            (0.2, 1, 1),
            (0.3, 0, 0),
            (0.4, 1, 0),
            (0.41, 0, 0),
        )
    ]

    assert steps == [Poll(1), Step.PAUSE, Step.EVENTS, Step.RESUME, Step.WAIT, Poll(1)]


class PacingBesideABuffer(RuleBasedStateMachine):
    """A buffer that fills by what is asked for and empties as handlers please."""

    @initialize(
        limits=st.builds(
            BufferLimits, records=st.integers(1, 300), bytes=st.integers(1, 3_000), batch=st.integers(1, 200)
        )
    )
    def begin(self, limits: BufferLimits) -> None:
        self.limits = limits
        self.pacing = Pacing(limits)
        self.now = 100.0
        self.sizes: list[int] = []  # of the records in the buffer
        self.is_paused = False
        self.reserve_at = 0.0
        self.without_room_since: float | None = None

    @rule(ms=st.integers(0, 700), share=st.floats(0, 1), size=st.integers(0, 40))
    def turn(self, ms: int, share: float, size: int) -> None:
        """One turn of the poll loop; `share` of what is asked for is there."""
        self.now += ms / 1000
        room = self.limits.records - len(self.sizes)

        step = self.pacing.next(self.now, len(self.sizes), sum(self.sizes))

        self._check_pauses(step, room)
        if isinstance(step, Poll):
            self._check_ask(step, room)
            self.sizes += [size] * round(step.most * share)

    def _check_ask(self, step: Poll, room: int) -> None:
        assert 1 <= step.most <= self.limits.batch
        if step.most > room:
            assert step.most == 1
            assert self.now >= self.reserve_at + self.limits.reserve_interval_s
            self.reserve_at = self.now

    def _check_pauses(self, step: Poll | Step, room: int) -> None:
        size = sum(self.sizes)
        if self.is_paused:
            is_half_free = len(self.sizes) <= self.limits.records // 2 and size <= self.limits.bytes // 2
            assert step is (Step.RESUME if is_half_free else Step.EVENTS)
        else:
            assert step not in {Step.RESUME, Step.EVENTS}
            assert step is Step.PAUSE or size < self.limits.bytes
        self.is_paused = step is Step.PAUSE or (self.is_paused and step is Step.EVENTS)
        assert self.pacing.is_paused == self.is_paused
        if room > 0 or self.is_paused:
            self.without_room_since = None
        elif self.without_room_since is None:
            self.without_room_since = self.now
        else:
            assert self.now - self.without_room_since <= self.limits.full_for_s

    @rule(share=st.floats(0, 1))
    def handlers_finish(self, share: float) -> None:
        del self.sizes[: round(len(self.sizes) * share)]

    @rule()
    def handlers_finish_all(self) -> None:
        self.sizes.clear()

    @invariant()
    def the_buffer_never_outgrows_its_bound_by_more_than_the_reserve(self) -> None:
        reserve = self.limits.full_for_s / self.limits.reserve_interval_s
        assert len(self.sizes) <= self.limits.records + reserve


def test_the_buffer_stays_within_its_bounds_however_handlers_fare() -> None:
    run_state_machine_as_test(
        PacingBesideABuffer, settings=settings(max_examples=100, stateful_step_count=60)
    )
