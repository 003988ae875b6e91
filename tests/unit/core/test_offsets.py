from __future__ import annotations

import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ottla.core.offsets import OffsetTracker


class TrackerBesideAModel(RuleBasedStateMachine):
    """The tracker of one epoch beside a plain dict of what is unfinished."""

    @initialize(start=st.integers(0, 2**62))
    def begin(self, start: int) -> None:
        self.tracker: OffsetTracker[str] = OffsetTracker(start)
        self.start = self.next = self.committable = start
        self.unfinished: dict[int, str] = {}
        self.done: set[int] = set()

    @rule(gap=st.integers(0, 5))
    def poll(self, gap: int) -> None:
        self._poll(self.next + gap)

    @rule(count=st.integers(900, 2_500))
    def poll_many(self, count: int) -> None:
        for _ in range(count):
            self._poll(self.next)

    def _poll(self, offset: int) -> None:
        assert self.tracker.polled(offset, f"record {offset}")
        self.unfinished[offset] = f"record {offset}"
        self.next = offset + 1

    @rule(back=st.integers(1, 50))
    def poll_again_or_below_the_start(self, back: int) -> None:
        assert not self.tracker.polled(self.next - back, "stale")

    @precondition(lambda self: self.unfinished)
    @rule(data=st.data())
    def finish_one(self, data: st.DataObject) -> None:
        self._finish(data.draw(st.sampled_from(sorted(self.unfinished))))

    @precondition(lambda self: self.unfinished)
    @rule(stuck=st.integers(0, 3))
    def finish_all_but_the_lowest(self, stuck: int) -> None:
        for offset in sorted(self.unfinished)[stuck:]:
            self._finish(offset)

    def _finish(self, offset: int) -> None:
        self.tracker.done(offset)
        del self.unfinished[offset]
        self.done.add(offset)

    @precondition(lambda self: self.done)
    @rule(data=st.data())
    def finish_one_twice(self, data: st.DataObject) -> None:
        with pytest.raises(KeyError):
            self.tracker.done(data.draw(st.sampled_from(sorted(self.done)[-20:])))

    @rule()
    def commit(self) -> None:
        lowest = self.tracker.lowest()

        assert lowest == min(self.unfinished, default=self.next)
        assert lowest >= self.committable, "it fell within an epoch"
        assert len(self.tracker._order) <= 2 * len(self.unfinished) + 1024
        self.committable = lowest

    @rule()
    def look_at_the_head(self) -> None:
        lowest = min(self.unfinished, default=None)

        assert self.tracker.head() == (None if lowest is None else self.unfinished[lowest])

    @invariant()
    def it_knows_what_is_unfinished(self) -> None:
        assert len(self.tracker) == len(self.unfinished)
        assert self.tracker.unfinished() == [self.unfinished[offset] for offset in sorted(self.unfinished)]
        assert self.tracker.next_offset == self.next


def test_the_committable_offset_is_the_lowest_unfinished_in_whatever_order_records_end() -> None:
    run_state_machine_as_test(TrackerBesideAModel, settings=settings(max_examples=40, stateful_step_count=30))


def test_an_untouched_partition_is_committable_where_it_began() -> None:
    tracker: OffsetTracker[str] = OffsetTracker(17)

    assert tracker.lowest() == 17
    assert tracker.head() is None
    assert len(tracker) == 0


def test_holes_between_offsets_hold_nothing_up() -> None:
    tracker: OffsetTracker[str] = OffsetTracker(0)
    for offset in (3, 4, 9, 1_000):
        tracker.polled(offset, "record")

    for offset in (4, 3, 9):
        tracker.done(offset)

    assert tracker.lowest() == 1_000
    tracker.done(1_000)
    assert tracker.lowest() == 1_001


def test_a_partition_that_is_never_idle_does_not_pass_its_stuck_record() -> None:
    tracker: OffsetTracker[str] = OffsetTracker(0)
    tracker.polled(0, "stuck")

    for offset in range(1, 50_000):
        tracker.polled(offset, "quick")
        tracker.done(offset)

    assert tracker.lowest() == 0
    assert tracker.head() == "stuck"


def test_what_is_done_beyond_a_stuck_record_takes_no_memory() -> None:
    tracker: OffsetTracker[str] = OffsetTracker(0)
    tracker.polled(0, "stuck")
    longest = 0

    for offset in range(1, 20_000):
        tracker.polled(offset, "quick")
        tracker.done(offset)
        tracker.lowest()
        longest = max(longest, len(tracker._order))

    assert longest <= 2 + 1024


def test_a_record_of_the_epoch_that_was_polled_before_is_refused() -> None:
    tracker: OffsetTracker[str] = OffsetTracker(5)
    tracker.polled(5, "first")

    assert not tracker.polled(5, "again")
    assert not tracker.polled(4, "below the start")
    assert tracker.unfinished() == ["first"]


def test_a_record_ends_once() -> None:
    tracker: OffsetTracker[str] = OffsetTracker(0)
    tracker.polled(0, "record")
    tracker.done(0)

    with pytest.raises(KeyError):
        tracker.done(0)
    with pytest.raises(KeyError):
        tracker.done(1)
    assert tracker.lowest() == 1


def test_another_thread_can_ask_for_the_oldest_record_at_any_time() -> None:
    tracker: OffsetTracker[int] = OffsetTracker(0)
    told = list[int | None]()
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            told.append(tracker.oldest())

    looking = threading.Thread(target=look)
    looking.start()
    for offset in range(100_000):
        tracker.polled(offset, offset)
        if offset >= 3:
            tracker.done(offset - 3)
    is_over.set()
    looking.join()

    seen = [each for each in told if each is not None]
    assert tracker.oldest() == 99_997
    assert seen == sorted(seen)
