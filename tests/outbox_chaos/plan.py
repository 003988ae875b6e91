"""What writers do and when processes are killed: pure functions of the seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

WRITERS = 8
KEYS = 64
MOST_EVENTS = 7
"""Of one transaction."""
_ROLLED_BACK, _SLOW, _SLOW_AT_COMMIT = 0.05, 0.02, 0.02


@dataclass(frozen=True, slots=True)
class Planned:
    """One transaction: it sends an event of id `<id>-<place>` to each of `keys`, or none if it rolls back."""

    id: str
    keys: tuple[str, ...]
    is_rolled_back: bool = False
    pause_s: float = 0.0
    """In the middle of its sends, before any row of the outbox is written."""
    pause_at_commit_s: float = 0.0
    """While it commits: its rows and stripes are taken, and nobody sees them yet."""

    def event_ids(self) -> list[str]:
        return [f"{self.id}-{place}" for place in range(len(self.keys))]


def transactions(seed: int, writer: int, events: int) -> Iterator[Planned]:
    """What one writer does, until it has committed so many events."""
    chance = Random(f"{seed} {writer}")
    committed = number = 0
    while committed < events:
        draw = chance.random()
        planned = Planned(
            f"{writer}-{number}",
            tuple(f"key-{chance.randrange(KEYS)}" for _ in range(chance.randint(1, MOST_EVENTS))),
            is_rolled_back=draw < _ROLLED_BACK,
            pause_s=chance.uniform(0.05, 0.3) if chance.random() < _SLOW else 0.0,
            pause_at_commit_s=chance.uniform(0.02, 0.1) if chance.random() < _SLOW_AT_COMMIT else 0.0,
        )
        number += 1
        committed += 0 if planned.is_rolled_back else len(planned.keys)
        yield planned


def events_of(writer: int, events: int) -> int:
    """The share of one writer."""
    return events // WRITERS + (writer < events % WRITERS)


def thresholds(kills: int, events: int) -> list[int]:
    """After how many published events each kill is due: spread over the run, the last well before its end."""
    return [_threshold(number, kills, events) for number in range(kills)]


def may_write(written: int, killed: int, kills: int, events: int) -> bool:
    """Whether writers may go on: not when they are two kills ahead of those that have been.

    Relays are quicker than the kills among them, and would have nothing left to do at the last ones.
    """
    return killed >= kills or written < _threshold(killed + 2, kills, events)


def _threshold(number: int, kills: int, events: int) -> int:
    return events * (number + 1) // (kills + 4)
