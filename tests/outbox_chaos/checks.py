"""What is wrong with what was published: pure functions of the ledger, the topic, and a reader's effects."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Committed(NamedTuple):
    """An event of a transaction that was committed at `commit_us`; `place` counts the sends in it."""

    event_id: str
    key: str
    commit_us: int
    place: int


class Published(NamedTuple):
    """A record of the topic."""

    event_id: str
    key: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the two compare. `after_inbox` counts what a reader with an inbox did twice or not at all."""

    committed: int
    published: int
    missing: list[str]
    phantom: list[str]
    inverted: list[tuple[str, str]]
    duplicates: int
    after_inbox: int

    @property
    def is_sound(self) -> bool:
        return not (self.missing or self.phantom or self.inverted or self.after_inbox)


def compare(
    committed: Sequence[Committed], published: Sequence[Published], effects: Iterable[str]
) -> Verdict:
    """`published` stands per key in the order of the topic."""
    by_id = {event.event_id: event for event in committed}
    first = {record.event_id: record for record in reversed(published)}
    times = Counter(effects)
    return Verdict(
        committed=len(by_id),
        published=len(first),
        missing=sorted(by_id.keys() - first.keys()),
        phantom=sorted(first.keys() - by_id.keys()),
        inverted=_inverted(by_id, published),
        duplicates=len(published) - len(first),
        after_inbox=sum(abs(times[event_id] - 1) for event_id in by_id)
        + sum(count for event_id, count in times.items() if event_id not in by_id),
    )


def _inverted(by_id: dict[str, Committed], published: Sequence[Published]) -> list[tuple[str, str]]:
    """Pairs of events of one key whose first records stand against the order of their commits."""
    seen: set[str] = set()
    latest: dict[str, Committed] = {}
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for record in published:
        event = by_id.get(record.event_id)
        if event is None or record.event_id in seen:
            continue
        seen.add(record.event_id)
        before = latest.get(record.key)
        if before is not None and (event.commit_us, event.place) < (before.commit_us, before.place):
            found[record.key].append((before.event_id, event.event_id))
        else:
            latest[record.key] = event
    return [pair for pairs in found.values() for pair in pairs]
