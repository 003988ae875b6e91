"""Which faults come when: a pure function of the seed and of how long the run is to be.

A run is a row of cycles, each a storm and then a quiet window. A storm is a row of slots of
a few seconds, in each of which a subset of the faults begins; sometimes none does.

Rules of this file:

- Nothing but the seed decides: no clock, no state of a run. A red run can be had again.
- Of one family one fault goes on at a time: with two of three brokers away nothing can be
  acknowledged, and what a freeze shows a kill at the same moment would hide.
- Kinds are dealt like cards, the whole deck before any comes again, so that every run of a
  few minutes has all of them. SIGKILLs come beside the deck, so many in each storm.
- Every fault is over when its storm is: a quiet window begins healed.
"""

from __future__ import annotations

import enum
import math
import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass

SLOT_S = 4.0
SLOTS = 6
STORM_S = SLOT_S * SLOTS
QUIET_S = 12.0
CYCLE_S = STORM_S + QUIET_S
KILLS_A_STORM = 4
NONE_OUT_OF = 6
"""One slot in so many begins no fault from the deck."""


class Family(enum.Enum):
    """What a fault is done to; of each family one fault at a time."""

    KILL = "a process dies"
    PROCESS = "a process stands still, or comes and goes"
    BROKER = "a broker, or what only works while all are there"
    NETWORK = "what lies between clients and brokers"
    DATABASE = "PostgreSQL, or what lies before it"


class Kind(enum.Enum):
    """The faults; N with a number is the nemesis of the literature's usual list."""

    KILL = ("kill", Family.KILL)  # SIGKILL at any moment
    KILL_AT = ("kill-at", Family.KILL)  # SIGKILL at a failpoint
    FREEZE = ("freeze", Family.PROCESS)  # SIGSTOP past the session time-out, then SIGCONT
    FREEZE_IN_TX = (
        "freeze-in-tx",
        Family.PROCESS,
    )  # the same with a transaction open, until it was taken over
    FREEZE_AT_COMMIT = ("freeze-at-commit", Family.PROCESS)  # the same, with nothing left to do but COMMIT
    RESTART = ("restart", Family.PROCESS)  # SIGTERM under load
    REBALANCES = ("rebalances", Family.PROCESS)  # members that join and leave every 0.5 to 3 s
    METADATA = ("metadata", Family.PROCESS)  # commits with metadata of somebody else, or with garbage
    BROKER_KILL = ("broker-kill", Family.BROKER)  # SIGKILL: leader, coordinator or controller
    BROKER_ROLL = ("broker-roll", Family.BROKER)  # SIGTERM and start
    BROKER_FREEZE = ("broker-freeze", Family.BROKER)  # SIGSTOP, SIGCONT
    LEADERS = ("leaders", Family.BROKER)  # every leader moved by the controller
    LETTERS_REFUSED = ("letters-refused", Family.BROKER)  # nobody may write to the dead-letter topics
    LETTERS_TOO_LARGE = ("letters-too-large", Family.BROKER)  # they take only the smallest records
    LETTERS_MISSING = ("letters-missing", Family.BROKER)  # one of them is deleted, and made anew
    LATENCY = ("latency", Family.NETWORK)
    CUT = ("cut", Family.NETWORK)  # one broker cannot be reached
    HALF_OPEN = ("half-open", Family.NETWORK)  # connections that nobody answers on
    DATABASE_RESTART = ("database-restart", Family.DATABASE)  # immediate: it recovers
    BACKENDS = ("backends", Family.DATABASE)  # connections ended by the server
    DATABASE_CUT = ("database-cut", Family.DATABASE)

    def __init__(self, label: str, family: Family) -> None:
        self.label = label
        self.family = family


class Protocol(enum.Enum):
    """How a group shares its partitions out."""

    EAGER = "eager"
    COOPERATIVE = "cooperative"
    KIP_848 = "kip-848"


ROLES = ("billing", "bank", "notes")
"""The services; each is a consumer group with members in several processes."""
WITH_TRANSACTIONS = ("billing", "bank")
FAILPOINTS = (
    "handling",  # the record is polled, its handler not begun
    "claimed",  # the inbox row is written
    "effected",  # the handler has returned, its transaction is open
    "stored",  # what it sends lies in the outbox, uncommitted
    "committed",  # the transaction is, the offset is not
    "buried",  # the dead letter is stored
    "sent",  # a dead letter or a record of the outbox is acknowledged
    "relay-read",  # it found rows, none of which is sent
    "relay-deleted",
    "committing",  # an offset commit is about to be sent
    "revoking",  # inside the client's callback
)
_ONLY_WITH_TRANSACTIONS = {
    "claimed",
    "effected",
    "stored",
    "committed",
    "buried",
    "relay-read",
    "relay-deleted",
}

