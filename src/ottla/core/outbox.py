"""What of the outbox may be sent now.

Rules of this file:

- A key's records (topic and key bytes) are sent one after the other, each after the
  acknowledgement of the one before: an idempotent producer keeps the order of a batch,
  but lets later records pass one that the broker refuses.
- A record without a key is ordered by nothing.
- A refused record stops its key until it is sent, or its row is gone. Neither it nor
  what waits behind it is kept in memory, or a few stopped keys would fill it and stop
  all: what is kept is where it stopped, and the row is read again when it is due.
- A topic with many stopped keys is not read at all: the topic itself is taken to be at fault.
- Writers lock the stripes of their keys before they insert, in ascending order, and hold
  them until their commit: so a key's ids ascend in the order of its commits, and whoever
  sees one sees all below it.
- A key lies in one shard, and a shard is led by one relay at a time. What was read of a
  shard that is given up is forgotten, but for what is out: until that is written and
  deleted, or refused, the shard is not let go. Where its keys stopped the next leader finds.
"""

from __future__ import annotations

import zlib
from collections import Counter, deque
from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

from ottla.core.backoff import exponential_s
from ottla.core.lanes import Lanes
from ottla.records import Headers

STRIPES = 1024
"""Belongs to the schema: all writers of one outbox must agree on it."""
SHARDS = 16
"""What several relays share an outbox by. Belongs to the schema too: an index has it.

A power of two below `STRIPES`: so it divides them, and a stripe lies in one shard, all
shards having as many. More than a service has processes as a rule, and few enough that a
relay that leads half of them reads that many ranges of the index at a time.
"""

Lane = tuple[str, bytes]
"""A topic and a key."""


class StoredRecord(NamedTuple):
    """A row of the outbox: what to send, as bytes."""

    id: int
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None
    """None leaves the choice to the key."""

    @property
    def lane(self) -> Lane | None:
        """What keeps its order with it; None without a key."""
        return None if self.key is None else (self.topic, self.key)

    @property
    def shard(self) -> int:
        """Whoever leads it sends the record."""
        return stripe_of(self.topic, self.key) % SHARDS

    @property
    def size(self) -> int:
        """Bytes of key and value."""
        return len(self.key or b"") + len(self.value or b"")


def stripe_of(topic: str, key: bytes | None) -> int:
    """The stripe of a key, the same in every process and version."""
    return zlib.crc32(key or b"", zlib.crc32(topic.encode() + b"\0")) % STRIPES


def stripes_to_lock(lanes: Iterable[Lane | None]) -> list[int]:
    """The stripes that a transaction locks for these records, ascending: in any order two could deadlock."""
    return sorted({stripe_of(*lane) for lane in lanes if lane is not None})


class Census(NamedTuple):
    """How many relays there are, and the shards that any of them holds; the one that asks is among them."""

    relays: int
    held: frozenset[int]


class Move(NamedTuple):
    """The shards that a relay should begin to lead, and those that it should give up."""

    take: list[int]
    leave: list[int]


