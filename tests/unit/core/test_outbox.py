from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ottla.core.outbox import (
    SHARDS,
    STRIPES,
    Backlog,
    Lane,
    Move,
    RelayLimits,
    StoredRecord,
    Wanted,
    next_move,
    stripe_of,
    stripes_to_lock,
)
from ottla.records import Headers

TOPICS = ("orders", "mail")
ALL_SHARDS = [*range(SHARDS)]
CONTENTS = st.tuples(
    st.sampled_from(TOPICS),
    st.sampled_from([None, b"", b"bb"]),
    st.sampled_from([None, *(b"", b"12", b"1234") * 3, b"larger than all the room"]),
)
Content = tuple[str, bytes | None, bytes | None]
SHARDS_OF_CONTENTS = sorted(
    {stripe_of(topic, key) % SHARDS for topic in TOPICS for key in (None, b"", b"bb")}
)


def row(
    number: int, key: bytes | None = None, value: bytes | None = b"", *, topic: str = "orders"
) -> StoredRecord:
    return StoredRecord(number, topic, key, value, Headers(), None)


def ids_of(records: Iterable[StoredRecord]) -> list[int]:
    return [record.id for record in records]


def read(table: dict[int, StoredRecord], wanted: Wanted) -> list[StoredRecord]:
    """What the statements of `postgres/outbox.py` read, said naively."""
    wanted_rows = [
        found
        for _, found in sorted(table.items())
        if found.shard in wanted.shards
        and found.id not in wanted.but
        and found.topic not in wanted.stopped_topics
        and not any(topic == found.topic and key == found.key for topic, key in wanted.stopped_keys)
    ]
    lowest = wanted_rows[: wanted.records]
    sizes = accumulate(bytes_of([found]) for found in lowest)
    return [
        *(table[each] for each in sorted(wanted.again) if each in table),
        *(
            found
            for place, (found, size) in enumerate(zip(lowest, sizes, strict=True), start=1)
            if size <= wanted.bytes or (place == 1 and wanted.takes_any)
        ),
    ]


def bytes_of(records: Iterable[StoredRecord]) -> int:
    return sum(len(record.key or b"") + len(record.value or b"") for record in records)


@dataclass
class Stop:
    """A refused record, and when it may be tried again at the earliest."""

    record: StoredRecord
    failures: int = 0
    not_before: float = 0.0


@dataclass(frozen=True)
class Question:
    """What was wanted, and how things stood when it was."""

    wanted: Wanted
    held: dict[int, StoredRecord]
    keys: set[Lane | None]
    topics: set[str]
    stopped: set[int]
    shards: set[int]


