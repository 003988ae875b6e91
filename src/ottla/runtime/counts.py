"""How the records of a process ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """How often what happened to records, since the process began.

    Every delivery that ended here stands in one of the first four; one that went on to a retry
    topic has not. A record that is redelivered counts again, in whichever process it ends then.
    """

    succeeded: int = 0
    duplicates: int = 0
    """Not handled, because the inbox had the event's effect, or its dead letter."""
    skipped: int = 0
    dead_lettered: int = 0
    retried: int = 0
    """Failed attempts that were followed by another."""


def total(counts: Iterable[Counts]) -> Counts:
    """The sums."""
    return Counts(*(sum(column) for column in zip(astuple(Counts()), *map(astuple, counts), strict=True)))
