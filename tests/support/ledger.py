"""What handlers did, in the order in which they did it, and a gate that holds them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ottla import Record
from tests.support.apps import Sent

Entry = tuple[str, int]
"""A key and the number of its record: 0, 1, 2 … as they were produced."""


def numbered(keys: Iterable[str], numbers: Iterable[int]) -> Iterator[Sent]:
    """Records whose value is their number within their key: all keys' 0, then all keys' 1, and so on."""
    keys = list(keys)
    for number in numbers:
        for key in keys:
            yield key, str(number)


def entry(record: Record) -> Entry:
    """The key and number that `numbered` gave this record."""
    return (record.key or b"").decode(), int(record.value or b"-1")


def by_key(entries: Iterable[Entry]) -> dict[str, list[int]]:
    """The numbers of each key in the order of `entries`."""
    found: dict[str, list[int]] = defaultdict(list)
    for key, number in entries:
        found[key].append(number)
    return dict(found)


@dataclass
class Ledger:
    """Shared by the handlers of a scenario, whichever app they belong to; one event loop."""

    begun: list[Entry] = field(default_factory=list)
    ended: list[Entry] = field(default_factory=list)
    running: set[Entry] = field(default_factory=set)
    most_at_once: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, record: Record, *, held: bool = False) -> None:
        """Note the beginning, wait for the gate if `held`, note the end."""
        this = entry(record)
        self.begun.append(this)
        self.running.add(this)
        at_once = sum(key == this[0] for key, _ in self.running)
        self.most_at_once[this[0]] = max(self.most_at_once[this[0]], at_once)
        try:
            if held:
                await self.gate.wait()
            self.ended.append(this)
        finally:
            self.running.discard(this)