class BacklogBesideATable(RuleBasedStateMachine):
    """The relay's turn, cut where it awaits: acknowledgements and refusals come while it reads.

    Writers hold their keys from the insert, which gives the ids, to the commit, which shows
    them: in between others commit, of other keys and with higher ids.
    """

    @initialize(
        records=st.integers(1, 12),
        size=st.integers(1, 25),
        stopped=st.sampled_from([1, 2, 3, 100]),
        retries=st.integers(1, 3),
    )
    def begin(self, records: int, size: int, stopped: int, retries: int) -> None:
        self.limits = RelayLimits(records, size, stopped, retries, first_s=1, max_s=4)
        self.backlog = Backlog(self.limits)
        self.backlog.lead(ALL_SHARDS)
        self.shards = set(ALL_SHARDS)
        self.now = 100.0
        self.last_id = 0
        self.open: list[list[StoredRecord]] = []  # transactions that have inserted and not committed
        self.written: list[StoredRecord] = []
        self.table: dict[int, StoredRecord] = {}  # what is committed and not deleted
        self.question: Question | None = None
        self.held: dict[int, StoredRecord] = {}  # read, and neither deleted nor refused
        self.waiting: list[StoredRecord] = []  # read and not taken
        self.retries: list[StoredRecord] = []  # read again and not taken
        self.in_flight: list[StoredRecord] = []
        self.stops: dict[int, Stop] = {}
        self.ever_refused: set[int] = set()
        self.acknowledged: list[int] = []  # and not deleted
        self.ended: list[StoredRecord] = []  # acknowledged, in that order
        self.again: set[int] = set()  # read again, without regard to their size
        self.given_up: set[int] = set()  # by somebody who has deleted the row

    # -- the writers

    @rule(contents=st.lists(CONTENTS, min_size=1, max_size=3))
    def insert(self, contents: list[Content]) -> None:
        locked = {record.lane for records in self.open for record in records} - {None}
        transaction = []
        for topic, key, value in contents:
            if (topic, key) not in locked:  # else it would wait
                self.last_id += 1
                transaction.append(row(self.last_id, key, value, topic=topic))
        if transaction:
            self.open.append(transaction)

    @rule(contents=st.lists(CONTENTS, min_size=1, max_size=5))
    def insert_and_commit(self, contents: list[Content]) -> None:
        before = len(self.open)
        self.insert(contents)
        while len(self.open) > before:
            self._commit(before)

    @precondition(lambda self: self.stops)
    @rule(data=st.data(), value=st.sampled_from([b"", b"12"]))
    def write_behind_refused_records(self, data: st.DataObject, value: bytes) -> None:
        behind = [(stop.record.topic, stop.record.key, value) for stop in self.stops.values()]
        self.insert_and_commit([*behind, (data.draw(st.sampled_from(TOPICS)), None, value)])

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        self._commit(data.draw(st.integers(0, len(self.open) - 1)))

    def _commit(self, index: int) -> None:
        transaction = self.open.pop(index)
        self.written += transaction
        self.table |= {record.id: record for record in transaction}

    @precondition(lambda self: any(each not in self.held for each in self.stops))
    @rule(data=st.data())
    def somebody_deletes_a_refused_row(self, data: st.DataObject) -> None:
        each = data.draw(st.sampled_from([each for each in self.stops if each not in self.held]))
        if self.table.pop(each, None) is not None:
            self.given_up.add(each)

    @rule(seconds=st.sampled_from([0.5, 1, 5]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    # -- the relay

    @precondition(lambda self: self.question is None)
    @rule()
    def ask(self) -> None:
        topics = [stop.record.topic for stop in self.stops.values()]
        self.question = question = Question(
            self.backlog.wanted(self.now),
            held=dict(self.held),
            keys={stop.record.lane for stop in self.stops.values()} - {None},
            topics={topic for topic in topics if topics.count(topic) >= self.limits.stopped_per_topic},
            stopped=set(self.stops),
            shards=set(self.shards),
        )
        assert question.wanted.shards == sorted(self.shards)

        again = [self.stops[each] for each in question.wanted.again]
        out = [self.stops[each].record.topic for each in self.held if each in self.stops]
        out += [stop.record.topic for stop in again]
        assert all(stop.not_before <= self.now for stop in again), "too early"
        assert not self.held.keys() & {stop.record.id for stop in again}, "out already"
        assert all(out.count(topic) <= self.limits.retries_per_topic for topic in out)

    @precondition(lambda self: self.question is not None)
    @rule()
    def answer(self) -> None:
        question, self.question = self.question, None
        assert question is not None
        again = set(question.wanted.again)
        eligible = [
            record
            for _, record in sorted(self.table.items())
            if record.id not in question.held
            and record.lane not in question.keys
            and record.topic not in question.topics
            and record.id not in question.stopped
            and record.shard in question.shards
        ]

        found = read(self.table, question.wanted)

        others = [record for record in found if record.id not in again]
        assert others == eligible[: len(others)], "passed over, or of a key or topic that has stopped"
        if others != eligible:
            beside = [*question.held.values(), *others, eligible[len(others)]]
            assert not self._have_room(beside, len(again)), "there was room for one more"
        self.backlog.read(found)
        keys = {stop.record.lane for stop in self.stops.values()} - {None}
        self.retries += [record for record in found if record.id in again]
        self.again |= again
        self.waiting += [record for record in others if record.lane not in keys]
        self.held |= {record.id: record for record in (*self.retries, *self.waiting)}
        for each in again - self.table.keys():
            del self.stops[each]

    def _have_room(self, records: list[StoredRecord], again: int) -> bool:
        is_lone = len(records) == 1
        return len(records) + again <= self.limits.records and (
            is_lone or bytes_of(records) <= self.limits.bytes
        )

    def _startable(self) -> list[StoredRecord]:
        """The lowest that waits of every key that has none in flight, and all without a key."""
        seen: set[Lane | None] = {record.lane for record in self.in_flight}
        startable = []
        for record in sorted(self.waiting):
            if record.key is None or record.lane not in seen:
                startable.append(record)
            seen.add(record.lane)
        return startable

    @rule()
    def take(self) -> None:
        self._take()

    @precondition(lambda self: self.question is None)
    @rule()
    def turn(self) -> None:
        self.ask()
        self.answer()
        while self._take() is not None:
            pass

    def _take(self) -> StoredRecord | None:
        startable = self._startable() + self.retries

        record = self.backlog.take()

        if record is None:
            assert startable == [], "held up by nothing"
            return None
        assert record in startable, "taken twice, before an earlier one of its key, or beside it"
        (self.retries if record in self.retries else self.waiting).remove(record)
        self.in_flight.append(record)
        stop = self.stops.get(record.id)
        assert self.backlog.failures(record) == (0 if stop is None else stop.failures)
        return record

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        self._acknowledge(data.draw(st.sampled_from(self.in_flight)))

    def _acknowledge(self, record: StoredRecord) -> None:
        self.in_flight.remove(record)
        self.acknowledged.append(record.id)
        self.ended.append(record)
        self.backlog.acknowledged(record)
        if self.stops.pop(record.id, None) is not None:
            for stop in self.stops.values():
                if stop.record.topic == record.topic:
                    stop.not_before = 0

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), chance=st.sampled_from([0.0, 0.999]))
    def refuse(self, data: st.DataObject, chance: float) -> None:
        """Also some that have been refused before: they are tried again without end."""
        first = data.draw(st.integers(0, len(self.in_flight) - 1))
        for record in self.in_flight[first:]:
            self.in_flight.remove(record)
            self.backlog.refused(record, self.now, chance)
            stop = self.stops.setdefault(record.id, Stop(record))
            self.ever_refused.add(record.id)
            stop.failures += 1
            stop.not_before = self.now + 0.8 * min(4, 2 ** (stop.failures - 1))
            behind = [each for each in self.waiting if record.key is not None and each.lane == record.lane]
            for each in (record, *behind):
                del self.held[each.id]
            self.waiting = [each for each in self.waiting if each not in behind]
            if record.shard not in self.shards:
                del self.stops[record.id]

    @precondition(lambda self: self.acknowledged and self.question is None)  # one session, one question
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """Not all, perhaps: some were acknowledged while the others were deleted."""
        self._delete(data.draw(st.integers(1, len(self.acknowledged))))

    def _delete(self, count: int) -> None:
        ids = self.backlog.deletable()[:count]

        assert set(ids) <= set(self.acknowledged), "deleted before its acknowledgement"
        self.backlog.deleted(ids)
        for each in ids:
            del self.table[each]
            del self.held[each]
            self.acknowledged.remove(each)

    # -- other relays

    @precondition(lambda self: self.question is None)
    @rule(shards=st.sets(st.sampled_from(SHARDS_OF_CONTENTS)) | st.just(set(ALL_SHARDS)))
    def lead_just(self, shards: set[int]) -> None:
        """Of those that are given up, what is out goes on to its end; perhaps they are taken back before."""
        left = self.shards - shards
        self.backlog.leave(left)
        self.backlog.lead(shards)
        self.shards = set(shards)
        for record in (*self.waiting, *self.retries):
            if record.shard in left:
                del self.held[record.id]
        self.waiting = [record for record in self.waiting if record.shard not in left]
        self.retries = [record for record in self.retries if record.shard not in left]
        for each, stop in [*self.stops.items()]:
            if stop.record.shard in left and each not in self.held:
                del self.stops[each]

    @rule()
    def others_lead_what_is_free(self) -> None:
        """They have sent all of it by the time that we lead it again."""
        unfinished = self.backlog.unfinished()
        for each, record in sorted(self.table.items()):
            if record.shard not in self.shards | unfinished:
                self.ended.append(self.table.pop(each))

    # -- what holds at all times

    @invariant()
    def no_more_is_held_than_the_limits_allow(self) -> None:
        """The bytes of what is read again come on top, until its row is deleted."""
        sizes = [bytes_of([record]) for each, record in self.held.items() if each not in self.ever_refused]
        assert len(self.held) <= self.limits.records
        assert sum(sizes) <= self.limits.bytes or sum(sizes) == max(sizes), (
            "more than one record that is too large"
        )

    @invariant()
    def one_record_of_a_key_is_in_flight(self) -> None:
        lanes = [record.lane for record in self.in_flight if record.key is not None]
        assert len(lanes) == len(set(lanes))

    @invariant()
    def all_that_is_acknowledged_and_nothing_else_can_be_deleted(self) -> None:
        assert sorted(self.backlog.deletable()) == sorted(self.acknowledged)

    @invariant()
    def a_shard_of_which_anything_is_held_is_unfinished(self) -> None:
        assert self.backlog.unfinished() == {record.shard for record in self.held.values()}

    @invariant()
    def what_is_refused_is_told(self) -> None:
        assert sorted(self.backlog.stopped()) == sorted(self.stops)

    def teardown(self) -> None:
        """Everything commits, every refusal is cured: then all is sent, once, in order per key."""
        if not hasattr(self, "backlog"):
            return
        if self.question is not None:
            self.answer()
        self.lead_just(set(ALL_SHARDS))
        while self.open:
            self._commit(0)
        for _ in range(3 * len(self.written) + 3):  # every third turn at least sends or reads something
            self.now += 5
            self.turn()
            while self.in_flight:
                self._acknowledge(self.in_flight[0])
            self._delete(len(self.acknowledged))

        assert self.table == {}
        assert self.held == {}
        assert self.backlog.stopped() == []
        assert sorted(self.ended) == sorted(each for each in self.written if each.id not in self.given_up)
        for lane in {record.lane for record in self.written} - {None}:
            ids = [record.id for record in self.ended if record.lane == lane]
            assert ids == sorted(ids)


