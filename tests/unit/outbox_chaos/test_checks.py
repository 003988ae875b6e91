"""The checks of `make outbox-chaos` see what they are for."""

from __future__ import annotations

import pytest

from tests.outbox_chaos.checks import Committed, Published, compare
from tests.outbox_chaos.plan import WRITERS, events_of, may_write, thresholds, transactions

A1, A2, A3, B1 = (
    Committed("a1", "a", 10, 0),
    Committed("a2", "a", 10, 1),
    Committed("a3", "a", 20, 0),
    Committed("b1", "b", 15, 0),
)
ALL = [A1, A2, A3, B1]
IDS = ["a1", "a2", "a3", "b1"]


def sent(*ids: str) -> list[Published]:
    return [Published(event_id, event_id[0]) for event_id in ids]


def test_what_came_once_in_order_is_sound() -> None:
    verdict = compare(ALL, sent("b1", "a1", "a2", "a3"), IDS)

    assert verdict.is_sound
    assert (verdict.committed, verdict.published, verdict.duplicates) == (4, 4, 0)


def test_duplicates_are_counted_and_their_place_does_not_matter() -> None:
    verdict = compare(ALL, sent("a1", "a2", "a1", "a2", "a3", "b1", "a2"), IDS)

    assert verdict.is_sound
    assert verdict.duplicates == 3


def test_what_was_committed_and_never_came_is_missing() -> None:
    verdict = compare(ALL, sent("a1", "a3", "b1"), IDS)

    assert verdict.missing == ["a2"]
    assert not verdict.is_sound


def test_what_came_and_was_not_committed_is_a_phantom() -> None:
    verdict = compare(ALL, sent("a1", "a2", "a3", "b1", "c1"), IDS)

    assert verdict.phantom == ["c1"]
    assert not verdict.is_sound


def test_a_later_commit_that_comes_first_is_an_inversion() -> None:
    verdict = compare(ALL, sent("a1", "a3", "a2", "b1"), IDS)

    assert verdict.inverted == [("a3", "a2")]
    assert not verdict.is_sound


def test_sends_of_one_transaction_in_another_order_are_an_inversion() -> None:
    assert compare(ALL, sent("a2", "a1", "a3", "b1"), IDS).inverted == [("a2", "a1")]


def test_what_a_reader_did_twice_not_at_all_or_of_nobody_counts() -> None:
    assert compare(ALL, sent(*IDS), [*IDS, "a1"]).after_inbox == 1
    assert compare(ALL, sent(*IDS), ["a1", "a2", "a3"]).after_inbox == 1
    assert compare(ALL, sent(*IDS), [*IDS, "c1"]).after_inbox == 1


def test_a_plan_follows_from_its_seed_and_commits_as_many_events_as_are_asked_for() -> None:
    plans = [list(transactions(7, writer, events_of(writer, 2_000))) for writer in range(WRITERS)]

    again = list(transactions(7, 0, events_of(0, 2_000)))
    committed = sum(len(each.keys) for plan in plans for each in plan if not each.is_rolled_back)
    assert again == plans[0]
    assert 2_000 <= committed < 2_000 + WRITERS * 7
    assert any(each.is_rolled_back for plan in plans for each in plan)
    assert any(each.pause_s for plan in plans for each in plan)
    assert any(each.pause_at_commit_s for plan in plans for each in plan)


def test_kills_are_spread_over_the_run_and_the_last_comes_before_its_end() -> None:
    due = thresholds(50, 100_000)

    assert due == sorted(set(due))
    assert 0 < due[0] < 5_000
    assert due[-1] < 95_000


@pytest.mark.parametrize(
    ("written", "killed", "may"),
    [
        (0, 0, True),
        (5_554, 0, True),
        (5_555, 0, False),  # where the third of 50 kills is due
        (5_555, 1, True),
        (96_296, 49, False),
        (96_295, 49, True),
        (99_999, 50, True),  # all have been: nothing holds them any more
    ],
)
def test_writers_are_never_two_kills_ahead(written: int, killed: int, *, may: bool) -> None:
    assert may_write(written, killed, 50, 100_000) is may
