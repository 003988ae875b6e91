from __future__ import annotations

from dataclasses import dataclass, field

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

from ottla.core.offsets import CommitLedger, CommitPolicy
from ottla.records import TopicPartition

P0, P1 = TopicPartition("orders", 0), TopicPartition("orders", 1)


@dataclass
class Epoch:
    """What one assignment of a partition has been through."""

    number: int
    base: int | None
    committable: int
    sent: list[int] = field(default_factory=list)
    answered_well: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Commit:
    """A commit on its way, with the epoch that sent it."""

    epoch: int
    partition: TopicPartition
    offset: int


class LedgerBesideABroker(RuleBasedStateMachine):
    """Commits of two partitions, answered late, in any order, some of them with an error.

    The partitions come and go; what an earlier assignment sent may be answered in a later one.
    """

    @initialize()
    def begin(self) -> None:
        self.ledger = CommitLedger(CommitPolicy(records=100, interval_s=1.0))
        self.now = 0.0
        self.epochs: dict[TopicPartition, Epoch] = {}
        self.epoch = 0
        self.in_flight: list[Commit] = []

    @rule(partition=st.sampled_from([P0, P1]), committed=st.none() | st.integers(0, 8))
    def assign(self, partition: TopicPartition, committed: int | None) -> None:
        if partition in self.epochs:
            return
        self.epoch += 1
        self.epochs[partition] = Epoch(self.epoch, committed, committed or 0)
        self.ledger.assigned(partition, committed)

    @precondition(lambda self: self.epochs)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        partition = data.draw(st.sampled_from(sorted(self.epochs)))
        del self.epochs[partition]
        self.ledger.removed(partition)

    @precondition(lambda self: self.epochs)
    @rule(data=st.data(), records=st.integers(1, 3))
    def finish_records(self, data: st.DataObject, records: int) -> None:
        self.epochs[data.draw(st.sampled_from(sorted(self.epochs)))].committable += records

    @rule()
    def commit(self) -> None:
        self._send()

    @rule()
    def commit_for_the_last_time(self) -> None:
        """As before a revoke, which may come to nothing."""
        self._send(is_last=True)

    def _send(self, *, is_last: bool = False) -> dict[TopicPartition, int]:
        self.now += 1
        offered = {P0: 0, P1: 0} | {p: epoch.committable for p, epoch in self.epochs.items()}
        awaited = set(self.ledger.pending())

        due = self.ledger.select(self.now, 0, offered, is_last=is_last)

        assert is_last or awaited.isdisjoint(due), "beside another one"
        for partition, offset in due.items():
            assert offset == self.epochs[partition].committable
            self.epochs[partition].sent.append(offset)
            self.in_flight.append(Commit(self.epochs[partition].number, partition, offset))
        return due

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), is_well=st.booleans())
    def answer(self, data: st.DataObject, *, is_well: bool) -> None:
        commit = data.draw(st.sampled_from(self.in_flight))
        is_newest = self._is_newest(commit)

        self._answer(commit, is_well=is_well)

        if is_newest and not is_well:  # it may be known all the same, by an answer that an earlier epoch left
            is_known = self.ledger.committed(commit.partition) == self.epochs[commit.partition].committable
            assert is_known or commit.partition in self._send()

    def _is_newest(self, commit: Commit) -> bool:
        epoch = self.epochs.get(commit.partition)
        return epoch is not None and epoch.number == commit.epoch and epoch.sent[-1] == commit.offset

    def _answer(self, commit: Commit, *, is_well: bool) -> None:
        self.in_flight.remove(commit)
        if not is_well:
            self.ledger.failed(commit.partition, commit.offset)
            return
        if commit.partition in self.epochs:
            self.epochs[commit.partition].answered_well.add(commit.offset)
        self.ledger.acknowledged(commit.partition, commit.offset)

    @rule()
    def quiet(self) -> None:
        """Nothing new comes and every answer is good: then all is committed and nothing is due."""
        for _ in range(2):
            self._send()
            while self.in_flight:
                self._answer(self.in_flight[0], is_well=True)

        assert self._send() == {}
        assert self.ledger.pending() == []
        committed = {p: self.ledger.committed(p) for p in self.epochs}
        assert committed == {p: epoch.committable for p, epoch in self.epochs.items()}

    @invariant()
    def committed_is_only_what_this_epoch_began_with_or_sent_and_had_acknowledged(self) -> None:
        for partition, epoch in self.epochs.items():
            committed = self.ledger.committed(partition)
            assert committed == epoch.base or committed in epoch.answered_well & set(epoch.sent)

    @invariant()
    def an_answer_is_awaited_only_while_a_commit_of_this_epoch_is_in_flight(self) -> None:
        awaited = {(self.epochs[partition].number, partition) for partition in self.ledger.pending()}
        assert awaited <= {(commit.epoch, commit.partition) for commit in self.in_flight}

    @invariant()
    def nothing_is_known_of_partitions_that_are_not_ours(self) -> None:
        assert [p for p in (P0, P1) if p not in self.epochs and self.ledger.committed(p) is not None] == []