def test_whatever_commits_is_sent_once_in_the_order_of_its_key_within_the_limits() -> None:
    run_state_machine_as_test(
        BacklogBesideATable, settings=settings(max_examples=150, stateful_step_count=50)
    )


@pytest.fixture
def backlog() -> Backlog:
    return leading_all(RelayLimits(records=4, bytes=100, stopped_per_topic=2, first_s=1, max_s=4))


def leading_all(limits: RelayLimits) -> Backlog:
    backlog = Backlog(limits)
    backlog.lead(ALL_SHARDS)
    return backlog


def take_all(backlog: Backlog) -> list[int]:
    taken = []
    while (record := backlog.take()) is not None:
        taken.append(record.id)
    return taken


def refuse(backlog: Backlog, *records: StoredRecord, now: float = 0) -> None:
    for record in records:
        backlog.refused(record, now, 0)


def test_a_record_is_taken_after_the_acknowledgement_of_the_one_before_it(backlog: Backlog) -> None:
    first = row(1, b"a")
    backlog.read([first, row(2, b"a"), row(3, b"b")])

    before = take_all(backlog)
    backlog.acknowledged(first)
    after = take_all(backlog)

    assert (before, after) == ([1, 3], [2])


def test_the_same_key_in_another_topic_is_another_key(backlog: Backlog) -> None:
    backlog.read([row(1, b"a", topic="orders"), row(2, b"a", topic="mail")])

    assert take_all(backlog) == [1, 2]


