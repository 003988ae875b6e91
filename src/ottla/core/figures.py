"""What is measured of a running service: values, and the histogram that durations are kept in.

Rules of this file:

- One thread writes a number, and others read it at any time, without a lock: what they see
  is true of a moment, and two numbers may be a record apart.
- Names are those of listeners, and nothing tells of a single record: no key, no id, no offset.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of a histogram's buckets, each inclusive; beyond the last is one without a bound."""


class Distribution(NamedTuple):
    """How many durations fell into which bucket, and their sum."""

    counts: Sequence[int] = (0,) * (len(BOUNDS_S) + 1)
    sum_s: float = 0.0

    def cumulative(self) -> list[tuple[str, int]]:
        """Each bucket's bound and how many durations are at most that long, as Prometheus has it."""
        return list(zip([*map(str, BOUNDS_S), "+Inf"], accumulate(self.counts), strict=True))


NOTHING = Distribution()


class Histogram:
    """Counts durations by bucket. One thread observes, any may ask."""

    __slots__ = ("_counts", "_sum_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum_s += seconds

    def now(self) -> Distribution:
        """What was counted up to now."""
        return Distribution(tuple(self._counts), self._sum_s)


class WorkFigures(NamedTuple):
    """What one engine does now, and has done."""

    in_flight: int = 0
    backing_off: int = 0
    held_back: int = 0
    buffered: int = 0
    oldest_s: float = 0.0
    stopped_partitions: int = 0
    succeeded: int = 0
    duplicates: int = 0
    skipped: int = 0
    dead_lettered: int = 0
    forwarded: int = 0
    retried: int = 0
    conflicts: int = 0
    guard_trips: int = 0
    handler: Distribution = NOTHING


class SourceFigures(NamedTuple):
    """What one member of a group has done. A `lag` of None is not known."""

    lag: int | None = None
    pauses: int = 0
    rebalances: int = 0
    commits: Distribution = NOTHING


class ListenerFigures(NamedTuple):
    """Both, of one listener."""

    listener: str
    work: WorkFigures
    source: SourceFigures


class OutboxFigures(NamedTuple):
    """What this process relays."""

    shards: int
    """How many of the outbox's 16 it leads."""
    stopped_keys: int


class ServiceFigures(NamedTuple):
    """One process of a service. Without a database there is no outbox."""

    is_ready: bool
    listeners: Sequence[ListenerFigures] = ()
    outbox: OutboxFigures | None = None