FREEZES_AT = {Kind.FREEZE_IN_TX: "effected", Kind.FREEZE_AT_COMMIT: "stored"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `draw` in [0, 1) chooses among what there is when it begins: a partition, a broker."""

    number: int
    kind: Kind
    at_s: float
    lasts_s: float
    role: str
    index: int
    """Which process of the role, or which broker."""
    draw: float
    point: str = ""
    """For a kill or a freeze at a failpoint."""

    @property
    def ends_s(self) -> float:
        """When it is healed, by the clock of its storm."""
        return self.at_s + self.lasts_s


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run does to its servers and processes."""

    seed: int
    seconds: int
    protocols: dict[str, Protocol]
    storms: tuple[tuple[Fault, ...], ...]
    """Times are those of the storm, which ends at `STORM_S`."""

    @property
    def kills(self) -> int:
        """How many SIGKILLs of processes are drawn."""
        return sum(fault.kind.family is Family.KILL for storm in self.storms for fault in storm)


def plan(
    seed: int,
    seconds: int,
    *,
    kinds: frozenset[Kind] | None = None,
    points: Collection[str] = FAILPOINTS,
) -> Plan:
    """The faults of a run of about `seconds`; of `kinds` alone, where they are given; kills at `points`."""
    chance = random.Random(seed)
    protocols = list(Protocol)
    chance.shuffle(protocols)
    chosen = frozenset(Kind) if kinds is None else kinds
    deck = _deal(chance, sorted((k for k in chosen if k.family is not Family.KILL), key=lambda k: k.label))
    deadly = sorted((k for k in chosen if k.family is Family.KILL), key=lambda k: k.label)
    storms = []
    put_back: list[Kind] = []
    number = 0
    for _ in range(math.ceil(seconds / CYCLE_S)):
        storm = [*_kills(chance, deadly, points), *_others(chance, deck, put_back)]
        storm.sort(key=lambda fault: fault.at_s)
        storms.append(tuple(_numbered(storm, number)))
        number += len(storm)
    return Plan(seed, seconds, dict(zip(ROLES, protocols, strict=True)), tuple(storms))


def _numbered(storm: list[Fault], first: int) -> Iterator[Fault]:
    for number, fault in enumerate(storm, first):
        yield Fault(
            number, fault.kind, fault.at_s, fault.lasts_s, fault.role, fault.index, fault.draw, fault.point
        )


def _deal(chance: random.Random, kinds: list[Kind]) -> Iterator[Kind]:
    """All kinds in random order, again and again; nothing where there are none."""
    while kinds:
        deck = list(kinds)
        chance.shuffle(deck)
        yield from deck


def _kills(chance: random.Random, kinds: list[Kind], points: Collection[str]) -> Iterator[Fault]:
    """Spread over the storm, early enough that the next process is there when it ends."""
    if not kinds:
        return
    share = (STORM_S - SLOT_S) / KILLS_A_STORM
    within_reach = {role: _within_reach(role, points) for role in ROLES}
    roles = [role for role in ROLES if within_reach[role]]
    for turn in range(KILLS_A_STORM):
        kind = chance.choice(kinds)
        role = chance.choice(roles)
        yield Fault(
            0,
            kind,
            round(turn * share + chance.uniform(0.2, share - 0.2), 2),
            round(chance.uniform(0.2, 2.0), 2),
            role,
            chance.randrange(2),
            chance.random(),
            chance.choice(within_reach[role]) if kind is Kind.KILL_AT else "",
        )


def _within_reach(role: str, points: Collection[str]) -> list[str]:
    """The failpoints among `points` that processes of `role` come to."""
    return [
        point
        for point in FAILPOINTS
        if point in points and (role in WITH_TRANSACTIONS or point not in _ONLY_WITH_TRANSACTIONS)
    ]


def _others(chance: random.Random, deck: Iterator[Kind], waiting: list[Kind]) -> Iterator[Fault]:
    """From the deck: a random number a slot, those whose family is busy put back, for a later storm too."""
    busy: dict[Family, float] = {}
    for slot in range(SLOTS - 1):
        if chance.randrange(NONE_OUT_OF) == 0:
            continue
        begins = slot * SLOT_S
        for _ in range(chance.choice((1, 1, 2, 2, 3))):
            kind = _playable(deck, waiting, busy, begins)
            if kind is None:
                break
            fault = _other(chance, kind, begins)
            busy[kind.family] = fault.ends_s
            yield fault


def _playable(
    deck: Iterator[Kind], waiting: list[Kind], busy: dict[Family, float], begins: float
) -> Kind | None:
    """The first that may go on now of those put back, then of the deck."""
    for kind in waiting:
        if busy.get(kind.family, 0.0) <= begins:
            waiting.remove(kind)
            return kind
    for _ in range(len(Kind)):
        drawn = next(deck, None)
        if drawn is None or busy.get(drawn.family, 0.0) <= begins:
            return drawn
        if drawn not in waiting:
            waiting.append(drawn)
    return None


_LASTS_S = {
    Kind.FREEZE: (7.5, 9.5),
    Kind.FREEZE_IN_TX: (8.0, 10.0),
    Kind.FREEZE_AT_COMMIT: (8.0, 10.0),
    Kind.RESTART: (0.2, 2.0),
    Kind.METADATA: (1.0, 2.0),
    Kind.BROKER_ROLL: (0.5, 1.5),
    Kind.LEADERS: (0.5, 2.0),
    Kind.DATABASE_RESTART: (0.5, 2.5),
    Kind.BACKENDS: (0.2, 2.0),
}
_OTHERWISE_S = (3.0, 7.0)


def _other(chance: random.Random, kind: Kind, begins: float) -> Fault:
    shortest, longest = _LASTS_S.get(kind, _OTHERWISE_S)
    at = begins + chance.uniform(0, SLOT_S / 2)
    lasts = min(chance.uniform(shortest, longest), STORM_S - at)
    point = FREEZES_AT.get(kind, "")
    roles = WITH_TRANSACTIONS if point else ROLES
    role, index, draw = chance.choice(roles), chance.randrange(6), chance.random()
    return Fault(0, kind, round(at, 2), round(lasts, 2), role, index, draw, point)
