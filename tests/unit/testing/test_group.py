"""Who has which partition, beside what can be said of any fair and sticky way to share."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from ottla.records import TopicPartition
from ottla.testing.group import Group, shares


@st.composite
def situations(draw: st.DrawFn) -> tuple[int, list[str], dict[int, str]]:
    """Partitions, members, and owners of some partitions, of which some may have left."""
    partitions = draw(st.integers(0, 12))
    members = draw(st.lists(st.sampled_from("abcdefg"), unique=True))
    owners = draw(st.dictionaries(st.integers(0, 11), st.sampled_from("abcdefg")))
    return partitions, members, {number: owner for number, owner in owners.items() if number < partitions}


@given(situations())
def test_every_partition_has_a_member_and_shares_differ_by_one_at_most(
    situation: tuple[int, list[str], dict[int, str]],
) -> None:
    partitions, members, owners = situation

    target = shares(range(partitions), members, owners)

    sizes = [Counter(target.values())[member] for member in members]
    assert set(target) == (set(range(partitions)) if members else set())
    assert not sizes or max(sizes) - min(sizes) <= 1


@given(situations())
def test_no_more_partitions_move_than_fair_shares_ask_for(
    situation: tuple[int, list[str], dict[int, str]],
) -> None:
    partitions, members, owners = situation
    had = sorted((Counter(owners.values())[member] for member in members), reverse=True)
    least, larger = divmod(partitions, len(members)) if members else (0, 0)

    target = shares(range(partitions), members, owners)

    kept = sum(owners.get(number) == member for number, member in target.items())
    assert kept == sum(min(size, least + (rank < larger)) for rank, size in enumerate(had))


class Member:
    """Gives up when the test says so."""

    def __init__(self, group: Group, topic: str = "orders") -> None:
        self.topic = topic
        self.owned: list[int] = []
        self.asked: list[int] = []
        self.assignments = 0
        self._group = group

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self.assignments += 1
        self.owned += [partition.partition for partition in partitions]

    def revoke(self, partitions: Sequence[TopicPartition]) -> None:
        self.asked += [partition.partition for partition in partitions]

    def release(self) -> None:
        asked, self.asked = self.asked, []
        self.owned = [number for number in self.owned if number not in asked]
        self._group.released(self, [TopicPartition(self.topic, number) for number in asked])


async def turn() -> None:
    """One rebalance, if one is due."""
    await asyncio.sleep(0)


async def test_members_that_join_together_share_without_taking_anything_away() -> None:
    group = Group(lambda topic: 4)
    first, second = Member(group), Member(group)

    group.join(first)
    group.join(second)
    await turn()

    assert (first.owned, second.owned) == ([0, 1], [2, 3])
    assert (first.assignments, second.assignments) == (1, 1)
    assert not group.is_rebalancing


async def test_a_partition_is_assigned_anew_only_when_it_was_given_up() -> None:
    group = Group(lambda topic: 4)
    first, second = Member(group), Member(group)
    group.join(first)
    await turn()

    group.join(second)
    await turn()
    while_asked = list(second.owned), group.is_rebalancing
    first.release()
    await turn()

    assert while_asked == ([], True)
    assert second.assignments == 2  # with nothing at first: it has joined
    assert sorted(first.owned + second.owned) == [0, 1, 2, 3]
    assert not group.is_rebalancing


async def test_what_was_asked_for_is_given_back_when_the_new_member_has_left_meanwhile() -> None:
    group = Group(lambda topic: 2)
    first, second = Member(group), Member(group)
    group.join(first)
    await turn()
    group.join(second)
    await turn()

    group.leave(second)
    first.release()
    await turn()

    assert sorted(first.owned) == [0, 1]
    assert not group.is_rebalancing


async def test_members_of_different_topics_leave_each_other_alone() -> None:
    group = Group(lambda topic: 2)
    orders, payments = Member(group), Member(group, "payments")

    group.join(orders)
    group.join(payments)
    await turn()

    assert orders.owned == payments.owned == [0, 1]
