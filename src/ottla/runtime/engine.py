"""The engine of one listener: starts polled records in order and carries out what is decided of them.

The road of a record: `records` → a worker takes it from its lane → `invoke` (the
handler) → `decide` → done, back-off, dead letter → `publish` for the poll thread to
commit. Everything here runs on the event loop, so no locks; the poll thread reads `load`.

Workers are long-lived tasks, `concurrency` of them, not a task per record: a handler
that does not suspend costs no task, and `asyncio.current_task()` inside a handler is
a real task, so time-outs and task groups work. Their context variables outlive a record.

Over 500 lines because all of it turns the same state, lanes, partitions and workers, and
must be read together to see that no record is dropped. What can be decided apart is in `core`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ottla.core.backoff import InPlace, conflict_delay_s, exponential_s
from ottla.core.decide import (
    Bury,
    Cancelled,
    Conflicted,
    Ended,
    Failed,
    Forward,
    Interrupted,
    Moment,
    Outcome,
    Reason,
    RetryInPlace,
    RunAgain,
    SendOn,
    Simple,
    StopPartition,
    WaitAlone,
    WaitForCure,
    decide,
)
from ottla.core.detours import Road, read_arrival
from ottla.core.figures import NOTHING, Histogram, WorkFigures
from ottla.core.guard import GuardState
from ottla.core.headers import class_name
from ottla.core.lanes import Lanes, Order
from ottla.core.retry_topics import RetryTopics
from ottla.core.suspension import Suspension
from ottla.errors import FatalClientError, OttlaError, SettingsError, TransactionConflict, Unavailable
from ottla.ports import Clock, Gap, Load, Message, Progress, RecordSource, Start, Timer
from ottla.records import Headers, TopicPartition
from ottla.runtime.assignment import Delivery, Drain, PartitionState, Phase
from ottla.runtime.counts import Counts
from ottla.runtime.lifecycle import Health, supervise

_log = logging.getLogger("ottla.listener")

_TURN_S = 0.005
"""How long handlers that never suspend may keep the event loop before others get a turn."""
_PUBLISH_S = 0.02
"""How old a finished record may be before the poll thread knows of it."""
_LEAVE_S = 2.0
"""How long a source may take to commit and leave that nobody waits for any more."""
_CONFLICTS_UNSAID = 4
"""From so many conflicts of one record on they are said, and then each time they have doubled."""
_FAILURES_BEFORE_STOP = 3
"""How often one record may not be written to the topic where it ends before its partition stops."""


@dataclass(frozen=True, slots=True)
class EnginePolicy:
    """How one listener works."""

    concurrency: int = 64
    order: Order = Order.KEY
    retry: InPlace | RetryTopics = field(default_factory=InPlace)
    has_dead_letter: bool = True
    window: int = 100_000
    is_cancellable: bool = True
    """Whether a running handler can be ended: a coroutine can, a thread cannot."""
    road: Road = Road.MAIN
    group: str = ""
    """The listener's, which headers name; a retry topic's records are read by a group of their own."""


class SendsOn(Protocol):
    """Writes records to the topics where they end."""

    async def send_on(self, delivery: Delivery, decision: SendOn) -> None:
        """Return once it is acknowledged, or the record was ended by somebody else."""
        ...


def _is_closed(delivery: Delivery | None) -> bool:
    return delivery is not None and delivery.state.phase is Phase.CLOSED


class _Worker:
    """One place among the running: its task, and what it handles now."""

    __slots__ = ("delivery", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[None]
        self.delivery: Delivery | None = None


class Engine:
    """Runs one listener's records. Fills `ports.RecordSink`."""

    def __init__(  # noqa: PLR0913  (its collaborators; a bundle of them would only rename this list)
        self,
        name: str,
        policy: EnginePolicy,
        *,
        source: RecordSource,
        invoke: Callable[[Delivery], Awaitable[Outcome]],
        settlement: SendsOn,
        guard: GuardState,
        health: Health,
        clock: Clock,
        chance: Callable[[], float],
        on_fatal: Callable[[BaseException], None],
        handler_durations: Histogram | None = None,
        succeeded_beside: Callable[[], int] = lambda: 0,
    ) -> None:
        self.name = name
        self._policy = policy
        self._source = source
        self._invoke = invoke
        self._settlement = settlement
        self._guard = guard
        self._health = health
        self._clock = clock
        self._chance = chance
        self._on_fatal = on_fatal
        self._handler_durations = handler_durations  # None: nobody asks for them
        self._succeeded_beside = succeeded_beside  # by the listener's other topics
        self._states: dict[tuple[str, int], PartitionState] = {}
        self._slots: dict[TopicPartition, int] = {}
        self._lanes: Lanes[Delivery] = Lanes()
        self._taken = self._taken_size = self._buffered = self._size = self._finished = 0
        self._duplicates = self._skipped = self._dead_lettered = self._retried = 0
        self._forwarded = self._foreign = self._conflicts = 0
        self._is_detour = policy.road is not Road.MAIN
        self._succeeded_told = 0
        self._workers: list[_Worker] = []
        self._idle: list[asyncio.Future[None]] = []
        self._drains: list[Drain] = []
        self._yield_at = 0.0
        self._publication: Timer | None = None
        self._suspension = Suspension()
        self._held_back: deque[Delivery] = deque()  # whose dead letters the guard does not let go
        self._is_turn_of_held_back = True
        self.has_joined = False

    # -- starting and stopping

    def start(self) -> None:
        """Join the group; call it on the event loop."""
        for number in range(self._policy.concurrency):
            worker = _Worker()
            name = f"{self.name}-{number}"
            worker.task = supervise(self._work(worker), name=name, on_crash=self._on_fatal)
            self._workers.append(worker)
        self._source.open(self)

    async def stop(self, bound_s: float) -> None:
        """Start nothing more, let what runs end within `bound_s`, commit, leave the group.

        What was not finished is redelivered. Handlers that are coroutines are
        cancelled at the bound; a thread cannot be, and runs on. Cancelled itself, it has
        told the source to leave, and waits no longer.
        """
        deadline = self._clock.now() + bound_s
        self._source.quiesce()
        self._suspension.end()
        try:
            await self._drain(bound_s)
            self._publish()
            await self._source.close(max(0.05, deadline - self._clock.now()))
            self.revoked([state.partition for state in self._states.values()])
        finally:
            self._publish()
            self._source.leave(_LEAVE_S)  # nothing new, unless we were cancelled: the loop is ending
            for worker in self._workers:
                worker.task.cancel()

    async def _drain(self, bound_s: float) -> None:
        """Wait for what runs. A part of the bound is kept for the commit.

        A handler's last moments are worth less than the results of its siblings.
        """
        drained = asyncio.get_running_loop().create_future()
        self.revoking([state.partition for state in self._states.values()], lambda: drained.set_result(None))
        done, _ = await asyncio.wait((drained,), timeout=bound_s * 0.8)
        if not done:
            _log.warning(
                "%s: %d records were still being handled after %.1f s and will be redelivered",
                self.name,
                len(self._running()),
                bound_s * 0.8,
            )
            self._cancel(self._running())
            await asyncio.wait((drained,), timeout=bound_s * 0.05)

    def counts(self) -> Counts:
        """How records ended. Successes are told by the rest, so that they cost nothing to count."""
        return Counts(
            self.succeeded() - self._skipped,
            self._duplicates,
            self._skipped + self._foreign,
            self._dead_lettered,
            self._retried,
        )

    def figures(self) -> WorkFigures:
        """What goes on now, and has gone on. Threads may ask.

        A success is told by the difference of numbers that change one after the other, so
        it may be one too many for a moment. Told again it is not less: whoever adds up
        counters would take that for a restart.
        """
        counts, states = self.counts(), tuple(self._states.values())
        self._succeeded_told = max(self._succeeded_told, counts.succeeded)
        oldest = [delivery.taken_at for state in states if (delivery := state.tracker.oldest()) is not None]
        durations = self._handler_durations
        return WorkFigures(
            in_flight=len(self._running()),
            backing_off=sum(len(state.waiting) for state in states),
            held_back=len(self._held_back),
            buffered=self._buffered,
            oldest_s=max(0.0, self._clock.now() - min(oldest)) if oldest else 0.0,
            stopped_partitions=sum(state.phase is Phase.STOPPED for state in states),
            succeeded=self._succeeded_told,
            duplicates=counts.duplicates,
            skipped=counts.skipped,
            dead_lettered=counts.dead_lettered,
            forwarded=self._forwarded,
            retried=counts.retried,
            conflicts=self._conflicts,
            guard_trips=self._guard.trips,
            handler=NOTHING if durations is None else durations.now(),
        )

    def under_way(self) -> list[str]:
        """What goes on now, one line each; empty when all that is left waits for time or for a cure."""
        told = [
            f"{self.name}: {delivery} is handled, attempt {delivery.attempt}"
            for worker in self._workers
            if (delivery := worker.delivery) is not None
        ]
        if not told and self._lanes and self._suspension.may_start:
            told.append(f"{self.name}: records are about to start")
        return told

    def partitions(self) -> list[TopicPartition]:
        """The partitions that are ours now."""
        return [state.partition for state in tuple(self._states.values())]

    # -- what the source tells (ports.RecordSink)

    def load(self) -> Load:
        """How full this listener is. Totals are read first: stale ones make it look fuller, never emptier."""
        taken, taken_size = self._taken, self._taken_size
        return Load(taken, taken_size, self._buffered, self._size)

    def assigned(self, starts: Sequence[Start]) -> None:
        """Take up partitions, each in a new epoch."""
        self.has_joined = True
        for start in starts:
            slot = self._slots.setdefault(start.partition, len(self._slots))
            self._states[start.partition] = PartitionState(start, slot=slot, window=self._policy.window)
        self._publish()

    def records(self, batch: Sequence[Message], size: int) -> None:
        """Queue polled records in their lanes."""
        self._buffered += len(batch)
        self._size += size
        self._taken += len(batch)
        self._taken_size += size
        states, offer, order = self._states, self._lanes.offer, self._policy.order
        is_by_key = order is Order.KEY
        now = self._clock.now()
        for message in batch:
            state = states.get((message.topic(), message.partition()))
            if state is None:
                self._forget(message)  # of a partition that went meanwhile: its next owner has it
                continue
            offset = message.offset()
            lane: tuple[int, bytes | None] | None
            if is_by_key:
                key = message.key()
                lane = None if key is None else (state.slot, key)
            else:
                lane = (state.slot, None) if order is Order.PARTITION else None
            delivery = Delivery(message, state, offset, lane, now)
            if not state.tracker.polled(offset, delivery):
                self._forget(message)  # below the start of this epoch, or delivered in it before
            elif state.is_beyond_window(offset):
                self._hold(delivery)
            else:
                offer(lane, delivery)
        self._wake()

    def revoking(self, partitions: Sequence[TopicPartition], drained: Callable[[], None]) -> None:
        """Start nothing more of `partitions`; what waits is left to their next owner."""
        leaving = [state for p in partitions if (state := self._states.get(p)) is not None]
        for state in leaving:
            state.phase = Phase.LEAVING
            self._health.ready(str(state.partition))
            self._health.ready(f"{state.partition} unread")
        for delivery in self._lanes.drop(
            lambda item: item.state.phase is Phase.LEAVING, lambda item: item.lane
        ):
            self._forget(delivery.message)
        for state in leaving:
            self._let_go(state)

        def publish_and_tell() -> None:
            self._publish()
            drained()

        self._drains.append(Drain(leaving, publish_and_tell))
        self._check_drains()

    def _let_go(self, state: PartitionState) -> None:
        """Release what is held, parked or in back-off."""
        for delivery in state.held:
            self._forget(delivery.message)  # never entered its lane
        held_back = [delivery for delivery in self._held_back if delivery.state is state]
        for delivery in held_back:
            self._held_back.remove(delivery)
        for delivery in (*state.parked, *state.waiting, *held_back):
            if delivery.timer is not None:
                delivery.timer.cancel()
            self._forget(delivery.message)
            self._lanes.finish(delivery.lane)
        state.held.clear()
        state.parked.clear()
        state.waiting.clear()

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Close `partitions`: what still runs for them is cancelled where it can be, and changes nothing."""
        closed = [state for p in partitions if (state := self._states.pop(p, None)) is not None]
        lost = [state for state in closed if state.phase is not Phase.LEAVING]
        for state in closed:
            state.phase = Phase.CLOSED
            self._health.ready(str(state.partition))
        for delivery in self._lanes.drop(
            lambda item: item.state.phase is Phase.CLOSED, lambda item: item.lane
        ):
            self._forget(delivery.message)
        for state in lost:
            self._let_go(state)
        self._cancel(worker for worker in self._running() if _is_closed(worker.delivery))
        self._publish()

    def gap(self, gap: Gap) -> None:
        """Say that records are gone, and stop their partition unless the listener chose to skip."""
        gone = (
            f"records {gap.expected} to {gap.low - 1} are gone"
            if gap.expected < gap.low
            else (f"the group is at {gap.expected}, but the log ends at {gap.high}")
        )
        if gap.is_skipped:
            _log.error("%s: %s: %s; skipped, because on_out_of_range says so", self.name, gap.partition, gone)
        elif (state := self._states.get(gap.partition)) is not None:
            cure = (
                "reset the group's offset, or choose with offsets=Offsets(on_out_of_range=…) where to go on; "
                "retention is shorter than the outage was"
            )
            self._stop_partition(state, f"{gone} (retention or a new topic of that name); {cure}")

    def trouble(self, error: Unavailable | None) -> None:
        """Say why no records come, or that they come again."""
        if error is None:
            self._health.ready(f"{self.name} source")
        else:
            self._health.unready(f"{self.name} source", str(error))

    def fatal(self, error: FatalClientError | SettingsError) -> None:
        """The client cannot go on, and neither can the process."""
        self._on_fatal(error)

    # -- the workers

    async def _work(self, worker: _Worker) -> None:
        lanes, suspension = self._lanes, self._suspension
        free_at = time.monotonic()  # the clock is read once a record: the next handler begins then
        while True:
            delivery = lanes.take() if suspension.may_start else None
            if delivery is None and self._held_back and suspension.may_start:
                delivery = self._held_back.popleft()  # a probe is due, and no other can be one
            if delivery is None:
                await self._rest()
                free_at = time.monotonic()
                continue
            state = delivery.state
            if state.phase is not Phase.OPEN and not self._may_start_in(state, delivery):
                continue
            if not suspension.is_open:
                suspension.started(delivery)
            elif self._idle and lanes:
                self._wake()
            await self._handle(delivery, worker, free_at)
            free_at = time.monotonic()
            if free_at >= self._yield_at:
                await asyncio.sleep(0)
                free_at = time.monotonic()
                self._yield_at = free_at + _TURN_S

    async def _rest(self) -> None:
        """Wait until there may be something to start; the last to rest is the first to be woken."""
        waker = asyncio.get_running_loop().create_future()
        self._idle.append(waker)
        await waker

    def _wake(self) -> None:
        """Wake one worker; it wakes the next if there is more to start."""
        while self._idle:
            waker = self._idle.pop()
            if not waker.done():
                waker.set_result(None)
                return

    def _may_start_in(self, state: PartitionState, delivery: Delivery) -> bool:
        """Only the dead letter that a stopped partition waits for may go on in it."""
        if state.phase is not Phase.STOPPED:
            self._release(delivery)
            return False
        if delivery.pending is None:
            state.parked.append(delivery)
            return False
        return True

    async def _handle(  # noqa: C901, PLR0912  (each helper would be a call more for every record)
        self, delivery: Delivery, worker: _Worker, begun_at: float
    ) -> None:
        """From the handler to the record's end, its back-off, or its place in the queue again."""
        state = delivery.state
        state.running += 1
        worker.delivery = delivery
        try:
            if delivery.pending is None:
                if self._is_detour and not delivery.attempt and not self._arrives(delivery):
                    return
                delivery.attempt += 1
                outcome = await self._invoke(delivery)
                if self._handler_durations is not None:
                    self._handler_durations.observe(time.monotonic() - begun_at)
                if not self._suspension.is_open and not isinstance(outcome, Interrupted | Cancelled):
                    self._work_succeeded(is_effect=outcome is Ended.SUCCEEDED or outcome is Ended.SKIPPED)
                if state.unread and not isinstance(outcome, Interrupted | Cancelled):
                    self._is_read(delivery)
                if outcome is Ended.SUCCEEDED and state.phase is not Phase.CLOSED:
                    self._finish(delivery)
                else:
                    await self._settle(delivery, outcome)
            else:
                await self._send_on(delivery, delivery.pending)
        except asyncio.CancelledError:
            if not delivery.is_cancelled:
                raise
            self._release(delivery)
        finally:
            if delivery.is_cancelled:
                # Also when the handler swallowed it: the next record's handler is not cancelled.
                worker.task.uncancel()
            worker.delivery = None
            state.running -= 1
            if not self._suspension.is_open:
                self._probe_after(self._suspension.ended(delivery, self._chance()))
            if self._drains:
                self._check_drains()

    def _arrives(self, delivery: Delivery) -> bool:
        """Read what a record on a detour brings along; whether it is to be handled now.

        One that is not due keeps its lane and waits. It is looked at again then: the date
        may have been set back, and no record is handled too early.
        """
        now_ms = self._clock.time_ms()
        headers = delivery.headers or Headers()
        arrival = read_arrival(self._policy.road, headers, group=self._policy.group, now_ms=now_ms)
        if arrival is None:
            self._foreign += 1
            self._finish(delivery)
            return False
        if arrival.due_ms is not None and arrival.due_ms > now_ms:
            self._back_off(delivery, (arrival.due_ms - now_ms) / 1000, None)
            return False
        delivery.arrival = arrival
        delivery.attempt = arrival.attempt - 1
        return True

    async def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        state = delivery.state
        if state.phase is Phase.CLOSED:
            self._release(delivery)
            return
        decision = decide(
            outcome,
            attempt=delivery.attempt,
            moment=self._moment(delivery, outcome),
            retry=self._policy.retry,
            has_dead_letter=self._policy.has_dead_letter,
        )
        match decision:
            case Simple.DONE:
                self._duplicates += outcome is Ended.DUPLICATE
                self._skipped += outcome is Ended.SKIPPED
                self._finish(delivery)
            case Simple.LEAVE:
                self._release(delivery)
            case WaitForCure() | WaitAlone() | RunAgain():
                self._begin_anew(delivery, decision)
            case RetryInPlace(delay_s):
                self._retried += 1
                self._back_off(delivery, delay_s, outcome)
            case Bury() if not self._may_bury():
                self._hold_back(delivery)
            case Bury() | Forward():
                await self._send_on(delivery, decision)
            case StopPartition(error):
                self._park(delivery)
                self._stop_partition(state, f"{delivery} failed and dead_letter=False: {class_name(error)}")

    def _moment(self, delivery: Delivery, outcome: Outcome) -> Moment:
        now = self._clock.now()
        if delivery.failed_at is None and isinstance(outcome, Failed):
            delivery.failed_at = now
        delivery.conflicts += isinstance(outcome, Conflicted)
        return Moment(
            chance=self._chance(),
            now_ms=self._clock.time_ms(),
            first_seen_ms=delivery.first_seen_ms,
            failing_s=0.0 if delivery.failed_at is None else now - delivery.failed_at,
            conflicts=delivery.conflicts,
            is_window_full=self._is_filling_window(delivery),
        )

    # -- ends and waits of a record

    def _finish(self, delivery: Delivery) -> None:
        """The record is done: set explicitly, here and nowhere else."""
        state = delivery.state
        state.tracker.done(delivery.offset)
        self._finished += 1
        self._buffered -= 1
        self._size -= len(delivery.message)
        self._lanes.finish(delivery.lane)
        if state.held:
            self._release_held(state)
        if self._publication is None:
            self._publication = self._clock.call_later(_PUBLISH_S, self._publish)

    def _release(self, delivery: Delivery) -> None:
        """Give the lane and the room back; says nothing of the offset."""
        self._forget(delivery.message)
        self._lanes.finish(delivery.lane)

    def _forget(self, message: Message) -> None:
        self._buffered -= 1
        self._size -= len(message)

    def _back_off(self, delivery: Delivery, delay_s: float, failure: object) -> None:
        """Keep the lane, not the place among the running."""
        state = delivery.state
        if state.phase is Phase.LEAVING:
            self._release(delivery)
            return
        state.waiting[delivery] = failure
        delivery.timer = self._clock.call_later(delay_s, lambda: self._due(delivery))

    def _due(self, delivery: Delivery) -> None:
        delivery.timer = None
        del delivery.state.waiting[delivery]
        self._lanes.again(delivery)
        self._wake()

    def _park(self, delivery: Delivery) -> None:
        """Keep the lane until the partition goes on or goes away."""
        if delivery.state.phase is Phase.LEAVING:
            self._release(delivery)
        else:
            delivery.state.parked.append(delivery)

    async def _send_on(self, delivery: Delivery, decision: SendOn) -> None:
        """Write the record where it ends; only the acknowledgement ends it here."""
        state = delivery.state
        delivery.pending = decision
        try:
            await self._settlement.send_on(delivery, decision)
        except TransactionConflict as error:
            delivery.conflicts += 1
            self._run_again(delivery, conflict_delay_s(delivery.conflicts, self._chance()), error)
            return
        except OttlaError as error:
            self._not_sent_on(delivery, decision, error)
            return
        self._work_succeeded(is_effect=False)
        if state.phase is Phase.CLOSED:
            self._release(delivery)
            return
        self._finish(delivery)
        if isinstance(decision, Bury):
            self._dead_lettered += 1
            _log.warning(
                "%s: %s went to the dead-letter topic after %d attempts: %s: %s",
                self.name,
                delivery,
                delivery.attempt,
                decision.reason.value,
                # Its words may quote the payload, or raise; the dead letter has them.
                class_name(decision.error),
            )
        else:
            self._forwarded += 1
            self._retried += 1
        if state.phase is Phase.STOPPED and delivery.burials:
            self._go_on(state)

    def _not_sent_on(self, delivery: Delivery, decision: SendOn, error: OttlaError) -> None:
        state = delivery.state
        delivery.burials += 1
        if state.phase is Phase.CLOSED:
            self._release(delivery)
            return
        delay_s = exponential_s(delivery.burials, first_s=0.5, factor=2, max_s=30)
        what = f"the dead letter of {delivery}" if isinstance(decision, Bury) else f"{delivery} for its retry"
        _log.error("%s: %s could not be written, again in %.1f s: %s", self.name, what, delay_s, error)
        if delivery.burials >= _FAILURES_BEFORE_STOP and state.phase is Phase.OPEN:
            self._stop_partition(state, f"{what} cannot be written: {error}")
        self._back_off(delivery, delay_s, error)

    def _run_again(self, delivery: Delivery, delay_s: float, error: BaseException) -> None:
        """After a conflict of transactions, however often: the database is well, and other keys go on."""
        self._conflicts += 1
        if delivery.state.phase is Phase.CLOSED:
            self._release(delivery)
            return
        count = delivery.conflicts
        if count >= _CONFLICTS_UNSAID and count.bit_count() == 1:
            _log.warning(
                "%s: %s met the %d. conflict of transactions, again in %.1f s: %s",
                self.name,
                delivery,
                count,
                delay_s,
                error,
            )
        self._back_off(delivery, delay_s, error)

    # -- stopped partitions

    def _stop_partition(self, state: PartitionState, reason: str) -> None:
        if state.phase is not Phase.OPEN:
            return
        state.phase = Phase.STOPPED
        self._source.pause(state.partition)
        self._health.unready(str(state.partition), f"{self.name} has stopped this partition: {reason}")

    def _go_on(self, state: PartitionState) -> None:
        state.phase = Phase.OPEN
        if not state.held:
            self._source.resume(state.partition)
        self._health.ready(str(state.partition))
        for delivery in reversed(state.parked):
            self._lanes.again(delivery)
        state.parked.clear()
        self._wake()

    # -- failures of the framework's own work (no attempts)

    def _begin_anew(self, delivery: Delivery, decision: WaitForCure | WaitAlone | RunAgain) -> None:
        """The handler is not to blame: the same attempt again, when what was in the way is gone."""
        delivery.attempt -= 1
        match decision:
            case WaitForCure(error):
                self._wait_for_cure(delivery, error)
            case WaitAlone(error):
                self._wait_alone(delivery, error)
            case RunAgain(delay_s, error):
                self._run_again(delivery, delay_s, error)

    def _wait_for_cure(self, delivery: Delivery, error: BaseException) -> None:
        """Start nothing, try one record again after a back-off, without end."""
        if delivery.state.phase is Phase.LEAVING:
            self._release(delivery)
        else:
            self._lanes.again(delivery)
        self._health.unready(self.name, f"starts nothing until this is cured: {error}")
        self._probe_after(self._suspension.failed(self._chance()))

    def _wait_alone(self, delivery: Delivery, error: BaseException) -> None:
        """Try one record again after a longer wait each time, without end; only its lane waits for it."""
        state = delivery.state
        times = state.unread[delivery] = state.unread.get(delivery, 0) + 1
        if state.phase is not Phase.LEAVING:
            self._health.unready(f"{state.partition} unread", f"records wait until this is cured: {error}")
        wait_s = exponential_s(times, first_s=0.2, factor=2, max_s=10)
        self._back_off(delivery, wait_s * (0.8 + 0.2 * self._chance()), error)

    def _is_read(self, delivery: Delivery) -> None:
        """What a record has waited for alone is there."""
        state = delivery.state
        if state.unread.pop(delivery, None) is not None and not state.unread:
            self._health.ready(f"{state.partition} unread")

    def _probe_after(self, wait_s: float | None) -> None:
        if wait_s is not None:
            self._clock.call_later(wait_s, self._let_probe)

    def _let_probe(self) -> None:
        if self._guard.is_over(self._succeeded_anywhere()):
            self._work_succeeded(is_effect=True)
            return
        if self._held_back and self._is_turn_of_held_back:
            self._lanes.again(self._held_back.popleft())
        self._is_turn_of_held_back = not self._is_turn_of_held_back
        self._suspension.probe_due()
        self._wake()

    def _work_succeeded(self, *, is_effect: bool) -> None:
        """What the framework does works again; what the guard waits for is more: a record that succeeds."""
        if self._guard.is_tripped:
            self._health.ready(self.name)
            if not is_effect:
                return
            self._lift_guard()
        if self._suspension.succeeded():
            self._health.ready(self.name)
            self._wake()

    # -- the flood guard

    def succeeded(self) -> int:
        """Of how many records of this topic the handler has returned, ever."""
        others = self._dead_lettered + self._forwarded + self._duplicates + self._foreign
        return self._finished - others

    def _succeeded_anywhere(self) -> int:
        return self.succeeded() + self._succeeded_beside()

    def _may_bury(self) -> bool:
        """Whether one more dead letter may go; if not, nothing starts but probes."""
        if self._guard.may_bury(self._succeeded_anywhere()):
            return True
        if self._suspension.is_open:
            self._is_turn_of_held_back = True
        cure = "no more are written until a record succeeds; one at a time is tried"
        self._health.unready(f"{self.name} guard", f"{self._guard.why}: {cure}")
        self._probe_after(self._suspension.failed(self._chance()))
        return False

    def _hold_back(self, delivery: Delivery) -> None:
        """Keep a record whose dead letter may not go: it is a probe, then others in turn with it.

        Being a probe is no attempt: its dead letter tells how often the handler's work was due.
        """
        delivery.attempt -= 1
        if delivery.state.phase is Phase.LEAVING:
            self._release(delivery)
        else:
            self._held_back.append(delivery)

    def _lift_guard(self) -> None:
        self._guard.lift(self._succeeded_anywhere())
        self._health.ready(f"{self.name} guard")
        for delivery in reversed(self._held_back):
            self._lanes.again(delivery)
        self._held_back.clear()
        for state in self._states.values():
            if state.held:
                self._press(state)

    # -- the window

    def _hold(self, delivery: Delivery) -> None:
        state = delivery.state
        if not state.held:
            self._source.pause(state.partition)
            _log.warning(
                "%s: %s: the uncommitted window of %d offsets is full behind %s",
                self.name,
                state.partition,
                state.window,
                state.tracker.head(),
            )
        state.held.append(delivery)
        self._press(state)

    def _release_held(self, state: PartitionState) -> None:
        for delivery in state.releasable():
            self._lanes.offer(delivery.lane, delivery)
        if state.held:
            self._press(state)
        elif state.phase is Phase.OPEN:
            self._source.resume(state.partition)
        self._wake()

    def _press(self, state: PartitionState) -> None:
        """End the back-off of the record that fills the window: it has had its chances."""
        head = state.tracker.head()
        if head is None or not self._is_filling_window(head):
            return
        failure = state.waiting.get(head)
        if not isinstance(failure, Failed) or head.timer is None:
            return
        if self._may_bury():
            head.timer.cancel()
            head.timer = None
            head.pending = Bury(Reason.WINDOW_FULL, failure.error)
            del state.waiting[head]
            self._lanes.again(head)
            self._wake()

    def _is_filling_window(self, delivery: Delivery) -> bool:
        state = delivery.state
        retry = self._policy.retry
        waits = isinstance(retry, InPlace) and retry.when_window_full == "wait"
        can_end = self._policy.has_dead_letter and not waits
        return bool(state.held) and can_end and state.tracker.head() is delivery

    # -- the snapshot for the poll thread, and drains

    def _publish(self) -> None:
        if self._publication is not None:
            self._publication.cancel()
            self._publication = None
        offsets = {state.partition: state.committable() for state in self._states.values()}
        self._source.publish(Progress(offsets, self._finished))

    def _check_drains(self) -> None:
        self._drains = [drain for drain in self._drains if not drain.is_over()]

    def _running(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.delivery is not None]

    def _cancel(self, workers: Iterable[_Worker]) -> None:
        if not self._policy.is_cancellable:
            return
        for worker in workers:
            if worker.delivery is not None and not worker.delivery.is_cancelled:
                worker.delivery.is_cancelled = True
                worker.task.cancel()
