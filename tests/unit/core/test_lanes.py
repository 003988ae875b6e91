from __future__ import annotations

from dataclasses import dataclass

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

from ottla.core.lanes import Lanes

Lane = tuple[int, str] | None
LANES = st.none() | st.tuples(st.integers(0, 1), st.sampled_from("abc"))


@dataclass(frozen=True)
class Item:
    """A record of one assignment (`epoch`) in a lane that outlives it; `slot` is its partition."""

    number: int
    lane: Lane
    slot: int
    epoch: int


def lane_of(item: Item) -> Lane:
    return item.lane


class LanesBesideAModel(RuleBasedStateMachine):
    """The queue beside plain lists: what waits, what is out, what comes back from a back-off."""

    @initialize()
    def begin(self) -> None:
        self.lanes: Lanes[Item] = Lanes()
        self.epochs = [0, 0]
        self.count = 0
        self.queued: list[Item] = []  # offered and not started, in that order
        self.out: list[Item] = []  # handed out and not ended: they run, or are in back-off
        self.back: list[Item] = []  # their back-off is over, the newest first

    @rule(lane=LANES, slot=st.integers(0, 1))
    def offer(self, lane: Lane, slot: int) -> None:
        slot = slot if lane is None else lane[0]
        self.count += 1
        item = Item(self.count, lane, slot, self.epochs[slot])
        self.lanes.offer(lane, item)
        self.queued.append(item)

    def _taken(self) -> set[Lane]:
        return {item.lane for item in (*self.out, *self.back) if item.lane is not None}

    def _startable(self) -> list[Item]:
        """The first of every lane that is free, and all that no lane orders."""
        seen = self._taken()
        startable = []
        for item in self.queued:
            if item.lane not in seen:
                startable.append(item)
            if item.lane is not None:
                seen.add(item.lane)
        return startable

    @rule()
    def take(self) -> None:
        item = self.lanes.take()

        if self.back:
            assert item == self.back.pop(0), "a back-off that is over goes before all others"
        elif startable := self._startable():
            assert item in startable
            if item.lane is None:
                assert item == next(other for other in startable if other.lane is None)
            self.queued.remove(item)
        else:
            assert item is None
        if item is not None:
            self.out.append(item)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.out))
        self.out.remove(item)
        self.lanes.finish(item.lane)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def back_off_ends(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.out))
        self.out.remove(item)
        self.back.insert(0, item)
        self.lanes.again(item)

    @rule(slot=st.integers(0, 1))
    def revoke_and_give_back(self, slot: int) -> None:
        """What waits is dropped, what runs keeps its lane; the next epoch offers to the same lanes."""
        gone = [item for item in (*self.queued, *self.back) if item.slot == slot]

        dropped = self.lanes.drop(lambda item: item.slot == slot, lane_of)

        assert sorted(item.number for item in dropped) == sorted(item.number for item in gone)
        self.queued = [item for item in self.queued if item.slot != slot]
        self.back = [item for item in self.back if item.slot != slot]
        self.epochs[slot] += 1

    @invariant()
    def a_free_worker_always_finds_a_record_that_may_start(self) -> None:
        assert bool(self.lanes) == bool(self.back or self._startable())

    @invariant()
    def a_lane_is_kept_while_something_of_it_is_queued_or_out_and_not_longer(self) -> None:
        kept = {item.lane for item in (*self.queued, *self.out, *self.back) if item.lane is not None}
        assert self.lanes.taken() == len(kept)

    @invariant()
    def one_record_of_a_lane_is_out(self) -> None:
        out = [item.lane for item in (*self.out, *self.back) if item.lane is not None]
        assert len(out) == len(set(out))


def test_one_record_of_a_lane_is_out_in_order_and_nothing_that_may_start_is_kept_waiting() -> None:
    run_state_machine_as_test(LanesBesideAModel, settings=settings(max_examples=100, stateful_step_count=50))


