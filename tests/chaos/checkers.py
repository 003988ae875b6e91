"""What the evidence of a run says: pure functions, one a promise. Having compared nothing is a finding too.

| | promise | broken when |
|---|---|---|
| C1 | nothing is lost | a record has neither effect nor letter, or an acknowledged one is not in its topic |
| C2 | no effect twice | one event has two rows |
| C3 | order per key | commits or calls came in another order than the records stand, or calls overlap |
| C4 | no phantom | something was sent by a transaction that did not commit |
| C5 | outbox | what was sent with a commit is not in its topic, or not in the order of the commits |
| C6 | dead letters | bytes or origin are wrong, an event has an effect as well, a sound record has a letter |
| C7 | redeliveries | never: they are counted |
| C8 | recovery | a partition did not go on in time after all was healed, or something did not end in time |
| C9 | money | it became more or less |
| C10 | not vacuous | too few faults, kinds, kills, windows, or compared things |

Lost, doubled and inverted of a run are the findings of C1, C2, and C3 with C5's order.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ottla.core.spring_headers import INT32, INT64, Family
from tests.chaos.evidence import Call, Done, Effect, Evidence, Stored

RECOVERY_S = 60.0


class Finding(NamedTuple):
    """What is wrong, and which checker says so. `kind` is lost, doubled, inverted, or another word."""

    checker: str
    kind: str
    what: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """Below which a run has shown too little."""

    kinds: int
    kills: int
    windows: int
    events: int
    keys: int = 20
    letters: int = 1
    faults: int = 1


NO_BOUNDS = Bounds(kinds=0, kills=0, windows=0, events=1, keys=1, letters=0, faults=0)
"""For runs that are judged by what is found, not by how much was tried."""


def lost(evidence: Evidence) -> Iterator[Finding]:
    """C1."""
    there = {record.place for reading in evidence.readings for record in reading.records}
    for place in evidence.acked:
        if place not in there:
            yield Finding("C1", "lost", f"{place} was acknowledged and is not in its topic")
    for reading in evidence.readings:
        listener = (reading.group, reading.topic)
        ended = _done(evidence, listener)
        ended |= {letter.event_id for letter in evidence.letters.get(listener, ())}
        for event, record in _first(reading.records).items():
            if event not in ended:
                yield Finding(
                    "C1", "lost", f"{reading.group}: {event} at {record.place} has no effect and no letter"
                )


def doubled(evidence: Evidence) -> Iterator[Finding]:
    """C2."""
    for (group, topic), effects in evidence.effects.items():
        for event, count in Counter(effect.event_id for effect in effects).items():
            if count > 1:
                yield Finding("C2", "doubled", f"{group}: {event} of {topic} took place {count} times")


def out_of_order(evidence: Evidence) -> Iterator[Finding]:
    """C3: the order of commits, and of calls within one assignment."""
    for reading in evidence.readings:
        first = _first(reading.records)
        by_key = defaultdict(list)
        for effect in evidence.effects.get((reading.group, reading.topic), ()):
            record = first.get(effect.event_id)
            if record is not None and record.key is not None:
                by_key[record.place.partition, record.key].append(record.place.offset)
        for (partition, key), offsets in by_key.items():
            for earlier, later in _inversions(offsets):
                where = f"{reading.group}: {key!r} of {reading.topic}-{partition}"
                text = f"{where}: {later} took place before {earlier}"
                yield Finding("C3", "inverted", text)
    lanes = defaultdict(list)
    for call in evidence.calls:
        if call.key is not None:
            lanes[call.process, call.group, call.topic, call.partition, call.epoch, call.key].append(call)
    for of_lane in lanes.values():
        yield from _of_a_lane(sorted(of_lane, key=lambda call: call.begins))


def _of_a_lane(calls: list[Call]) -> Iterator[Finding]:
    for call, following in itertools.pairwise(calls):
        where = f"{call.process}: {call.key} of {call.topic}-{call.partition}"
        if following.offset < call.offset:
            yield Finding("C3", "inverted", f"{where}: {following.offset} began after {call.offset}")
        if call.ends is None or following.begins < call.ends:
            yield Finding("C3", "inverted", f"{where}: {following.offset} began while {call.offset} went on")


def phantoms(evidence: Evidence) -> Iterator[Finding]:
    """C4."""
    for listener, tokens in evidence.sent.items():
        committed = _sending(evidence, listener)
        for token in dict.fromkeys(tokens):
            if token not in committed:
                text = f"{listener[0]}: {token} was sent by a transaction that did not commit"
                yield Finding("C4", "phantom", text)
    for reading in evidence.readings:
        known = {record.event_id for record in reading.records}
        for effect in evidence.effects.get((reading.group, reading.topic), ()):
            if effect.event_id not in known:
                yield Finding(
                    "C4", "phantom", f"{reading.group}: {effect.event_id} took place and was never sent"
                )


def unsent(evidence: Evidence) -> Iterator[Finding]:
    """C5."""
    for listener, tokens in evidence.sent.items():
        places = {token: place for place, token in reversed(list(enumerate(tokens)))}
        by_key = defaultdict(list)
        for token, effect in _sending(evidence, listener).items():
            if token not in places:
                yield Finding("C5", "lost", f"{listener[0]}: {token} is committed and was never sent")
            else:
                by_key[effect.sent_to].append(places[token])
        for key, order in by_key.items():
            for _ in _inversions(order):
                text = f"{listener[0]}: {key} was sent to in another order than was committed"
                yield Finding("C5", "inverted", text)


def bad_letters(evidence: Evidence) -> Iterator[Finding]:
    """C6."""
    for reading in evidence.readings:
        listener = (reading.group, reading.topic)
        at = {(record.place.partition, record.place.offset): record for record in reading.records}
        effects = {effect.event_id for effect in evidence.effects.get(listener, ())}
        for letter in evidence.letters.get(listener, ()):
            origin = _origin(letter)
            record = None if origin is None else at.get(origin)
            name = f"{reading.group}: the letter of {letter.event_id} at {letter.place}"
            if record is None:
                yield Finding("C6", "letter", f"{name} does not say where it comes from")
                continue
            if (letter.key, letter.value, letter.headers[: len(record.headers)]) != (
                record.key,
                record.value,
                record.headers,
            ):
                yield Finding("C6", "letter", f"{name} is not what stood at {record.place}")
            if record.event_id in effects:
                yield Finding("C6", "doubled", f"{name} has an effect as well")
            if record.event_id not in reading.letters_due:
                yield Finding("C6", "letter", f"{name} is one of a sound record")
        for event in sorted(reading.letters_due & effects):
            yield Finding("C6", "letter", f"{reading.group}: {event} had an effect and cannot have")


def late(evidence: Evidence) -> Iterator[Finding]:
    """C8."""
    for number, seconds in enumerate(evidence.recoveries):
        if seconds > RECOVERY_S:
            yield Finding(
                "C8", "late", f"window {number}: no progress on every partition within {RECOVERY_S:.0f} s"
            )
    for what in evidence.late:
        yield Finding("C8", "late", what)


def money(evidence: Evidence) -> Iterator[Finding]:
    """C9."""
    if evidence.money != evidence.money_at_first:
        yield Finding("C9", "money", f"there were {evidence.money_at_first} cents and are {evidence.money}")


def vacuous(evidence: Evidence, bounds: Bounds) -> Iterator[Finding]:
    """C10."""
    compared = {
        "kinds": (len(kinds(evidence)), bounds.kinds),
        "kills": (evidence.kills, bounds.kills),
        "quiet windows": (len(evidence.recoveries), bounds.windows),
        "events": (events(evidence), bounds.events),
        "faults that overlapped work": (len(overlapping(evidence)), bounds.faults),
    }
    for reading in evidence.readings:
        listener = (reading.group, reading.topic)
        keys = {record.key for record in reading.records}
        compared[f"keys of {reading.group}"] = (len(keys), bounds.keys)
        if reading.letters_due:
            compared[f"letters of {reading.group}, {reading.topic}"] = (
                len(evidence.letters.get(listener, ())),
                bounds.letters,
            )
    for listener, tokens in evidence.sent.items():
        compared[f"sent by {listener[0]}"] = (len(tokens), bounds.keys)
    for name, (found, least) in compared.items():
        if found < least:
            yield Finding("C10", "vacuous", f"{name}: {found}, and {least} are the least")


CHECKERS: tuple[Callable[[Evidence], Iterable[Finding]], ...] = (
    lost,
    doubled,
    out_of_order,
    phantoms,
    unsent,
    bad_letters,
    late,
    money,
)


def findings(evidence: Evidence, bounds: Bounds) -> list[Finding]:
    """Everything that is wrong."""
    found = [finding for check in CHECKERS for finding in check(evidence)]
    return found + list(vacuous(evidence, bounds))


# -- counting


def events(evidence: Evidence) -> int:
    """Records that were read, each by each of its listeners."""
    return sum(len(reading.records) for reading in evidence.readings)


def redelivered(evidence: Evidence) -> int:
    """C7: calls beyond the first of each attempt of a record."""
    calls = Counter((c.group, c.topic, c.partition, c.offset, c.attempt) for c in evidence.calls)
    return sum(count - 1 for count in calls.values())


def sent_again(evidence: Evidence) -> int:
    """Copies of what the outbox has sent."""
    return sum(len(tokens) - len(set(tokens)) for tokens in evidence.sent.values())


def overlapping(evidence: Evidence) -> list[Done]:
    """The faults that took effect while some handler was at work, or began to be within a second."""
    spans = sorted((call.begins, call.ends or call.begins) for call in evidence.calls)
    return [
        fault
        for fault in evidence.faults
        if fault.took_effect
        and any(begins <= fault.ends + 1 and ends >= fault.begins - 1 for begins, ends in spans)
    ]


def kinds(evidence: Evidence) -> set[str]:
    """Of those faults, and of the records that were made to trouble: poison, duplicates and the like."""
    return {fault.kind for fault in overlapping(evidence)} | {deed for deed, n in evidence.deeds.items() if n}


# -- what several checkers need


def _done(evidence: Evidence, listener: tuple[str, str]) -> set[str]:
    """The events that had their effect; without `tx` the handler has returned."""
    if listener in evidence.effects:
        return {effect.event_id for effect in evidence.effects[listener]}
    return {
        call.event_id
        for call in evidence.calls
        if (call.group, call.topic) == listener and call.outcome == "SUCCEEDED"
    }


def _sending(evidence: Evidence, table: tuple[str, str]) -> dict[str, Effect]:
    """The committed transactions of a listener by what they have sent."""
    return {effect.token: effect for effect in evidence.effects[table]}


def _first(records: Iterable[Stored]) -> dict[str, Stored]:
    """Of each event the record that stands first."""
    found: dict[str, Stored] = {}
    for record in records:
        found.setdefault(record.event_id, record)
    return found


def _inversions(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Neighbours of which the second is smaller, an equal one is no inversion: it is a second effect."""
    for earlier, later in itertools.pairwise(numbers):
        if later < earlier:
            yield later, earlier


def _origin(letter: Stored) -> tuple[int, int] | None:
    headers = dict(letter.headers)
    partition = INT32.decode(headers.get(Family.DEAD_LETTER.header("original-partition")) or b"")
    offset = INT64.decode(headers.get(Family.DEAD_LETTER.header("original-offset")) or b"")
    return None if partition is None or offset is None else (partition, offset)