def test_an_empty_key_is_a_key_and_no_key_is_none(backlog: Backlog) -> None:
    backlog.read([row(1, b""), row(2, b""), row(3, None), row(4, None)])

    assert take_all(backlog) == [1, 3, 4]


def test_a_stopped_key_takes_no_room_and_no_more_of_it_is_read(backlog: Backlog) -> None:
    refused = row(1, b"a", b"x" * 50)
    backlog.read([refused, row(2, b"a", b"x" * 40)])
    backlog.take()

    refuse(backlog, refused)

    assert backlog.take() is None
    assert backlog.wanted(0) == Wanted(
        4,
        100,
        takes_any=True,
        but=[],
        stopped_keys=[("orders", b"a")],
        stopped_topics=[],
        again=[],
        shards=ALL_SHARDS,
    )


def test_what_was_asked_for_before_its_key_stopped_does_not_pass_the_refused_one(backlog: Backlog) -> None:
    refused, behind, other = row(1, b"a"), row(2, b"a"), row(3, b"b")
    backlog.read([refused])
    backlog.take()
    backlog.wanted(0)
    refuse(backlog, refused)

    backlog.read([behind, other])

    assert take_all(backlog) == [3]
    assert backlog.wanted(0).but == [3]


def test_a_refused_record_is_read_again_when_it_is_due_and_its_key_goes_on_once_it_is_written(
    backlog: Backlog,
) -> None:
    refused, behind = row(1, b"a"), row(2, b"a")
    backlog.read([refused, behind])
    backlog.take()
    refuse(backlog, refused, now=10)

    early, due = backlog.wanted(10.9).again, backlog.wanted(11).again
    backlog.read([refused])
    taken = take_all(backlog)
    backlog.acknowledged(refused)

    assert (early, due, taken) == ([], [1], [1])
    assert backlog.stopped() == []
    assert backlog.wanted(11).stopped_keys == []


