"""A consumer group: who has which partition, and what it has committed.

Rules of this file:

- A partition has one owner. Whoever must give one up is asked first, and the next owner has
  it only when it was given up: the cooperative protocol.
- Sticky: a rebalance moves no more partitions than it takes for the shares of two members
  of a topic to differ by one at most.
- A rebalance takes a turn of the event loop, so members that join together share at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Protocol, TypeVar

from ottla.records import TopicPartition

M = TypeVar("M")


def shares(partitions: Sequence[int], members: Sequence[M], owners: Mapping[int, M]) -> dict[int, M]:
    """Who shall have which of `partitions`, where `owners` have some now. `members` by time of joining."""
    if not members:
        return {}
    has = {at: [p for p in partitions if owners.get(p) == member] for at, member in enumerate(members)}
    least, larger = divmod(len(partitions), len(members))
    # The larger shares go to those that have most now, so that the fewest partitions move.
    by_load = sorted(has, key=lambda at: (-len(has[at]), at))
    room = {at: least + (rank < larger) for rank, at in enumerate(by_load)}
    target = {p: members[at] for at, owned in has.items() for p in owned[: room[at]]}
    free = iter([p for p in partitions if p not in target])
    for at, owned in has.items():
        target |= dict.fromkeys(islice(free, max(0, room[at] - len(owned))), members[at])
    return target


class Member(Protocol):
    """What a group tells its members."""

    topic: str

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """These are yours now; none at all tells a new member that it has joined."""
        ...

    def revoke(self, partitions: Sequence[TopicPartition]) -> None:
        """Give these up, and say so by `Group.released`."""
        ...


class Group:
    """One group of the in-memory broker. `partitions` tells how many a topic has."""

    def __init__(self, partitions: Callable[[str], int]) -> None:
        self.committed: dict[TopicPartition, int] = {}
        self._partitions = partitions
        self._members: list[Member] = []
        self._new: list[Member] = []
        self._owners: dict[TopicPartition, Member] = {}
        self._leaving: set[TopicPartition] = set()
        self._turn: asyncio.Handle | None = None

    @property
    def is_rebalancing(self) -> bool:
        """Whether a partition is on its way from one member to another."""
        return self._turn is not None or bool(self._leaving)

    def join(self, member: Member) -> None:
        """Take part in the partitions of the member's topic."""
        self._members.append(member)
        self._new.append(member)
        self._rebalance_soon()

    def leave(self, member: Member) -> None:
        """Take part no more; what the member had is free."""
        self._members.remove(member)
        if member in self._new:
            self._new.remove(member)
        self.released(member, [p for p, owner in self._owners.items() if owner is member])

    def released(self, member: Member, partitions: Sequence[TopicPartition]) -> None:
        """`member` has given `partitions` up."""
        for partition in partitions:
            if self._owners.get(partition) is member:
                del self._owners[partition]
                self._leaving.discard(partition)
        self._rebalance_soon()

    def _rebalance_soon(self) -> None:
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._rebalance)

    def _rebalance(self) -> None:
        self._turn = None
        given: dict[int, list[TopicPartition]] = {}
        taken: dict[int, list[TopicPartition]] = {}
        for partition, member in self._target().items():
            owner = self._owners.get(partition)
            if owner is None:
                self._owners[partition] = member
                given.setdefault(id(member), []).append(partition)
            elif owner is not member and partition not in self._leaving:
                self._leaving.add(partition)
                taken.setdefault(id(owner), []).append(partition)
        new, self._new = self._new, []
        for member in tuple(self._members):
            if (partitions := given.get(id(member), [])) or member in new:
                member.assign(partitions)
            if partitions := taken.get(id(member), []):
                member.revoke(partitions)

    def _target(self) -> dict[TopicPartition, Member]:
        target: dict[TopicPartition, Member] = {}
        for topic in dict.fromkeys(member.topic for member in self._members):
            members = [member for member in self._members if member.topic == topic]
            owners = {p.partition: owner for p, owner in self._owners.items() if p.topic == topic}
            for number, member in shares(range(self._partitions(topic)), members, owners).items():
                target[TopicPartition(topic, number)] = member
        return target
