"""How a failed record waits on retry topics, as Spring Kafka's `@RetryableTopic` makes it wait.

Rules of this file:

- All records of a topic wait equally long, so the one in front is the next that is due.
  Intervals that are equal share one topic (Spring's SINGLE_TOPIC).
- Intervals are whole milliseconds, cut after each multiplication: topics are named by them,
  and a rounding of our own would make other topics than Java's. They never shrink, so equal
  ones stand together, at the end.
- Whether a record is retried is decided when it fails: an attempt is left, and it is not
  longer on its way than `timeout_s`.

Source: Spring Kafka 4.1.1 `DestinationTopicPropertiesFactory`, `BackOffValuesGenerator`,
`DefaultDestinationTopicResolver`; Spring Framework 7 `ExponentialBackOff`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from ottla.core.spring_headers import MOST_ATTEMPTS
from ottla.errors import WiringError

_SHORTEST_S, _LONGEST_S = 0.001, 82_800.0  # 23 hours: see RetryTopics
_FEWEST_ATTEMPTS = 2
_MOST_ATTEMPTS = MOST_ATTEMPTS - 1  # a dead letter names the next one


@dataclass(frozen=True, slots=True)
class Stage:
    """One retry topic: the suffix of its name and of its consumer group, and how long it holds back."""

    suffix: str
    delay_ms: int


@dataclass(frozen=True, slots=True)
class RetryTopics:
    """Retry by way of topics: nothing waits for the record, and so its key loses its order.

    `attempts` counts handler calls, the first included. The waits between them are `first_s`,
    `factor` times longer each time, up to `max_s`. A record that fails when it has been on its
    way for more than `timeout_s`, counted from its own timestamp, gets no further attempt. Topics are
    named by their delay in milliseconds, or, with `suffix="index"`, by their number.

    No delay is above 23 hours. Readers, Spring Kafka's among them, take a due time more than a day
    ahead for an error and handle the record at once; an hour is left for clocks that differ.

    Raises:
        WiringError: a value outside its range.
    """

    attempts: int = 3
    first_s: float = 1.0
    factor: float = 1.0
    max_s: float = _LONGEST_S
    timeout_s: float | None = None
    suffix: Literal["delay", "index"] = "delay"
    stages: tuple[Stage, ...] = field(init=False, repr=False, compare=False)
    """Every retry topic once, in the order in which a record that goes on failing passes them."""

    def __post_init__(self) -> None:
        timeout_s = 1.0 if self.timeout_s is None else self.timeout_s
        problems = [
            problem
            for is_wrong, problem in (
                (
                    not _FEWEST_ATTEMPTS <= self.attempts <= _MOST_ATTEMPTS,
                    f"attempts={self.attempts} must lie in 2 to {_MOST_ATTEMPTS}",
                ),
                (
                    not _SHORTEST_S <= self.first_s <= _LONGEST_S,
                    f"first_s={self.first_s} must lie in 0.001 to 82800",
                ),
                (
                    not self.first_s <= self.max_s <= _LONGEST_S,
                    f"max_s={self.max_s} must lie in first_s to 82800",
                ),
                (not 1 <= self.factor < math.inf, f"factor={self.factor} must be at least 1"),
                (not 0 < timeout_s < math.inf, f"timeout_s={self.timeout_s} must be above 0"),
                (self.suffix not in {"delay", "index"}, f"suffix={self.suffix!r} must be 'delay' or 'index'"),
            )
            if is_wrong
        ]
        if problems:
            raise WiringError(f"RetryTopics: {'; '.join(problems)}")
        object.__setattr__(self, "stages", self._stages())

    @property
    def delays_ms(self) -> tuple[int, ...]:
        """The wait before each retry, the first retry's first."""
        last = self.stages[-1].delay_ms
        distinct = [stage.delay_ms for stage in self.stages]
        return (*distinct, *[last] * (self.attempts - 1 - len(distinct)))

    def stage_after(self, attempt: int) -> Stage | None:
        """Where the record waits after `attempt` failed (1 is the first), or None when it was the last."""
        if attempt >= self.attempts:
            return None
        return self.stages[min(attempt, len(self.stages)) - 1]

    def _stages(self) -> tuple[Stage, ...]:
        delays_ms = list(islice(self._distinct_delays_ms(), self.attempts - 1))
        if len(delays_ms) == 1:
            return (Stage("-retry", delays_ms[0]),)
        names = delays_ms if self.suffix == "delay" else range(len(delays_ms))
        return tuple(Stage(f"-retry-{name}", ms) for name, ms in zip(names, delays_ms, strict=True))

    def _distinct_delays_ms(self) -> Iterator[int]:
        delay_ms, most_ms = _whole_ms(self.first_s), _whole_ms(self.max_s)
        while True:
            yield delay_ms
            longer_ms = int(min(delay_ms * self.factor, most_ms))
            if longer_ms == delay_ms:
                return
            delay_ms = longer_ms


def next_retry(
    policy: RetryTopics, *, attempt: int, now_ms: int, first_seen_ms: int, after_s: float | None = None
) -> tuple[Stage, int] | None:
    """Where and until when (epoch ms) a record waits whose `attempt` failed at `now_ms`; None to give it up.

    `first_seen_ms` is the timestamp of the record on its first topic. `after_s`, what the handler
    asked for, moves the due time only, up to 23 hours ahead: the record waits on the stage of
    its attempt all the same, and holds up there what is behind it.
    """
    stage = policy.stage_after(attempt)
    if stage is None:
        return None
    if policy.timeout_s is not None and now_ms > first_seen_ms + _whole_ms(policy.timeout_s):
        return None
    delay_ms = stage.delay_ms if after_s is None else _whole_ms(min(max(after_s, 0.0), _LONGEST_S))
    return stage, now_ms + delay_ms


def _whole_ms(seconds: float) -> int:
    return round(seconds * 1000)
