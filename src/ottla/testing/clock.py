"""Time that a test turns: what is due in an hour costs none of it.

Rules of this file:

- Time moves only by `advance` and `jump`, never by itself.
- Timers fire in the order in which they are due, those of one moment in the order in which
  they were set, and each sees the time at which it was due.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable


class ManualClock:
    """A clock that stands still until it is turned. Fills `ports.Clock`; belongs to one event loop."""

    def __init__(self) -> None:
        self._now = 0.0
        self._began_ms = time.time_ns() // 1_000_000
        self._timers: list[_Timer] = []
        self._count = 0

    def now(self) -> float:
        """Seconds that were turned so far."""
        return self._now

    def time_ms(self) -> int:
        """The date, as timestamps of records have it: when the clock was made, and what was turned since."""
        return self._began_ms + round(self._now * 1000)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> _Timer:
        """Call back once so much was turned."""
        self._count += 1
        timer = _Timer(self._now + max(0.0, delay_s), self._count, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Turn `seconds` on, and call back what is due by then.

        What the callbacks wake runs when the event loop is next given a turn:
        `InMemoryBroker.advance` does both.
        """
        until = self._now + seconds
        while self.jump(until):
            pass
        self._now = max(self._now, until)

    def jump(self, until: float = float("inf")) -> bool:
        """Turn to the next moment, up to `until`, at which something is due. False if there is none."""
        due = self._next()
        if due is None or due.at > until:
            return False
        self._now = max(self._now, due.at)
        while (timer := self._next()) is not None and timer.at <= self._now:
            heapq.heappop(self._timers).fire()
        return True

    def _next(self) -> _Timer | None:
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0] if self._timers else None


class _Timer:
    """Fills `ports.Timer`."""

    __slots__ = ("at", "callback", "number")

    def __init__(self, at: float, number: int, callback: Callable[[], None]) -> None:
        self.at = at
        self.number = number
        self.callback: Callable[[], None] | None = callback

    def __lt__(self, other: _Timer) -> bool:
        return (self.at, self.number) < (other.at, other.number)

    def cancel(self) -> None:
        """Do not call back."""
        self.callback = None

    def fire(self) -> None:
        """Call back, unless cancelled."""
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()