def test_a_record_that_is_refused_again_waits_twice_as_long_up_to_the_longest_wait(backlog: Backlog) -> None:
    refused = row(1, b"a")
    backlog.read([refused])
    backlog.take()
    waits = []

    for _ in range(5):
        refuse(backlog, refused)
        waits.append(next(wait for wait in range(100) if backlog.wanted(wait).again))
        backlog.read([refused])
        backlog.take()

    assert waits == [1, 2, 4, 4, 4]
    assert backlog.failures(refused) == 5


def test_chance_shortens_a_wait_by_up_to_a_fifth(backlog: Backlog) -> None:
    refused = row(1, b"a")
    backlog.read([refused])
    backlog.take()

    backlog.refused(refused, 10, 0.5)  # of the first wait, a second, a tenth is cut

    assert backlog.wanted(10.89).again == []
    assert backlog.wanted(10.91).again == [1]


def test_what_is_read_again_takes_its_room_from_the_others(backlog: Backlog) -> None:
    refused = row(1, b"a")
    backlog.read([refused])
    backlog.take()
    backlog.refused(refused, 0, 0)

    early, due = backlog.wanted(0), backlog.wanted(1)

    assert (early.again, early.records) == ([], 4)
    assert (due.again, due.records) == ([1], 3)


def test_a_key_whose_refused_row_somebody_has_deleted_goes_on(backlog: Backlog) -> None:
    refused = row(1, b"a")
    backlog.read([refused])
    backlog.take()
    refuse(backlog, refused)

    backlog.wanted(1)
    backlog.read([row(2, b"b")])

    assert backlog.stopped() == []
    assert backlog.wanted(1).stopped_keys == []


def test_one_that_is_written_after_all_makes_the_others_of_its_topic_due(backlog: Backlog) -> None:
    cured, other, elsewhere = row(1, b"a"), row(2, b"b"), row(3, b"a", topic="mail")
    backlog.read([cured, other, elsewhere])
    take_all(backlog)
    refuse(backlog, cured)
    refuse(backlog, other, elsewhere, now=100)
    backlog.wanted(1)
    backlog.read([cured])
    backlog.take()

    backlog.acknowledged(cured)

    assert backlog.wanted(1).again == [2]


