"""Which record may start now.

Rules of this file:

- A lane is (partition slot, key). One record of a lane is out at a time, from `take` or a
  back-off until `finish`; the rest of the lane waits in the order in which it was offered.
- A record without a lane (null key, or `Order.NONE`) is ordered by nothing.
- A lane belongs to the slot, not to an assignment: when a partition is revoked and given
  back while a handler still runs, that handler's lane stays taken until it has really ended.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Order(enum.Enum):
    """What keeps its order while records succeed or wait in place."""

    KEY = "key"
    PARTITION = "partition"
    NONE = "none"


class Lanes(Generic[T]):
    """The queue of a listener: hands out what may start, oldest first."""

    __slots__ = ("_lanes", "_ready")

    def __init__(self) -> None:
        self._ready: deque[T] = deque()
        # A lane that is taken, with those that wait behind it (None while there are none:
        # most lanes of a busy topic hold a single record, and an empty deque is 600 bytes).
        self._lanes: dict[Hashable, deque[T] | None] = {}

    def __bool__(self) -> bool:
        """Whether `take` would hand out a record."""
        return bool(self._ready)

    def offer(self, lane: Hashable | None, item: T) -> None:
        """Queue `item`; it may start at once if its lane is free."""
        if lane is None:
            self._ready.append(item)
            return
        lanes = self._lanes
        if lane not in lanes:
            lanes[lane] = None
            self._ready.append(item)
        elif (waiting := lanes[lane]) is None:
            lanes[lane] = deque((item,))
        else:
            waiting.append(item)

    def take(self) -> T | None:
        """The next record to start, or None."""
        return self._ready.popleft() if self._ready else None

    def again(self, item: T) -> None:
        """Hand `item`, whose lane is still taken, out before all others: its back-off is over."""
        self._ready.appendleft(item)

    def finish(self, lane: Hashable | None) -> None:
        """The record that held `lane` has ended; the next of the lane may start."""
        if lane is None:
            return
        waiting = self._lanes[lane]
        if waiting:
            self._ready.append(waiting.popleft())
        else:
            del self._lanes[lane]

    def drop(self, is_dropped: Callable[[T], bool], lane_of: Callable[[T], Hashable | None]) -> list[T]:
        """Forget every queued record for which `is_dropped` holds, and return them.

        Records that are out (running, or in back-off) keep their lanes.
        """
        dropped: list[T] = []

        def keep(queue: deque[T]) -> deque[T]:
            kept: deque[T] = deque()
            for item in queue:
                (dropped if is_dropped(item) else kept).append(item)
            return kept

        for lane, waiting in self._lanes.items():
            if waiting:
                self._lanes[lane] = keep(waiting) or None
        heads, self._ready = self._ready, keep(self._ready)
        for item in heads:
            if is_dropped(item):
                self.finish(lane_of(item))
        return dropped

    def taken(self) -> int:
        """How many lanes are taken."""
        return len(self._lanes)
