"""How long a failed record waits. Pure functions of the attempt; chance is an argument."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ottla.errors import WiringError


def exponential_s(attempt: int, *, first_s: float, factor: float, max_s: float) -> float:
    """`first_s` after attempt 1, `factor` times longer after each further one, never above `max_s`.

    Defined for any attempt: what overflows is above every cap.
    """
    try:
        return min(max_s, first_s * factor ** (attempt - 1))
    except OverflowError:
        return max_s


def conflict_delay_s(conflicts: int, chance: float) -> float:
    """The wait after a transaction met its `conflicts`-th conflict (from 1); `chance` in [0, 1) spreads it.

    Short, because the other transaction is over for the most part; spread over half of itself,
    because two that met would meet again.
    """
    return exponential_s(conflicts, first_s=0.05, factor=2, max_s=5.0) * (0.5 + 0.5 * chance)


@dataclass(frozen=True, slots=True)
class InPlace:
    """Retry where the record stands: only its key waits, other keys go on.

    `attempts` counts handler calls, the first included. The waits between them are
    `first_s`, doubling (`factor`) up to `max_s`, each moved at random by up to `jitter`
    of itself in either direction, never above `max_s`. A wait may be far longer than
    `max.poll.interval.ms`. After the last attempt the record is dead-lettered, and so it is
    when it fails after it has been failing for `max_elapsed_s`, attempts left or not.

    `when_window_full` tells what becomes of a record that keeps the partition's uncommitted
    window full: it is dead-lettered when it next fails, attempts left or not, or the
    partition waits for it.

    Raises:
        WiringError: a value outside its range.

    Source: Spring Kafka `DefaultErrorHandler` with `ExponentialBackOff`, which stalls
    all partitions of its consumer thread instead.
    """

    attempts: int = 5
    first_s: float = 0.2
    max_s: float = 30.0
    factor: float = 2.0
    jitter: float = 0.2
    when_window_full: Literal["dead-letter", "wait"] = "dead-letter"
    max_elapsed_s: float = math.inf

    def __post_init__(self) -> None:
        problems = [
            problem
            for is_wrong, problem in (
                (self.attempts < 1, f"attempts={self.attempts} must be at least 1"),
                (not 0 < self.first_s < math.inf, f"first_s={self.first_s} must be above 0"),
                (not self.first_s <= self.max_s < math.inf, f"max_s={self.max_s} must be at least first_s"),
                (not 1 <= self.factor < math.inf, f"factor={self.factor} must be at least 1"),
                (not 0 <= self.jitter < 1, f"jitter={self.jitter} must lie in [0, 1)"),
                (not self.max_elapsed_s > 0, f"max_elapsed_s={self.max_elapsed_s} must be above 0"),
                (
                    self.when_window_full not in ("dead-letter", "wait"),
                    f"when_window_full={self.when_window_full!r} must be 'dead-letter' or 'wait'",
                ),
            )
            if is_wrong
        ]
        if problems:
            raise WiringError(f"InPlace: {'; '.join(problems)}")

    def delay_s(self, attempt: int, chance: float, *, failing_s: float = 0.0) -> float | None:
        """The wait after `attempt` failed (1 is the first), or None when it was the last.

        `chance` in [0, 1) places the jitter. `failing_s` is how long ago the first attempt failed.
        """
        if attempt >= self.attempts or failing_s >= self.max_elapsed_s:
            return None
        delay = exponential_s(attempt, first_s=self.first_s, factor=self.factor, max_s=self.max_s)
        return min(self.max_s, delay * (1 + self.jitter * (2 * chance - 1)))


def Never() -> InPlace:  # noqa: N802  (reads as a policy beside InPlace and RetryTopics)
    """One attempt, no retry."""
    return InPlace(attempts=1)