def test_a_topic_with_as_many_stopped_keys_as_the_limit_is_not_read_until_one_goes_on(
    backlog: Backlog,
) -> None:
    first, second, elsewhere = row(1, b"a"), row(2, b"b"), row(3, b"a", topic="mail")
    backlog.read([first, second, elsewhere])
    take_all(backlog)

    refuse(backlog, first, elsewhere)
    with_one = backlog.wanted(0).stopped_topics
    refuse(backlog, second)
    with_two = backlog.wanted(0).stopped_topics
    backlog.wanted(1)
    backlog.read([first])
    backlog.take()
    backlog.acknowledged(first)
    with_one_again = backlog.wanted(1).stopped_topics

    assert (with_one, with_two, with_one_again) == ([], ["orders"], [])


def test_no_more_refused_records_of_a_topic_are_out_at_once_than_the_limit() -> None:
    backlog = leading_all(RelayLimits(retries_per_topic=2))
    records = [row(number) for number in range(1, 6)]
    backlog.read([*records, row(9, topic="mail")])
    take_all(backlog)
    refuse(backlog, *records, row(9, topic="mail"))

    first = backlog.wanted(1).again
    backlog.read([records[0], records[1], row(9, topic="mail")])
    while_they_are_out = backlog.wanted(1).again
    refuse(backlog, records[0], now=1)
    then = backlog.wanted(1).again

    assert (first, while_they_are_out, then) == ([1, 2, 9], [], [3])


def test_refused_records_without_a_key_stop_no_key_but_tell_of_their_topic(backlog: Backlog) -> None:
    first, second = row(1), row(2)
    backlog.read([first, second])
    take_all(backlog)

    refuse(backlog, first)
    with_one = backlog.wanted(0)
    refuse(backlog, second)
    with_two = backlog.wanted(0)

    assert (with_one.stopped_keys, with_one.stopped_topics) == ([], [])
    assert sorted(with_one.but) == [1, 2]
    assert (with_two.stopped_keys, with_two.stopped_topics) == ([], ["orders"])


def test_a_written_record_takes_its_room_until_its_row_is_deleted(backlog: Backlog) -> None:
    record = row(7, b"key", b"content")
    backlog.read([record])
    backlog.take()

    backlog.acknowledged(record)
    acknowledged = backlog.wanted(0)
    backlog.deleted(backlog.deletable())

    assert acknowledged == Wanted(
        3, 90, takes_any=False, but=[7], stopped_keys=[], stopped_topics=[], again=[], shards=ALL_SHARDS
    )
    assert backlog.wanted(0) == Wanted(
        4, 100, takes_any=True, but=[], stopped_keys=[], stopped_topics=[], again=[], shards=ALL_SHARDS
    )
    assert backlog.deletable() == []


def test_what_is_acknowledged_while_rows_are_deleted_is_deleted_next(backlog: Backlog) -> None:
    early, late = row(1), row(2)
    backlog.read([early, late])
    take_all(backlog)
    backlog.acknowledged(early)
    on_their_way = backlog.deletable()
    backlog.acknowledged(late)

    backlog.deleted(on_their_way)

    assert on_their_way == [1]
    assert backlog.deletable() == [2]
    assert backlog.wanted(0).but == [2]


def test_beside_a_record_larger_than_all_the_room_there_is_none(backlog: Backlog) -> None:
    backlog.read([row(1, b"a", b"x" * 1000)])

    assert backlog.wanted(0) == Wanted(
        3, 0, takes_any=False, but=[1], stopped_keys=[], stopped_topics=[], again=[], shards=ALL_SHARDS
    )


def test_of_a_shard_that_is_given_up_only_what_is_out_is_kept(backlog: Backlog) -> None:
    out, behind, other = row(1, b"a"), row(2, b"a"), row(3, b"b")
    backlog.read([out, behind, other])
    assert backlog.take() == out

    backlog.leave([out.shard])

    assert out.shard != other.shard
    assert take_all(backlog) == [3]
    assert backlog.unfinished() == {out.shard, other.shard}
    assert backlog.wanted(0).but == [1, 3]
    assert out.shard not in backlog.wanted(0).shards


