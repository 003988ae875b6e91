"""How the poll thread asks for records.

Rules of this file:

- It never stops polling, because the client takes a consumer that does not poll for dead.
- Pausing a partition throws prefetched records away and costs half a second to a second
  when it is resumed, so it is the last resort: a full buffer is first met by polling one
  record each `reserve_interval_s`, which buys `full_for_s` for the handlers to catch up.
- While paused nothing resumes before half of the room is free.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BufferLimits:
    """What may be polled and unfinished in one listener. Bytes are those of the values."""

    records: int = 10_000
    bytes: int = 64 * 1024 * 1024
    batch: int = 2_000
    full_for_s: float = 2.0
    reserve_interval_s: float = 0.1


@dataclass(frozen=True, slots=True)
class Poll:
    """Ask for at most `most` records."""

    most: int


class Step(enum.Enum):
    """What the poll thread does when it does not simply poll."""

    WAIT = "wait"  # a moment without polling
    PAUSE = "pause"  # pause every partition, go on polling for events
    EVENTS = "events"  # paused: poll for events only
    RESUME = "resume"  # take up every partition again


class Pacing:
    """Turns the fill of the buffer into the poll thread's next step."""

    def __init__(self, limits: BufferLimits) -> None:
        self._limits = limits
        self._full_since: float | None = None
        self._reserve_at = 0.0
        self.is_paused = False

    def next(self, now: float, records: int, size: int) -> Poll | Step:
        """The step to take at `now` (seconds) with `records` of `size` bytes unfinished."""
        limits = self._limits
        if self.is_paused:
            if records > limits.records // 2 or size > limits.bytes // 2:
                return Step.EVENTS
            self.is_paused, self._full_since = False, None
            return Step.RESUME
        if size >= limits.bytes:
            self.is_paused = True
            return Step.PAUSE
        room = limits.records - records
        if self._full_since is None:
            if room > 0:
                return Poll(min(room, limits.batch))
            self._full_since, self._reserve_at = now, now + limits.reserve_interval_s
            return Step.WAIT
        return self._while_full(now, room)

    def _while_full(self, now: float, room: int) -> Poll | Step:
        """Full until an eighth is free: many tiny polls would cost more than they bring."""
        limits = self._limits
        if room >= max(1, limits.records // 8):
            self._full_since = None
            return Poll(min(room, limits.batch))
        if self._full_since is not None and now - self._full_since > limits.full_for_s:
            self.is_paused = True
            return Step.PAUSE
        if now >= self._reserve_at:
            self._reserve_at = now + limits.reserve_interval_s
            return Poll(1)
        return Step.WAIT
