"""One group member, and the one thread that may touch it.

Rules of this file, each of which a client version has punished:

- Every call on the Consumer is made on the poll thread; others post commands. A second
  thread's call starves behind a polling one, or deadlocks with `on_revoke`.
- `poll(timeout)` for the first record, then `consume(n, 0)` for what is there: a lone
  record is not held back, a full queue comes in one call.
- Commits are asynchronous and name offsets. A synchronous one has no time-out.
- Inside `on_revoke`, and before a gap is skipped, the thread waits (bounded) for the event
  loop to drain, and takes no lock that the event loop could hold.

Over 500 lines because the client's callbacks and calls interleave on this thread: what a
rebalance inside `consume` can do to a commit is seen only with both in view.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
)
from confluent_kafka import Message as KafkaMessage
from confluent_kafka import TopicPartition as ClientPartition

from ottla.core.figures import Histogram, SourceFigures
from ottla.core.liveness import Pulse
from ottla.core.offsets import CommitLedger, Committable
from ottla.core.pacing import Pacing, Poll, Step
from ottla.errors import BrokerUnavailable, FatalClientError, SettingsError
from ottla.kafka.client_errors import UNAUTHORIZED, fatal, is_fatal, made, unavailable
from ottla.kafka.properties import CLIENT_LOGGER, STANDS_S
from ottla.ports import Gap, Message, Progress, RecordSink, SourcePolicy, Start
from ottla.records import TopicPartition

_log = logging.getLogger("ottla.consumer")

_POLL_S = 0.1
"""Longest wait for a first record: the poll thread looks after commits and commands in between."""
_WAIT_S = 0.005
_ASK_S = 5.0
"""Time-out of a question to the broker on the poll thread."""
_ASK_AGAIN_S = 1.0
_LOOK_TO_JOIN_S = 5.0
_LOOK_TO_REJOIN_S = 60.0
"""How long a member without partitions waits before it looks for its topics by itself."""
_SAY_AGAIN_S = 30.0
_LAG_S = 1.0
"""How often the lag is read, from what the client knows already."""


class KafkaSource:
    """Polls one topic for one listener. Fills `ports.GroupMember`.

    `is_incremental`: whether the group's protocol assigns incrementally, as
    cooperative-sticky and KIP-848 do.
    """

    def __init__(
        self,
        properties: dict[str, Any],
        topics: Sequence[str],
        policy: SourcePolicy,
        *,
        name: str,
        is_incremental: bool = True,
    ) -> None:
        self._properties = properties
        self._topics = list(topics)
        self._policy = policy
        self._is_incremental = is_incremental
        self._name = name
        self._pacing = Pacing(policy.limits)
        self._ledger = CommitLedger(policy.commits)
        self._progress = Progress({}, 0)
        self._commands: deque[Callable[[], None]] = deque()
        self._thread = threading.Thread(target=self._run, name=f"poll-{name}", daemon=True)
        self._epochs: dict[TopicPartition, int] = {}
        self._epoch = 0
        self._next: dict[TopicPartition, int] = {}  # behind the last record handed over
        self._taken_up_at: dict[TopicPartition, int] = {}  # where the epoch began
        self._unresolved: list[ClientPartition] = []
        self._unplaced: set[TopicPartition] = set()  # out of range, and it is not time to go on
        self._paused: set[TopicPartition] = set()  # by the sink, on purpose
        self._handed = self._handed_size = 0
        self._is_quiet = self._is_consuming = False
        self._close_at: float | None = None
        self._has_trouble = self._is_group_denied = False
        self._asked_at = 0.0
        self._looked_at = time.monotonic()
        self._has_joined = False
        self._said_at: dict[int, float] = {}
        self._member_id = ""
        self._lag: int | None = None
        self._lag_at = 0.0
        self._pauses = self._rebalances = 0
        self._commit_sent_at: dict[TopicPartition, float] = {}
        self._commit_durations = Histogram()
        self.polled_at = time.monotonic()
        """When the poll loop last turned, or began one of the waits that have a bound of their own.

        A turn may hold many of these: it asks the broker about each partition that it takes up.
        """

    # -- called on the event loop

    def is_member(self) -> bool:
        """Whether the group knows us: KIP-848 tells of no empty assignment, but gives a member id."""
        return bool(self._member_id)

    def pulse(self) -> Pulse:
        """The age of `polled_at`. The longest wait with a bound is the one for handlers in a rebalance."""
        return Pulse(self._name, time.monotonic() - self.polled_at, self._policy.drain_s + STANDS_S)

    def figures(self) -> SourceFigures:
        """What the poll thread has counted; the lag is up to a second old."""
        return SourceFigures(self._lag, self._pauses, self._rebalances, self._commit_durations.now())

    def open(self, sink: RecordSink) -> None:
        """Join the group and begin to poll. A property that librdkafka refuses is told as fatal."""
        self._loop = asyncio.get_running_loop()
        self._sink = sink
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self.polled_at = time.monotonic()
        self._thread.start()

    def publish(self, progress: Progress) -> None:
        """Replace the snapshot that commits are taken from."""
        self._progress = progress

    def pause(self, partition: TopicPartition) -> None:
        """Fetch no more of `partition`; what is on its way still comes."""
        epoch = self._epoch_told(partition)
        self._commands.append(lambda: self._pause_one(partition, epoch))

    def resume(self, partition: TopicPartition) -> None:
        """Fetch `partition` again."""
        epoch = self._epoch_told(partition)
        self._commands.append(lambda: self._resume_one(partition, epoch))

    def _epoch_told(self, partition: TopicPartition) -> int | None:
        """The epoch that the sink speaks of: a rebalance may be over before its command is read."""
        told = self._progress.offsets.get(partition)
        return None if told is None else told.epoch

    def quiesce(self) -> None:
        """Fetch nothing more, go on polling for events so that the group keeps us."""
        self._commands.append(self._pause_all)
        self._is_quiet = True

    def leave(self, bound_s: float) -> None:
        """Have the poll thread commit and leave by then; the first call counts."""
        if self._close_at is None:
            self._close_at = time.monotonic() + bound_s

    async def close(self, bound_s: float) -> None:
        """Commit, wait for the answer, leave; returns after `bound_s` even if the broker is frozen."""
        self.leave(bound_s * 0.7)
        await asyncio.wait((self._ended,), timeout=bound_s)
        if not self._ended.done():
            _log.warning(
                "%s: the broker did not answer within %.1f s of leaving; it will find out by itself",
                self._name,
                bound_s,
            )

    # -- the poll thread

    def _run(self) -> None:
        try:
            self._consumer = self._client()
            self._consumer.subscribe(
                self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while self._close_at is None:
                self._turn()
            self._leave(self._close_at)
        except SettingsError as error:
            self._tell(self._sink.fatal, error)
        except Exception as error:  # noqa: BLE001  (the thread's supervisor: a silent death would look like an idle topic)
            _log.exception("%s: the poll thread failed", self._name)
            self._tell(self._sink.fatal, FatalClientError(f"{self._name}: the poll thread failed: {error!r}"))
        finally:
            self._tell(self._set_ended)

    def _client(self) -> Consumer:
        properties = {**self._properties, "on_commit": self._on_commit, "error_cb": self._on_error}
        return made(lambda: Consumer(properties, logger=CLIENT_LOGGER), "consumer")

    def _turn(self) -> None:
        """One round: commands, commits, records."""
        self.polled_at = now = time.monotonic()
        while self._commands:
            self._commands.popleft()()
        if not self._member_id and self._properties.get("group.protocol") == "consumer":
            self._member_id = self._consumer.memberid() or ""
        self._commit_if_due(now)
        self._ask_again_where_to_begin()
        if self._has_trouble and now - self._asked_at > _ASK_AGAIN_S:
            self._ask_after_trouble(now)
        if not self._epochs:
            self._look_for_topics(now)
        self._read_lag(now)
        match self._next_step(now):
            case Poll(most):
                self._poll(most)
            case Step.WAIT:
                time.sleep(_WAIT_S)
            case Step.EVENTS:
                self._poll(1)
            case Step.PAUSE:
                self._pauses += 1
                self._pause_all()
            case Step.RESUME:
                self._resume_all()

    def _next_step(self, now: float) -> Poll | Step:
        """By what the sink holds and what is on its way there."""
        if self._is_quiet:
            return Step.EVENTS
        load = self._sink.load()
        records = load.records + self._handed - load.taken
        return self._pacing.next(now, records, load.size + self._handed_size - load.taken_size)

    def _poll(self, most: int) -> None:
        first = self._consumer.poll(_POLL_S)
        if first is None:
            return
        messages = [first] if most == 1 else self._with_more(first, most)
        records = [cast("Message", message) for message in messages if message.error() is None]
        if records:
            self._hand_over(records)
        if len(records) < len(messages):  # afterwards: what was polled before a gap is handled before it
            for message in messages:
                self._look_at_event(message)

    def _hand_over(self, records: list[Message]) -> None:
        size = sum(map(len, records))
        for message in records:
            self._next[TopicPartition(message.topic(), message.partition())] = message.offset() + 1
        self._handed += len(records)
        self._handed_size += size
        self._clear_trouble()
        self._tell(self._sink.records, records, size)

    def _with_more(self, first: KafkaMessage, most: int) -> list[KafkaMessage]:
        """`first`, and what lies behind it without waiting.

        A rebalance inside `consume` may give the partition of `first` away and back at a
        lower offset. Handed over in the new epoch, `first` would pass for its beginning
        and all records below it for seen; it comes again by itself.
        """
        owned = (first.topic(), first.partition())
        epoch = self._epoch_of(owned)
        self._is_consuming = True
        more = self._consumer.consume(most - 1, 0)
        self._is_consuming = False
        return [first, *more] if self._epoch_of(owned) == epoch else more

    def _epoch_of(self, partition: tuple[str | None, int | None]) -> int | None:
        return self._epochs.get(cast("TopicPartition", partition))

    def _look_at_event(self, message: KafkaMessage) -> None:
        error = message.error()
        if error is None:
            return
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            record = cast("Message", message)  # the event names the partition
            self._out_of_range(TopicPartition(record.topic(), record.partition()))
        else:
            self._on_error(error)

    def _tell(self, method: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(method, *arguments)
        except RuntimeError:  # the event loop is closed: nobody is left to tell
            self._close_at = self._close_at or time.monotonic()

    # -- assignment

    def _on_assign(self, _: Consumer, partitions: list[ClientPartition]) -> None:
        """Take partitions up at the offsets that we resolve, not where a default would put them."""
        self._has_joined = True
        self._rebalances += 1
        if not self._is_incremental:
            self._unresolved.clear()
        self._unresolved += partitions
        if not self._resolve():
            # The client would now assign them itself, at offsets of its own, so assign nothing.
            (self._consumer.incremental_assign if self._is_incremental else self._consumer.assign)([])

    def _resolve(self) -> bool:
        """Assign what waits for its start; False, and it goes on waiting, when the broker does not answer."""
        self.polled_at = time.monotonic()
        try:
            committed = self._consumer.committed(self._unresolved, timeout=_ASK_S) if self._unresolved else []
            starts = [self._start_of(partition) for partition in committed]
        except KafkaException as error:
            self._has_trouble = True
            where = "where to begin is not known: the group's offsets cannot be asked"
            self._tell(self._sink.trouble, BrokerUnavailable(f"{where} ({error.args[0].str()})"))
            return False
        self._unresolved.clear()
        self._assign(starts)
        return True

    def _ask_again_where_to_begin(self) -> None:
        if self._unresolved:
            self._resolve()
        for partition in tuple(self._unplaced):
            self._out_of_range(partition)

    def _start_of(self, committed: ClientPartition) -> ClientPartition:
        """The committed offset, else the concrete offset that `start` means now.

        A concrete one is committed before the first record is done: with a symbolic
        `latest`, what arrives before a first commit would be skipped by a restart.
        """
        if committed.error is not None:
            raise KafkaException(committed.error)
        partition = TopicPartition(committed.topic, committed.partition)
        if committed.offset != OFFSET_INVALID:
            self._ledger.assigned(partition, committed.offset)
            return ClientPartition(committed.topic, committed.partition, committed.offset)
        low, high = self._watermarks(partition)
        self._ledger.assigned(partition, None)
        return ClientPartition(
            committed.topic, committed.partition, high if self._policy.offsets.start == "latest" else low
        )

    def _watermarks(self, partition: TopicPartition) -> tuple[int, int]:
        self.polled_at = time.monotonic()
        watermarks = self._consumer.get_watermark_offsets(ClientPartition(*partition), timeout=_ASK_S)
        if watermarks is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
        return watermarks

    def _assign(self, partitions: list[ClientPartition]) -> None:
        if not self._is_incremental:
            self._consumer.assign(partitions)
        elif partitions:
            self._consumer.incremental_assign(partitions)
        self._begin(partitions)

    def _begin(self, partitions: list[ClientPartition]) -> None:
        """A new epoch for each."""
        starts = []
        for client_partition in partitions:
            partition = TopicPartition(client_partition.topic, client_partition.partition)
            self._epoch += 1
            self._epochs[partition] = self._epoch
            self._next[partition] = self._taken_up_at[partition] = client_partition.offset
            self._paused.discard(partition)
            starts.append(Start(partition, self._epoch, client_partition.offset))
        if self._is_quiet or self._pacing.is_paused:
            self._consumer.pause(partitions)
        elif partitions:  # a pause outlives an eager reassignment, and would leave a consumer stuck
            self._consumer.resume(partitions)
        self._tell(self._sink.assigned, starts)
        _log.info(
            "%s: assigned %s", self._name, ", ".join(f"{s.partition}@{s.offset}" for s in starts) or "nothing"
        )

    def _on_revoke(self, _: Consumer, partitions: list[ClientPartition]) -> None:
        """Let what runs end within the bound, commit what is done, then let go."""
        self._rebalances += 1
        ours = self._known(partitions)
        self._let_go(ours)
        self._unassign(partitions, ours)

    def _let_go(self, ours: list[TopicPartition]) -> None:
        drained = threading.Event()
        self.polled_at = time.monotonic()
        self._tell(self._sink.revoking, ours, drained.set)
        bound_s = (
            self._policy.drain_s if self._close_at is None else max(0.0, self._close_at - time.monotonic())
        )
        if ours and not drained.wait(bound_s):
            _log.warning(
                "%s: revoked before all was drained in %.1f s: %s",
                self._name,
                bound_s,
                ", ".join(map(str, ours)),
            )
        self._commit(time.monotonic(), set(ours), is_last=True)
        self._forget(ours)

    def _on_lost(self, _: Consumer, partitions: list[ClientPartition]) -> None:
        """The group has given our partitions away: their next owner has begun, so commit nothing."""
        _log.warning("%s: lost %s", self._name, ", ".join(f"{p.topic}-{p.partition}" for p in partitions))
        self._rebalances += 1
        ours = self._known(partitions)
        self._forget(ours)
        self._unassign(partitions, ours)

    def _unassign(self, partitions: list[ClientPartition], ours: list[TopicPartition]) -> None:
        """Left alone the client unassigns all `partitions`, which fails for those that still waited."""
        if self._is_incremental and len(ours) < len(partitions):
            self._consumer.incremental_unassign([ClientPartition(*partition) for partition in ours])

    def _known(self, partitions: list[ClientPartition]) -> list[TopicPartition]:
        gone = {(p.topic, p.partition) for p in partitions}
        self._unresolved = [p for p in self._unresolved if (p.topic, p.partition) not in gone]
        return [partition for partition in self._epochs if partition in gone]

    def _forget(self, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            del self._epochs[partition]
            del self._next[partition]
            del self._taken_up_at[partition]
            self._unplaced.discard(partition)
            self._ledger.removed(partition)
            self._paused.discard(partition)
        self._tell(self._sink.revoked, partitions)

    # -- commits

    def _commit_if_due(self, now: float) -> None:
        if self._ledger.is_due(now, self._progress.finished):
            self._commit(now, set(self._epochs))

    def _commit(self, now: float, partitions: set[TopicPartition], *, is_last: bool = False) -> None:
        progress = self._progress
        offsets = {}
        for partition, committable in progress.offsets.items():
            if partition in partitions and committable.epoch == self._epochs.get(partition):
                offsets[partition] = self._committable_offset(partition, committable)
        due = self._ledger.select(now, progress.finished, offsets, is_last=is_last)
        if not due:
            return
        self._commit_sent_at.update(dict.fromkeys(due, now))
        try:
            self._consumer.commit(
                offsets=[ClientPartition(*p, offset) for p, offset in due.items()], asynchronous=True
            )
        except KafkaException as error:
            self._commit_failed(error.args[0], due)

    def _committable_offset(self, partition: TopicPartition, committable: Committable) -> int:
        """Behind transaction markers too, where nothing unfinished can lie: they would be a lag for ever.

        The client's position passes them. Inside `consume` it also passes records that
        nobody has been handed yet.
        """
        offset = committable.offset
        if not committable.is_idle:
            return offset
        # Until a record of this epoch has come, the position is what an earlier epoch had polled up to,
        # far ahead of what it had finished: committing that has lost whole partitions.
        is_position_of_this_epoch = self._next[partition] > self._taken_up_at[partition]
        if offset != self._next[partition] or self._is_consuming or not is_position_of_this_epoch:
            return offset
        (position,) = self._consumer.position([ClientPartition(*partition)])
        return max(offset, int(position.offset))

    def _on_commit(self, error: KafkaError | None, partitions: list[ClientPartition]) -> None:
        failed = {}
        sent_at = []
        for p in partitions:
            partition = TopicPartition(p.topic, p.partition)
            sent_at.append(self._commit_sent_at.pop(partition, None))
            if error is None and p.error is None:
                self._ledger.acknowledged(partition, p.offset)
            else:
                failed[partition] = p.offset
        if failed:
            self._commit_failed(error or next(p.error for p in partitions if p.error), failed)
        elif known := [at for at in sent_at if at is not None]:
            self._commit_durations.observe(time.monotonic() - min(known))

    def _commit_failed(self, error: KafkaError, offsets: dict[TopicPartition, int]) -> None:
        """A commit that failed is due again; what it named is redelivered if we die before."""
        for partition, offset in offsets.items():
            self._ledger.failed(partition, offset)
        _log.warning("%s: a commit failed and will be sent again: %s", self._name, error)
        if error.code() in UNAUTHORIZED:
            self._on_error(error)

    # -- the lag

    def _read_lag(self, now: float) -> None:
        """From what the client knows of each log's end since it last fetched: asks nobody."""
        if not self._policy.is_observed or now - self._lag_at < _LAG_S:
            return
        self._lag_at = now
        lags = [lag for partition in self._epochs if (lag := self._lag_of(partition)) is not None]
        self._lag = None if self._epochs and not lags else sum(lags)

    def _lag_of(self, partition: TopicPartition) -> int | None:
        try:
            _, high = self._consumer.get_watermark_offsets(ClientPartition(*partition), cached=True)
        except KafkaException:
            return None  # the client has just taken it up, and knows nothing of it yet
        if high < 0:
            return None
        told = self._progress.offsets.get(partition)
        if told is None or told.epoch != self._epochs[partition]:
            return max(0, high - self._taken_up_at[partition])
        return max(0, high - self._committable_offset(partition, told))

    # -- pausing

    def _pause_one(self, partition: TopicPartition, epoch: int | None) -> None:
        if epoch is not None and self._epochs.get(partition) == epoch:
            self._pauses += partition not in self._paused
            self._paused.add(partition)
            self._consumer.pause([ClientPartition(*partition)])

    def _resume_one(self, partition: TopicPartition, epoch: int | None) -> None:
        if partition in self._paused and self._epochs.get(partition) == epoch:
            self._paused.discard(partition)
            if not (self._is_quiet or self._pacing.is_paused):
                self._consumer.resume([ClientPartition(*partition)])

    def _pause_all(self) -> None:
        self._consumer.pause([ClientPartition(*partition) for partition in self._epochs])

    def _resume_all(self) -> None:
        self._consumer.resume([ClientPartition(*p) for p in self._epochs if p not in self._paused])

    # -- what goes wrong

    def _out_of_range(self, partition: TopicPartition) -> None:
        """The next record to read is not in the log: retention passed it, or the topic is another one."""
        if partition not in self._epochs:
            return
        if not self._has_ended(partition):
            self._unplaced.add(partition)  # what was polled before cannot come again: it ends first
            return
        try:
            low, high = self._watermarks(partition)
        except KafkaException as error:
            self._unplaced.add(partition)
            self._on_error(error.args[0])
            return
        self._unplaced.discard(partition)
        choice = self._policy.offsets.on_out_of_range
        gap = Gap(partition, self._next[partition], low, high, is_skipped=choice != "stop")
        if gap.is_skipped:
            self._go_on_at(partition, low if choice == "earliest" else high)
        self._tell(self._sink.gap, gap)

    def _has_ended(self, partition: TopicPartition) -> bool:
        """Whether everything that was polled of `partition` has."""
        told = self._progress.offsets.get(partition)
        return told == (self._epochs[partition], self._next[partition], True)

    def _go_on_at(self, partition: TopicPartition, offset: int) -> None:
        """Take the partition up anew: a seek is refused in this state.

        In an epoch of its own: in a topic that was made anew it goes on below what this
        one has seen, and would take every record for seen.
        """
        self._let_go([partition])
        start = ClientPartition(*partition, offset)
        if self._is_incremental:
            self._consumer.incremental_unassign([ClientPartition(*partition)])
            self._consumer.incremental_assign([start])
        else:
            others = [ClientPartition(*other, at) for other, at in self._next.items()]
            self._consumer.assign([*others, start])
        self._ledger.assigned(partition, None)  # what was committed means nothing any more
        self._begin([start])

    def _on_error(self, error: KafkaError) -> None:
        """Client errors, from callbacks and from polled events. Transient ones librdkafka handles itself."""
        if is_fatal(error):
            self._tell(self._sink.fatal, fatal(self._name, error))
            self._close_at = time.monotonic() + 1
        elif (trouble := unavailable(error, self._topics, self._properties)) is not None:
            self._has_trouble = True
            self._is_group_denied |= error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
            self._tell(self._sink.trouble, trouble)
        elif (now := time.monotonic()) - self._said_at.get(error.code(), float("-inf")) > _SAY_AGAIN_S:
            # A broker that is away brings the same event some twenty times a second.
            self._said_at[error.code()] = now
            _log.warning("%s: %s", self._name, error.str())

    def _ask_after_trouble(self, now: float) -> None:
        """A quiet topic brings no record that would tell that the trouble is over: ask for its metadata."""
        self._asked_at = now
        try:
            metadata = self._consumer.list_topics(self._topics[0], timeout=1)
            # That the topic may be read tells nothing of the group, which librdkafka complains of but once.
            group = (
                self._consumer.committed([ClientPartition(self._topics[0], 0)], timeout=1)
                if self._is_group_denied
                else []
            )
        except KafkaException:
            return
        if not any(each.error for each in (*metadata.topics.values(), *group)):
            self._clear_trouble()

    def _look_for_topics(self, now: float) -> None:
        """Let the client see its topics, in case its own question was lost.

        librdkafka 2.16 joins only with metadata of its topics. It asks once, and never again
        when the connection that it asked through is given up, as the one that it began with
        is. Whoever starts while a cluster wakes up would wait for ever. Only an answer
        that lists all topics reaches the group.
        """
        has_joined = self._has_joined or self.is_member()
        if now - self._looked_at < (_LOOK_TO_REJOIN_S if has_joined else _LOOK_TO_JOIN_S):
            return
        self._looked_at = now
        try:
            self._consumer.list_topics(timeout=1)
        except KafkaException:
            return  # why is told by the client's events

    def _clear_trouble(self) -> None:
        if self._has_trouble and not self._unresolved:
            self._has_trouble = self._is_group_denied = False
            self._tell(self._sink.trouble, None)

    # -- the end

    def _leave(self, deadline: float) -> None:
        """Commit behind what was committed before, wait for the answer, leave the group."""
        self._await_commits(deadline)
        self._commit(time.monotonic(), set(self._epochs), is_last=True)
        self._await_commits(deadline)
        self._consumer.close()

    def _await_commits(self, deadline: float) -> None:
        while self._ledger.pending() and time.monotonic() < deadline:
            message = self._consumer.poll(0.05)
            if message is not None and message.error() is None:
                # Nobody is handed it any more, but the client's position passes it: not to be committed.
                record = cast("Message", message)
                if (at := TopicPartition(record.topic(), record.partition())) in self._next:
                    self._next[at] = record.offset() + 1

    def _set_ended(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
