"""Whether a listener may go on sending records to its dead-letter topic.

Rules of this file:

- A bad deploy fails every record, and would move a whole topic into its dead letters. So dead
  letters are counted, and there is an end to them: in a row, and among the records that ended last.
- Once it is reached no dead letter goes before a record has succeeded. The records wait, uncommitted.
- One success is enough: then the handler works again, and all is counted anew.
- A success counts by whichever of the listener's topics it came: the last retry topic has hardly
  any record that succeeds, and would stop a listener that works.
- A record that ends well costs nothing here: whoever asks tells how many there were, ever.

Source: Sentry arroyo `DlqLimit` (`max_invalid_ratio`, `max_consecutive_count`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ottla.errors import WiringError


@dataclass(frozen=True, slots=True)
class Guard:
    """How many records may be dead-lettered before a listener stops and says so.

    At most `run` in a row; and of the last `over` records that ended, at most the share
    `ratio`, which is asked only once so many have ended. `ratio=1` leaves the run alone to count.

    Raises:
        WiringError: a value outside its range.
    """

    run: int = 50
    ratio: float = 0.5
    over: int = 100

    def __post_init__(self) -> None:
        problems = [
            problem
            for is_wrong, problem in (
                (self.run < 1, f"run={self.run} must be at least 1"),
                (not 0 < self.ratio <= 1, f"ratio={self.ratio} must be above 0 and at most 1"),
                (self.over < 1, f"over={self.over} must be at least 1"),
            )
            if is_wrong
        ]
        if problems:
            raise WiringError(f"Guard: {'; '.join(problems)}")


class GuardState:
    """Counts a listener's dead letters by one topic, and successes by all. Not for several threads."""

    __slots__ = (
        "_buried",
        "_ended",
        "_policy",
        "_run",
        "_run_at",
        "_succeeded",
        "is_tripped",
        "trips",
        "why",
    )

    def __init__(self, policy: Guard) -> None:
        self.is_tripped = False
        """Whether no dead letter goes until a record succeeds."""
        self.trips = 0
        """How often it came to that."""
        self.why = ""
        """What was reached, in words, while tripped."""
        self._policy = policy
        self._succeeded = 0  # as told last
        self._ended = 0  # records, since counting began
        self._buried: deque[int] = deque()  # which of them, by number, were given up
        self._run = 0  # dead letters in a row, up to and with the record of that number
        self._run_at = 0

    def may_bury(self, succeeded: int) -> bool:
        """Whether the next dead letter may go; asked once for each, and counted if it may.

        `succeeded` is how many records have ended well so far, ever. A dead letter that could
        not be written is not asked for again: it is the same one.
        """
        if self.is_tripped:
            return False
        self._ended += succeeded - self._succeeded
        self._succeeded = succeeded
        if self._ended != self._run_at:  # a record has succeeded since
            self._run = 0
        self.why = self._reached()
        if self.why:
            self.is_tripped = True
            self.trips += 1
            return False
        self._run += 1
        self._ended += 1
        self._run_at = self._ended
        self._buried.append(self._ended)
        return True

    def is_over(self, succeeded: int) -> bool:
        """Whether it is tripped, and a record has succeeded since: time to `lift` it."""
        return self.is_tripped and succeeded > self._succeeded

    def lift(self, succeeded: int) -> None:
        """A record has ended well while it was tripped: one of these, all told."""
        self._succeeded = succeeded
        self._ended, self._run, self._run_at = 1, 0, 0
        self._buried.clear()
        self.is_tripped, self.why = False, ""

    def _reached(self) -> str:
        """Which bound keeps the next dead letter back; empty if none does."""
        policy, buried = self._policy, self._buried
        while buried and buried[0] <= self._ended - policy.over:
            buried.popleft()
        if self._run >= policy.run:
            return f"{self._run} records in a row were dead-lettered"
        if self._ended >= policy.over and len(buried) / policy.over > policy.ratio:
            return f"{len(buried)} of the last {policy.over} records were dead-lettered"
        return ""
