"""What is left of a run when nothing goes on any more: read here, judged in `checkers`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

from confluent_kafka import Message

from ottla.core.identity import event_id
from ottla.records import Headers
from tests.chaos.history import read
from tests.chaos.workload import ACCOUNTS, BALANCE, is_letter
from tests.chaos.world import READS, World
from tests.support.apps import read_all

Pairs = tuple[tuple[str, bytes | None], ...]


class Place(NamedTuple):
    """Where a record stands."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it stands in its topic."""

    place: Place
    key: bytes | None
    value: bytes | None
    headers: Pairs
    event_id: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One listener: the records of its topic, and which of them must become letters."""

    group: str
    topic: str
    records: tuple[Stored, ...]
    letters_due: frozenset[str]
    """Event ids."""


@dataclass(frozen=True, slots=True)
class Effect:
    """A row, in the order of commits within its table."""

    event_id: str
    token: str = ""
    """What the same transaction has sent."""
    sent_to: str = ""
    """Its key."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a handler: `ends` is None where its process died in it."""

    process: str
    group: str
    topic: str
    partition: int
    offset: int
    epoch: int
    key: str | None
    attempt: int
    event_id: str
    begins: float
    ends: float | None
    outcome: str | None


@dataclass(frozen=True, slots=True)
class Done:
    """A fault, as it was carried out."""

    kind: str
    begins: float
    ends: float
    took_effect: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the checkers are given."""

    readings: tuple[Reading, ...]
    effects: dict[tuple[str, str], tuple[Effect, ...]]
    """By group and topic, in the order of commits; of listeners with `tx` only."""
    letters: dict[tuple[str, str], tuple[Stored, ...]]
    acked: tuple[Place, ...]
    """What producers were told is written."""
    sent: dict[tuple[str, str], tuple[str, ...]]
    """By group and topic of the sender, the tokens on the topic that it sends to, in order per partition."""
    money: int
    money_at_first: int
    calls: tuple[Call, ...]
    faults: tuple[Done, ...]
    deeds: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    killed_at: dict[str, int] = field(default_factory=dict)
    recoveries: tuple[float, ...] = ()
    late: tuple[str, ...] = ()
    """What took longer than its bound, in words."""


def stored(message: Message) -> Stored:
    """A record as the client read it."""
    topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
    headers = tuple(cast("list[tuple[str, bytes | None]]", message.headers() or []))
    timestamp_type, timestamp_ms = message.timestamp()
    identity = event_id(Headers(headers), topic, partition, offset, timestamp_ms if timestamp_type else None)
    return Stored(Place(topic, partition, offset), message.key(), message.value(), headers, identity)


def readings(world: World) -> tuple[Reading, ...]:
    """What each listener had to read."""
    found = []
    for role, topics in READS.items():
        for name in topics:
            records = tuple(map(stored, read_all(world.servers.kafka, world.topic(name))))
            due = frozenset(r.event_id for r in records if is_letter(role, name, r.value))
            found.append(Reading(role, name, records, due))
    return tuple(found)


def calls(paths: Iterable[Path], suffix: str) -> tuple[Call, ...]:
    """Every call in the histories of workers."""
    found = []
    for path in paths:
        open_calls: dict[tuple[Any, ...], dict[str, Any]] = {}
        ended: list[tuple[dict[str, Any], dict[str, Any] | None]] = []
        for line in read(path):
            if line["what"] not in {"begin", "end"}:
                continue
            at = (line["topic"], line["partition"], line["offset"], line["epoch"], line["attempt"])
            if line["what"] == "begin":
                open_calls[at] = line
            elif (begun := open_calls.pop(at, None)) is not None:
                ended.append((begun, line))
        ended += [(begun, None) for begun in open_calls.values()]
        found += [
            Call(
                path.stem,
                begun["group"].removesuffix(suffix),
                begun["topic"].removesuffix(suffix),
                begun["partition"],
                begun["offset"],
                begun["epoch"],
                begun["key"],
                begun["attempt"],
                begun["event_id"],
                begun["at"],
                None if end is None else end["at"],
                None if end is None else end["outcome"],
            )
            for begun, end in ended
        ]
    return tuple(found)


def effects(world: World, orders: Reading) -> dict[tuple[str, str], tuple[Effect, ...]]:
    """The rows of listeners with `tx`, in the order of their commits.

    A row of the shop tells the order, not the event; an order has one event.
    """
    event_of = {order: record.event_id for record in orders.records if (order := _field(record, "order_id"))}
    by_commit = "ORDER BY pg_xact_commit_timestamp(xmin), id"
    with world.sql() as sql:
        invoices = sql.execute(f"SELECT order_id FROM invoice {by_commit}").fetchall()
        entries = {
            entry: sql.execute(
                f"SELECT event_id, token, payee FROM ledger WHERE entry = %s {by_commit}", (entry,)
            ).fetchall()
            for entry in ("debit", "credit")
        }
    return {
        ("billing", "orders"): tuple(
            Effect(event_of.get(order, f"order {order}"), order, order) for (order,) in invoices
        ),
        ("bank", "transfers"): tuple(Effect(*row) for row in entries["debit"]),
        ("bank", "credits"): tuple(Effect(event) for event, _, _ in entries["credit"]),
    }


def letters(world: World) -> dict[tuple[str, str], tuple[Stored, ...]]:
    """What is in the dead-letter topics, and what was when they were deleted."""
    found: dict[tuple[str, str], tuple[Stored, ...]] = {}
    for topic, listener in world.dead_letter_topics().items():
        kept = [message for message in world.kept_letters if message.topic() == topic]
        found[listener] = tuple(map(stored, [*kept, *read_all(world.servers.kafka, topic)]))
    return found


def gather(world: World, recoveries: Iterable[float], late: Iterable[str]) -> Evidence:
    """All of it. Nothing may go on any more."""
    read_topics = readings(world)
    by_listener = {(reading.group, reading.topic): reading for reading in read_topics}
    invoices = map(stored, read_all(world.servers.kafka, world.topic("invoices")))
    credited = by_listener["bank", "credits"].records
    paths = sorted(world.folder.glob("*.jsonl"))
    conductor = list(read(world.folder / "conductor.jsonl"))
    return Evidence(
        readings=read_topics,
        effects=effects(world, by_listener["billing", "orders"]),
        letters=letters(world),
        acked=tuple(_acked(path for path in paths if path.stem.startswith("producers"))),
        sent={
            ("billing", "orders"): tuple(_field(record, "order_id") for record in invoices),
            ("bank", "transfers"): tuple(_field(record, "token") for record in credited),
        },
        money=world.count("SELECT sum(cents) FROM account"),
        money_at_first=len(ACCOUNTS) * BALANCE,
        calls=calls((path for path in paths if path.stem.startswith(tuple(READS))), world.suffix),
        faults=tuple(_faults(conductor)),
        deeds=_deeds(read_topics),
        kills=sum(line["what"] == "killed" for line in conductor),
        killed_at=Counter(line["where"] for line in conductor if line["what"] == "killed"),
        recoveries=tuple(recoveries),
        late=tuple(late),
    )


def _acked(paths: Iterable[Path]) -> Iterator[Place]:
    for path in paths:
        for line in read(path):
            if line["what"] == "acked":
                yield Place(line["topic"], line["partition"], line["offset"])


def _faults(conductor: list[dict[str, Any]]) -> Iterator[Done]:
    begun = {line["number"]: line["at"] for line in conductor if line["what"] == "fault"}
    for line in conductor:
        if line["what"] == "healed":
            yield Done(line["kind"], begun[line["number"]], line["at"], line["effect"] == "yes")


def _deeds(read_topics: Iterable[Reading]) -> dict[str, int]:
    """How many records there are of each troubling kind."""
    found: Counter[str] = Counter()
    for reading in read_topics:
        if reading.group == "notes":
            continue  # reads what billing reads
        seen = Counter(record.event_id for record in reading.records)
        found["duplicates"] += sum(count - 1 for count in seen.values())
        for record in reading.records:
            found["tombstones"] += record.value is None
            found["null keys"] += record.key is None
            found["poison"] += record.value is not None and not record.value.startswith(b"{")
            found["hanging handlers"] += _field(record, "deed") == "slow"
    return dict(found)


def _field(record: Stored, name: str) -> str:
    """Of a record's JSON; nothing where it has none."""
    if record.value is None or not record.value.startswith(b"{"):
        return ""
    return str(json.loads(record.value).get(name, ""))