def test_whatever_the_answers_and_their_order_only_acknowledged_commits_count() -> None:
    run_state_machine_as_test(
        LedgerBesideABroker, settings=settings(max_examples=100, stateful_step_count=40)
    )


def ledger_at(committed: int | None, *, records: int = 100, interval_s: float = 1.0) -> CommitLedger:
    ledger = CommitLedger(CommitPolicy(records, interval_s))
    ledger.assigned(P0, committed)
    return ledger


def test_an_offset_is_sent_once_while_its_answer_is_awaited() -> None:
    ledger = ledger_at(5)

    first = ledger.select(0, 1, {P0: 6})
    second = ledger.select(1, 1, {P0: 6})

    assert (first, second) == ({P0: 6}, {})
    assert ledger.pending() == [P0]
    assert ledger.committed(P0) == 5


def test_a_later_offset_waits_for_the_answer_to_the_one_before_it() -> None:
    ledger = ledger_at(5)
    ledger.select(0, 1, {P0: 6})

    while_it_is_awaited = ledger.select(1, 2, {P0: 7})
    ledger.acknowledged(P0, 6)
    then = ledger.select(2, 2, {P0: 7})

    assert (while_it_is_awaited, then) == ({}, {P0: 7})


def test_the_last_offset_of_an_epoch_waits_for_nothing() -> None:
    ledger = ledger_at(5)
    ledger.select(0, 1, {P0: 6})

    assert ledger.select(1, 2, {P0: 7}, is_last=True) == {P0: 7}


def test_what_the_group_has_committed_is_not_committed_again() -> None:
    ledger = ledger_at(5)

    assert ledger.select(0, 0, {P0: 5}) == {}


def test_a_group_without_a_commit_commits_where_it_begins() -> None:
    ledger = ledger_at(None)

    assert ledger.select(0, 0, {P0: 0}) == {P0: 0}


def test_a_failed_commit_is_due_again() -> None:
    ledger = ledger_at(5)
    ledger.select(0, 1, {P0: 6})

    ledger.failed(P0, 6)

    assert ledger.pending() == []
    assert ledger.committed(P0) == 5
    assert ledger.select(1, 1, {P0: 6}) == {P0: 6}


def test_an_acknowledged_commit_is_known_and_no_longer_awaited() -> None:
    ledger = ledger_at(5)
    ledger.select(0, 1, {P0: 6})

    ledger.acknowledged(P0, 6)

    assert ledger.pending() == []
    assert ledger.committed(P0) == 6
    assert ledger.select(1, 1, {P0: 6}) == {}


def test_the_failure_of_a_commit_that_a_newer_one_replaced_changes_nothing() -> None:
    ledger = ledger_at(5)
    ledger.select(0, 1, {P0: 6})
    ledger.select(1, 2, {P0: 7}, is_last=True)

    ledger.failed(P0, 6)

    assert ledger.pending() == [P0]
    assert ledger.select(2, 2, {P0: 7}) == {}


def test_a_late_answer_from_an_earlier_epoch_changes_nothing() -> None:
    ledger = ledger_at(5)
    ledger.select(0, 1, {P0: 9})
    ledger.removed(P0)
    ledger.assigned(P0, 5)

    ledger.acknowledged(P0, 9)
    ledger.failed(P0, 9)

    assert ledger.committed(P0) == 5
    assert ledger.select(1, 1, {P0: 6}) == {P0: 6}


def test_an_answer_for_a_partition_that_is_gone_changes_nothing() -> None:
    ledger = ledger_at(5)
    ledger.select(0, 1, {P0: 6})
    ledger.removed(P0)

    ledger.acknowledged(P0, 6)
    ledger.failed(P0, 6)
    ledger.removed(P0)

    assert ledger.committed(P0) is None
    assert ledger.pending() == []


def test_partitions_that_are_not_ours_are_never_selected() -> None:
    ledger = ledger_at(5)

    assert ledger.select(0, 1, {P0: 6, P1: 3}) == {P0: 6}


def test_a_commit_is_due_by_count_or_by_age_whichever_is_first() -> None:
    ledger = ledger_at(5, records=100, interval_s=1.0)
    at_first = ledger.is_due(10.0, 0)
    ledger.select(10.0, 0, {})

    by_count = [ledger.is_due(10.1, finished) for finished in (0, 99, 100)]
    by_age = [ledger.is_due(now, 0) for now in (10.9, 11.0)]

    assert at_first
    assert by_count == [False, False, True]
    assert by_age == [False, True]


def test_a_count_that_is_handed_over_twice_is_due_once() -> None:
    ledger = ledger_at(5, records=100, interval_s=1.0)
    ledger.select(10.0, 100, {})

    assert not ledger.is_due(10.1, 100)
    assert ledger.is_due(10.1, 200)
