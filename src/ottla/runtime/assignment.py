"""A listener's partitions: what is unfinished of each, and in which state it is.

A `PartitionState` lives for one assignment. When the partition goes, the state is
closed, and whatever still runs for it reports to a closed state, which changes nothing.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Hashable
from types import EllipsisType
from typing import Any

from ottla.core.decide import SendOn
from ottla.core.detours import Arrival
from ottla.core.headers import Origin
from ottla.core.offsets import Committable, OffsetTracker
from ottla.ports import Message, Start, Timer
from ottla.records import Headers, TopicPartition


class Phase(enum.Enum):
    """Where a partition stands in its assignment."""

    OPEN = "open"
    STOPPED = "stopped"  # a record of it cannot be settled: nothing of it starts
    LEAVING = "leaving"  # being revoked: what runs may end, nothing starts
    CLOSED = "closed"  # no longer ours


class Delivery:
    """One polled record on its way to its end. Mutable, and owned by the engine."""

    __slots__ = (
        "_headers",
        "arrival",
        "attempt",
        "burials",
        "conflicts",
        "failed_at",
        "is_cancelled",
        "lane",
        "message",
        "offset",
        "pending",
        "state",
        "taken_at",
        "timer",
    )

    def __init__(
        self,
        message: Message,
        state: PartitionState,
        offset: int,
        lane: Hashable | None,
        taken_at: float = 0.0,
    ) -> None:
        self.message = message
        self.state = state
        self.offset = offset
        self.lane = lane
        self.taken_at = taken_at  # by the engine's clock; all of one poll have the same
        self.attempt = 0
        self.timer: Timer | None = None
        self.failed_at: float | None = None  # by the engine's clock, when its first attempt failed
        self.arrival: Arrival | None = None  # of a record that came by a detour
        self.pending: SendOn | None = None  # ended here: what is left is to write it elsewhere
        self.conflicts = 0  # how often another transaction was in its way
        self.burials = 0  # how often that could not be done
        self.is_cancelled = False
        self._headers: Headers | EllipsisType | None = ...  # not asked for yet

    @property
    def headers(self) -> Headers | None:
        """The record's headers, or None when the client cannot read them (a name that is not UTF-8).

        The client is asked once: confluent-kafka 2.16.1 raises the first time, and the second
        time returns a list with holes, which ends the process when it is read.
        """
        if isinstance(self._headers, EllipsisType):
            try:
                self._headers = Headers(self.message.headers() or ())
            except (SystemError, UnicodeDecodeError):
                self._headers = None
        return self._headers

    def origin(self, group: str) -> Origin:
        """Where the record stood when `group` saw it first: here, unless it came by a detour."""
        if self.arrival is not None and self.arrival.origin is not None:
            return self.arrival.origin
        timestamp_type, timestamp_ms = self.message.timestamp()
        return Origin(*self.state.partition, self.offset, timestamp_ms, timestamp_type, group)

    @property
    def first_seen_ms(self) -> int:
        """The record's timestamp on its first topic."""
        if self.arrival is not None and self.arrival.first_seen_ms is not None:
            return self.arrival.first_seen_ms
        return self.message.timestamp()[1]

    @property
    def is_replay(self) -> bool:
        """Whether it is a dead letter that was sent to be handled again."""
        return self.arrival is not None and self.arrival.is_replay

    def __str__(self) -> str:
        return f"{self.state.partition}@{self.offset}"


class PartitionState:
    """What is known of one partition in one epoch."""

    __slots__ = (
        "epoch",
        "held",
        "limit",
        "parked",
        "partition",
        "phase",
        "running",
        "slot",
        "tracker",
        "unread",
        "waiting",
        "window",
    )

    def __init__(self, start: Start, *, slot: int, window: int) -> None:
        self.partition: TopicPartition = start.partition
        self.epoch = start.epoch
        self.slot = slot
        self.window = window
        self.limit = start.offset + window
        self.tracker: OffsetTracker[Delivery] = OffsetTracker(start.offset)
        self.held: deque[Delivery] = deque()  # beyond the window
        self.parked: list[Delivery] = []  # taken from its lane while the partition was stopped
        self.waiting: dict[Delivery, Any] = {}  # in back-off, with what failed last
        self.unread: dict[Delivery, int] = {}  # that wait for what only they need, and how often it was away
        self.running = 0
        self.phase = Phase.OPEN

    def is_beyond_window(self, offset: int) -> bool:
        """Whether `offset` is too far ahead of the lowest unfinished one to start."""
        if self.held:
            return True
        if offset < self.limit:
            return False
        self.limit = self.tracker.lowest() + self.window
        return offset >= self.limit

    def releasable(self) -> list[Delivery]:
        """The held records that the window has come to, taken out of `held`."""
        self.limit = self.tracker.lowest() + self.window
        held, released = self.held, []
        while held and held[0].offset < self.limit:
            released.append(held.popleft())
        return released

    def committable(self) -> Committable:
        """What may be committed of this partition now."""
        return Committable(self.epoch, self.tracker.lowest(), is_idle=not self.tracker)


class Drain:
    """Waits for what runs in some partitions, then calls back once."""

    def __init__(self, states: list[PartitionState], drained: Callable[[], None]) -> None:
        self._states = states
        self._drained = drained

    def is_over(self) -> bool:
        """Whether nothing of these partitions runs; calls back when so."""
        if any(state.running for state in self._states):
            return False
        self._drained()
        return True
