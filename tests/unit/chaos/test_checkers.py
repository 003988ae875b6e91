"""Each checker is shown a history that keeps the promise and one that breaks it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ottla.core.spring_headers import INT32, INT64
from tests.chaos import checkers
from tests.chaos.checkers import NO_BOUNDS, Bounds, findings
from tests.chaos.evidence import Call, Done, Effect, Evidence, Place, Reading, Stored

BANK = ("bank", "transfers")
NOTES = ("notes", "orders")


def record(offset: int, event_id: str, *, topic: str = "transfers", key: bytes | None = b"anna") -> Stored:
    return Stored(Place(topic, 0, offset), key, b"{}", (("trace", b"1"),), event_id)


def letter_of(original: Stored, **changes: Any) -> Stored:
    told = (
        ("kafka_dlt-original-partition", INT32.encode(original.place.partition)),
        ("kafka_dlt-original-offset", INT64.encode(original.place.offset)),
    )
    letter = replace(original, place=Place("dlt", 0, 0), headers=(*original.headers, *told))
    return replace(letter, **changes)


def call(
    offset: int,
    begins: float,
    ends: float | None,
    *,
    process: str = "bank-0",
    epoch: int = 1,
    key: str = "anna",
) -> Call:
    return Call(
        process, "bank", "transfers", 0, offset, epoch, key, 1, f"e{offset}", begins, ends, "SUCCEEDED"
    )


ONE, TWO, POISON = record(0, "e0"), record(1, "e1"), record(2, "e2")
NOTE = record(0, "n0", topic="orders")
SOUND = Evidence(
    readings=(
        Reading(*BANK, (ONE, TWO, POISON), frozenset({"e2"})),
        Reading(*NOTES, (NOTE,), frozenset()),
    ),
    effects={BANK: (Effect("e0", "t0", "bert"), Effect("e1", "t1", "bert"))},
    letters={BANK: (letter_of(POISON),)},
    acked=(ONE.place, NOTE.place),
    sent={BANK: ("t0", "t1", "t0")},
    money=100,
    money_at_first=100,
    calls=(
        call(0, 1, 2),
        call(1, 2, 3),
        Call("notes-0", *NOTES, 0, 0, 1, "anna", 1, "n0", 1, 2, "SUCCEEDED"),
    ),
    faults=(Done("kill", 1, 2, took_effect=True),),
    deeds={"poison": 1},
    kills=1,
    recoveries=(3.0,),
)


def told(evidence: Evidence, bounds: Bounds = NO_BOUNDS) -> list[tuple[str, str]]:
    return [(finding.checker, finding.kind) for finding in findings(evidence, bounds)]


def test_a_sound_run_has_no_findings() -> None:
    assert told(SOUND) == []


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        pytest.param(
            {"effects": {BANK: SOUND.effects[BANK][:1]}, "sent": {BANK: ("t0",)}},
            ("C1", "lost"),
            id="no effect",
        ),
        pytest.param({"letters": {}}, ("C1", "lost"), id="no letter"),
        pytest.param({"acked": (Place("transfers", 0, 9),)}, ("C1", "lost"), id="not in its topic"),
        pytest.param({"calls": SOUND.calls[:2]}, ("C1", "lost"), id="never handled where there is no tx"),
        pytest.param(
            {"effects": {BANK: (*SOUND.effects[BANK], Effect("e1", "t1", "bert"))}},
            ("C2", "doubled"),
            id="two rows",
        ),
        pytest.param(
            {"effects": {BANK: SOUND.effects[BANK][::-1]}, "sent": {BANK: ("t1", "t0")}},
            ("C3", "inverted"),
            id="committed the other way round",
        ),
        pytest.param(
            {"calls": (*SOUND.calls, call(1, 9, 10), call(0, 11, 12))},
            ("C3", "inverted"),
            id="begun the other way round",
        ),
        pytest.param({"sent": {BANK: ("t0", "t1", "t9")}}, ("C4", "phantom"), id="sent and never committed"),
        pytest.param({"sent": {BANK: ("t0",)}}, ("C5", "lost"), id="committed and never sent"),
        pytest.param({"sent": {BANK: ("t1", "t0")}}, ("C5", "inverted"), id="sent the other way round"),
        pytest.param(
            {"letters": {BANK: (letter_of(POISON, value=b"{ }"),)}}, ("C6", "letter"), id="other bytes"
        ),
        pytest.param(
            {"letters": {BANK: (letter_of(POISON, headers=letter_of(POISON).headers[1:]),)}},
            ("C6", "letter"),
            id="a header less",
        ),
        pytest.param(
            {"letters": {BANK: (letter_of(POISON, headers=POISON.headers),)}},
            ("C6", "letter"),
            id="no origin",
        ),
        pytest.param(
            {"letters": {BANK: (letter_of(POISON), letter_of(ONE))}},
            ("C6", "doubled"),
            id="effect and letter",
        ),
        pytest.param(
            {"letters": {BANK: (letter_of(POISON),), NOTES: (letter_of(NOTE),)}},
            ("C6", "letter"),
            id="a sound record's letter",
        ),
        pytest.param({"recoveries": (61.0,)}, ("C8", "late"), id="recovered too late"),
        pytest.param({"late": ("stop took longer than 25 s",)}, ("C8", "late"), id="a bound was passed"),
        pytest.param({"money": 99}, ("C9", "money"), id="a cent is gone"),
    ],
)
def test_what_breaks_a_promise_is_found(change: dict[str, Any], finding: tuple[str, str]) -> None:
    assert finding in told(replace(SOUND, **change))


def test_calls_of_one_key_that_overlap_are_found() -> None:
    evidence = replace(SOUND, calls=(*SOUND.calls, call(5, 10, 12), call(6, 11, 13)))

    assert ("C3", "inverted") in told(evidence)


def test_calls_of_other_keys_epochs_and_processes_may_overlap() -> None:
    others = (
        call(5, 10, 12),
        call(6, 11, 13, key="bert"),
        call(6, 11, 13, epoch=2),
        call(6, 11, 13, process="bank-1"),
    )

    assert told(replace(SOUND, calls=(*SOUND.calls, *others))) == []


def test_a_record_without_a_key_has_no_order() -> None:
    first, second = record(0, "e0", key=None), record(1, "e1", key=None)
    reading = Reading(*BANK, (first, second, POISON), frozenset({"e2"}))
    evidence = replace(
        SOUND,
        readings=(reading, SOUND.readings[1]),
        effects={BANK: (Effect("e1", "t1", "bert"), Effect("e0", "t0", "carl"))},
    )

    assert told(evidence) == []


def test_an_event_that_was_sent_twice_counts_where_it_stands_first() -> None:
    again = replace(ONE, place=Place("transfers", 0, 7))
    reading = Reading(*BANK, (ONE, TWO, POISON, again), frozenset({"e2"}))

    assert told(replace(SOUND, readings=(reading, SOUND.readings[1]))) == []


@pytest.mark.parametrize(
    "bounds",
    [
        replace(NO_BOUNDS, kinds=3),
        replace(NO_BOUNDS, kills=2),
        replace(NO_BOUNDS, windows=2),
        replace(NO_BOUNDS, events=5),
        replace(NO_BOUNDS, keys=2),
        replace(NO_BOUNDS, letters=2),
        replace(NO_BOUNDS, faults=2),
    ],
)
def test_a_run_that_compared_too_little_is_vacuous(bounds: Bounds) -> None:
    assert ("C10", "vacuous") in told(SOUND, bounds)


def test_a_fault_that_took_no_effect_or_met_no_work_does_not_count() -> None:
    idle = Done("freeze", 100, 101, took_effect=True)
    without_effect = Done("cut", 1, 2, took_effect=False)

    evidence = replace(SOUND, faults=(*SOUND.faults, idle, without_effect))

    assert checkers.kinds(evidence) == {"kill", "poison"}


def test_redeliveries_are_calls_beyond_the_first_of_each_attempt() -> None:
    evidence = replace(SOUND, calls=(*SOUND.calls, call(1, 20, 21, process="bank-1")))

    assert checkers.redelivered(evidence) == 1
    assert checkers.sent_again(evidence) == 1