def test_a_shard_is_unfinished_until_what_was_out_is_deleted(backlog: Backlog) -> None:
    out = row(1, b"a")
    backlog.read([out])
    backlog.take()
    backlog.leave([out.shard])

    backlog.acknowledged(out)
    acknowledged = backlog.unfinished()
    backlog.deleted([1])

    assert acknowledged == {out.shard}
    assert backlog.unfinished() == set()


def test_what_is_refused_of_a_shard_that_was_given_up_stops_nothing(backlog: Backlog) -> None:
    out = row(1, b"a")
    backlog.read([out])
    backlog.take()
    backlog.leave([out.shard])

    refuse(backlog, out)

    assert backlog.stopped() == []
    assert backlog.unfinished() == set()


def test_where_keys_of_a_shard_stopped_is_forgotten_with_it(backlog: Backlog) -> None:
    refused, elsewhere = row(1, b"a"), row(2, b"b")
    backlog.read([refused, elsewhere])
    take_all(backlog)
    refuse(backlog, refused, elsewhere)

    backlog.leave([refused.shard])

    assert backlog.stopped() == [2]
    assert backlog.wanted(9).again == [2]


@pytest.mark.parametrize("is_out", [True, False])
def test_one_that_is_tried_again_when_its_shard_is_given_up_is_kept_if_it_is_out(
    backlog: Backlog, *, is_out: bool
) -> None:
    refused = row(1, b"a")
    backlog.read([refused])
    backlog.take()
    refuse(backlog, refused)
    backlog.wanted(1)
    backlog.read([refused])
    taken = [backlog.take()] if is_out else []

    backlog.leave([refused.shard])
    left = backlog.unfinished()
    for each in taken:
        assert each is not None
        backlog.acknowledged(each)
    backlog.deleted(backlog.deletable())

    assert left == ({refused.shard} if is_out else set())
    assert backlog.take() is None
    assert backlog.stopped() == []
    assert backlog.unfinished() == set()


def test_a_shard_that_is_taken_back_goes_on_behind_what_is_out(backlog: Backlog) -> None:
    out, behind = row(1, b"a"), row(2, b"a")
    backlog.read([out, behind])
    backlog.take()
    backlog.leave([out.shard])

    backlog.lead([out.shard])
    backlog.wanted(0)
    backlog.read([behind])
    before = take_all(backlog)
    backlog.acknowledged(out)

    assert before == []
    assert take_all(backlog) == [2]


@pytest.mark.parametrize(
    ("leads", "others", "relays", "first", "move"),
    [
        ([], [], 1, 0, Move(take=ALL_SHARDS, leave=[])),
        ([], [], 1, 14, Move(take=[14, 15, *range(14)], leave=[])),
        (ALL_SHARDS, [], 1, 5, Move(take=[], leave=[])),
        (ALL_SHARDS, [], 2, 12, Move(take=[], leave=[*range(4, 12)])),
        ([], ALL_SHARDS, 2, 0, Move(take=[], leave=[])),
        ([], range(8), 2, 0, Move(take=[*range(8, 16)], leave=[])),
        ([3], range(4, 10), 3, 9, Move(take=[10, 11, 12, 13, 14], leave=[])),
        (range(8), range(8, 16), 3, 0, Move(take=[], leave=[6, 7])),
        (range(6), range(6, 12), 3, 0, Move(take=[], leave=[])),
        ([0, 1], [], 16, 0, Move(take=[], leave=[1])),
        ([0], [], 100, 0, Move(take=[], leave=[])),
        ([], [], 0, 0, Move(take=ALL_SHARDS, leave=[])),  # our own presence is not seen yet
    ],
)
def test_a_relay_moves_towards_its_share(
    leads: Iterable[int], others: Iterable[int], relays: int, first: int, move: Move
) -> None:
    assert next_move([*leads], {*others}, relays, first) == move


@dataclass
class Peer:
    """One relay: what it reads, and what it still holds the locks of."""

    first: int
    reads: set[int]
    locked: set[int]
    move: Move | None = None