def next_move(leads: Collection[int], others: AbstractSet[int], relays: int, first: int) -> Move:
    """What brings a relay that `leads` some shards to its share, where `others` are held by others.

    The share is rounded up, so all of them have room for all shards: once none has too
    many, none is left over. Each begins at a `first` of its own, and gives up what is
    farthest from it, so that those who look at once seldom want the same.
    """
    share = -(-SHARDS // max(1, relays))
    order = [(first + step) % SHARDS for step in range(SHARDS)]
    led = [shard for shard in order if shard in leads]
    free = [shard for shard in order if shard not in leads and shard not in others]
    return Move(take=free[: max(0, share - len(led))], leave=led[share:])


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """How much of the outbox is held in memory; bytes are those of keys and values.

    Refused records that are tried again take room, but are read also where `bytes` leave none.
    """

    records: int = 1_000
    bytes: int = 16 * 1024 * 1024
    stopped_per_topic: int = 100
    """With so many refused records nothing more of the topic is read."""
    retries_per_topic: int = 10
    """How many refused records of one topic are tried again at once."""
    first_s: float = 0.5
    max_s: float = 30.0
    """How long a refused record waits: from `first_s`, doubling, to `max_s`."""


class Wanted(NamedTuple):
    """What to read next: rows `again`, and the lowest ids of `shards` that are not excluded.

    `bytes` bounds the others together; where `takes_any` one that is larger comes alone.
    Excluded are the rows `but`, and those of a stopped key or topic.
    """

    records: int
    bytes: int
    takes_any: bool
    but: list[int]
    stopped_keys: list[Lane]
    stopped_topics: list[str]
    again: list[int]
    shards: list[int]


@dataclass(slots=True)
class _Stop:
    """Where a key stopped."""

    id: int
    topic: str
    lane: Lane | None
    shard: int
    failures: int = 0
    due_at: float = 0.0
    is_out: bool = False  # asked for, or being sent


class Backlog:
    """The records that one relay holds: hands out what may be sent, tells what can be deleted.

    It leads no shard until `lead`. `now` is in seconds of a clock that never goes back;
    `chance` in [0, 1) shortens a wait by up to a fifth.
    """

    def __init__(self, limits: RelayLimits) -> None:
        self._limits = limits
        self._held: dict[int, StoredRecord] = {}
        self._size = 0
        self._lanes: Lanes[StoredRecord] = Lanes()
        self._retries: deque[StoredRecord] = deque()
        self._sent: list[int] = []
        self._stops: dict[int, _Stop] = {}
        self._shards: set[int] = set()
        self._wanted = Wanted(
            0, 0, takes_any=False, but=[], stopped_keys=[], stopped_topics=[], again=[], shards=[]
        )

    @property
    def shards(self) -> AbstractSet[int]:
        """The shards that are read."""
        return self._shards

    def lead(self, shards: Iterable[int]) -> None:
        """Read these shards too. One that was given up, and is `unfinished`, goes on where it stood."""
        self._shards.update(shards)

    def leave(self, shards: Iterable[int]) -> None:
        """Read these shards no more, and forget what is not out of them. Not between `wanted` and `read`."""
        left = set(shards)
        self._shards -= left
        if not left:
            return
        queued = self._lanes.drop(lambda record: record.shard in left, lambda record: record.lane)
        queued += [record for record in self._retries if record.shard in left]
        self._retries = deque(record for record in self._retries if record.shard not in left)
        self._forget([record.id for record in queued])
        self._stops = {
            each: stop for each, stop in self._stops.items() if each in self._held or stop.shard not in left
        }

    def unfinished(self) -> set[int]:
        """The shards of what is held: out, or written and not deleted, or to be sent."""
        return {record.shard for record in self._held.values()}

    def wanted(self, now: float) -> Wanted:
        """What there is room for. A record larger than all the room is read when it is alone."""
        counts = Counter(stop.topic for stop in self._stops.values())
        keyless = [
            stop.id for stop in self._stops.values() if stop.lane is None and stop.id not in self._held
        ]
        again = self._due(now)
        self._wanted = Wanted(
            records=max(0, self._limits.records - len(self._held) - len(again)),
            bytes=max(0, self._limits.bytes - self._size),
            takes_any=all(each in self._stops for each in self._held),
            but=[*self._held, *keyless],
            stopped_keys=[stop.lane for stop in self._stops.values() if stop.lane is not None],
            stopped_topics=[t for t, count in counts.items() if count >= self._limits.stopped_per_topic],
            again=again,
            shards=sorted(self._shards),
        )
        return self._wanted

    def _due(self, now: float) -> list[int]:
        """The refused records whose turn it is, oldest first, so many of each topic as may be out at once."""
        out = Counter(stop.topic for stop in self._stops.values() if stop.is_out)
        due: list[int] = []
        for stop in sorted(self._stops.values(), key=lambda stop: stop.due_at):
            if stop.due_at > now or len(due) >= self._limits.records - len(self._held):
                break
            if not stop.is_out and out[stop.topic] < self._limits.retries_per_topic:
                out[stop.topic] += 1
                due.append(stop.id)
        return due

    def read(self, records: Iterable[StoredRecord]) -> None:
        """Take up what was read for the last `wanted`; the lowest ids of a key come first."""
        gone = set(self._wanted.again)
        stopped = {stop.lane for stop in self._stops.values() if stop.lane is not None}
        for record in records:
            if record.lane in stopped and record.id not in gone:
                continue  # its key has stopped since it was asked for: it would pass the refused one
            self._held[record.id] = record
            self._size += record.size
            if record.id in gone:
                gone.discard(record.id)
                self._stops[record.id].is_out = True
                self._retries.append(record)
            else:
                self._lanes.offer(record.lane, record)
        for each in gone:  # somebody has deleted the row: its key goes on
            del self._stops[each]
        self._wanted = self._wanted._replace(again=[])

    def take(self) -> StoredRecord | None:
        """The next record to send, or None."""
        return self._retries.popleft() if self._retries else self._lanes.take()

    def failures(self, record: StoredRecord) -> int:
        """How often `record` was refused."""
        stop = self._stops.get(record.id)
        return 0 if stop is None else stop.failures

    def refused(self, record: StoredRecord, now: float, chance: float) -> None:
        """`record` could not be sent: its key stops. It and what waits behind it are read again later."""
        stop = self._stops.get(record.id)
        if stop is None:
            stop = self._stops[record.id] = _Stop(record.id, record.topic, record.lane, record.shard)
            if record.lane is not None:
                behind = self._lanes.drop(lambda other: other.lane == record.lane, lambda other: other.lane)
                self._forget([other.id for other in behind])
                self._lanes.finish(record.lane)
        stop.is_out = False
        stop.failures += 1
        wait_s = exponential_s(
            stop.failures, first_s=self._limits.first_s, factor=2, max_s=self._limits.max_s
        )
        stop.due_at = now + wait_s * (1 - chance / 5)
        self._forget([record.id])
        if record.shard not in self._shards:  # it was out when its shard was given up
            del self._stops[record.id]

    def acknowledged(self, record: StoredRecord) -> None:
        """`record` is written: its row can go, and the next of its key may be sent.

        If it was refused before, what cured it may have cured the others of its topic:
        they are due at once.
        """
        self._sent.append(record.id)
        if self._stops.pop(record.id, None) is None:
            self._lanes.finish(record.lane)
            return
        for stop in self._stops.values():
            if stop.topic == record.topic:
                stop.due_at = 0.0

    def stopped(self) -> list[int]:
        """The rows of refused records, each of which stops its key."""
        return list(self._stops)

    def deletable(self) -> list[int]:
        """The rows of what is written and not deleted yet; they count as held until `deleted`."""
        return list(self._sent)

    def deleted(self, ids: Iterable[int]) -> None:
        """These rows are gone."""
        gone = set(ids)
        self._sent = [sent for sent in self._sent if sent not in gone]
        self._forget(gone)

    def _forget(self, ids: Iterable[int]) -> None:
        for each in ids:
            self._size -= self._held.pop(each).size