@pytest.fixture
def lanes() -> Lanes[str]:
    return Lanes()


def key_of(item: str) -> str | None:
    """Items are called by key and number, "a1"; "-1" has no lane."""
    return None if item[0] == "-" else item[0]


def offer(lanes: Lanes[str], *items: str) -> None:
    for item in items:
        lanes.offer(key_of(item), item)


def take_all(lanes: Lanes[str]) -> list[str]:
    taken = []
    while (item := lanes.take()) is not None:
        taken.append(item)
    return taken


def test_records_of_one_key_start_one_after_the_other(lanes: Lanes[str]) -> None:
    offer(lanes, "a1", "a2", "a3")

    first = take_all(lanes)
    lanes.finish("a")
    second = take_all(lanes)

    assert (first, second) == (["a1"], ["a2"])


def test_records_of_different_keys_start_beside_each_other(lanes: Lanes[str]) -> None:
    offer(lanes, "a1", "a2", "b1", "c1")

    assert take_all(lanes) == ["a1", "b1", "c1"]


def test_records_without_a_lane_are_ordered_by_nothing(lanes: Lanes[str]) -> None:
    offer(lanes, "-1", "-2", "-3")

    taken = take_all(lanes)
    lanes.finish(None)

    assert taken == ["-1", "-2", "-3"]
    assert lanes.taken() == 0


def test_a_long_lane_does_not_keep_the_others_from_their_turn(lanes: Lanes[str]) -> None:
    offer(lanes, "a1", "a2", "a3", "b1")
    lanes.take()

    lanes.finish("a")

    assert take_all(lanes) == ["b1", "a2"]


def test_a_record_whose_back_off_is_over_starts_before_all_others(lanes: Lanes[str]) -> None:
    offer(lanes, "a1", "a2", "b1", "c1")
    lanes.take()

    lanes.again("a1")

    assert take_all(lanes) == ["a1", "b1", "c1"]


def test_a_record_in_back_off_keeps_its_lane(lanes: Lanes[str]) -> None:
    offer(lanes, "a1")
    lanes.take()

    offer(lanes, "a2")

    assert not lanes
    assert lanes.take() is None


def test_a_handler_that_still_runs_keeps_its_lane_when_its_partition_is_revoked_and_given_back(
    lanes: Lanes[str],
) -> None:
    offer(lanes, "a1", "a2")
    lanes.take()
    dropped = lanes.drop(lambda item: True, key_of)

    offer(lanes, "a3")
    while_it_runs = lanes.take()
    lanes.finish("a")

    assert dropped == ["a2"]
    assert while_it_runs is None
    assert lanes.take() == "a3"


def test_a_lane_whose_first_record_is_dropped_goes_on_with_what_is_kept(lanes: Lanes[str]) -> None:
    offer(lanes, "a1", "a2", "b1", "-1")

    dropped = lanes.drop(lambda item: item in {"a1", "b1", "-1"}, key_of)

    assert dropped == ["a1", "b1", "-1"]
    assert take_all(lanes) == ["a2"]
    lanes.finish("a")
    assert lanes.taken() == 0


def test_dropping_a_record_that_came_back_from_its_back_off_frees_its_lane(lanes: Lanes[str]) -> None:
    offer(lanes, "a1")
    lanes.take()
    lanes.again("a1")

    dropped = lanes.drop(lambda item: True, key_of)

    assert dropped == ["a1"]
    assert lanes.taken() == 0


def test_lanes_that_are_done_take_no_memory(lanes: Lanes[str]) -> None:
    for number in range(1_000):
        lanes.offer(number, "item")
        lanes.take()
        lanes.finish(number)

    assert lanes.taken() == 0


def test_finishing_a_lane_that_nothing_holds_is_an_error_not_a_silence(lanes: Lanes[str]) -> None:
    with pytest.raises(KeyError):
        lanes.finish("a")