class PeersBesideLocks(RuleBasedStateMachine):
    """Relays that look, lock and unlock in any order; they come, go, and act on what they saw before."""

    def __init__(self) -> None:
        super().__init__()
        self.peers: list[Peer] = []

    @precondition(lambda self: len(self.peers) < 20)
    @rule(first=st.sampled_from(ALL_SHARDS))
    def join(self, first: int) -> None:
        self.peers.append(Peer(first, set(), set()))

    @precondition(lambda self: self.peers)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        self.peers.remove(self._one(data))

    @precondition(lambda self: self.peers)
    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        self._look(self._one(data))

    @precondition(lambda self: self.peers)
    @rule(data=st.data())
    def act(self, data: st.DataObject) -> None:
        self._act(self._one(data))

    @precondition(lambda self: self.peers)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        peer = self._one(data)
        peer.locked = set(peer.reads)

    def _one(self, data: st.DataObject) -> Peer:
        return self.peers[data.draw(st.integers(0, len(self.peers) - 1))]

    def _look(self, peer: Peer) -> None:
        others = {shard for each in self.peers for shard in each.locked} - peer.locked
        peer.move = next_move(peer.reads, others, len(self.peers), peer.first)

    def _act(self, peer: Peer) -> None:
        move, peer.move = peer.move, None
        if move is None:
            return
        taken = {shard for each in self.peers if each is not peer for shard in each.locked}
        peer.reads.difference_update(move.leave)
        peer.reads.update(set(move.take) - taken)
        peer.locked |= peer.reads

    @invariant()
    def a_shard_has_one_leader(self) -> None:
        locked = [shard for peer in self.peers for shard in peer.locked]
        assert len(locked) == len(set(locked))
        assert all(peer.reads <= peer.locked for peer in self.peers)

    def teardown(self) -> None:
        """Nobody comes or goes any more: three rounds later all is led, by nobody more than its share."""
        for _ in range(3):
            for peer in self.peers:
                self._look(peer)
                self._act(peer)
                peer.locked = set(peer.reads)

        if self.peers:
            share = -(-SHARDS // len(self.peers))
            assert sorted(shard for peer in self.peers for shard in peer.reads) == ALL_SHARDS
            assert max(len(peer.reads) for peer in self.peers) <= share


def test_relays_that_decide_in_any_order_lead_all_shards_once_and_none_more_than_its_share() -> None:
    run_state_machine_as_test(PeersBesideLocks, settings=settings(max_examples=150, stateful_step_count=50))


@given(topic=st.text(), key=st.none() | st.binary())
def test_a_stripe_lies_in_one_shard_and_shards_have_as_many_stripes_each(
    topic: str, key: bytes | None
) -> None:
    assert STRIPES % SHARDS == 0
    assert row(1, key, topic=topic).shard == stripe_of(topic, key) % 16


@pytest.mark.parametrize(
    ("topic", "key", "stripe"),
    [
        ("orders", b"o1", 422),
        ("payments", "grün".encode(), 869),
        ("orders", None, 783),
    ],
)
def test_a_key_has_the_stripe_that_writers_of_all_versions_lock(
    topic: str, key: bytes | None, stripe: int
) -> None:
    assert stripe_of(topic, key) == stripe


@given(topic=st.text(), key=st.none() | st.binary())
def test_a_stripe_is_one_of_those_of_the_schema(topic: str, key: bytes | None) -> None:
    assert stripe_of(topic, key) in range(1024)


@given(st.lists(st.none() | st.tuples(st.sampled_from(TOPICS), st.binary(max_size=2))))
def test_each_stripe_of_a_transaction_is_locked_once_in_ascending_order(lanes: list[Lane | None]) -> None:
    stripes = stripes_to_lock([*lanes, *lanes])

    assert all(lower < higher for lower, higher in pairwise(stripes))
    assert set(stripes) == {stripe_of(topic, key) for topic, key in filter(None, lanes)}


def test_records_without_a_key_lock_nothing() -> None:
    assert stripes_to_lock([None, None]) == []
