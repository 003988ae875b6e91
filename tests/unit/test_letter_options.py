"""What is written on the command line as a filter, and how a letter looks there."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import typer

from ottla.cli.letter_filters import Filters
from ottla.cli.letter_view import bounded, json_of, line_of, plain, text_of, time_of, whole
from ottla.core.letters import Letter, LetterFilter, told_by
from ottla.core.replay_ledger import Entry, State
from ottla.records import Headers

NOON_MS = 1_787_400_000_000  # 2026-08-22T12:00:00Z


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (Filters(), LetterFilter()),
        (Filters(since="2026-08-22T12:00:00Z"), LetterFilter(since_ms=NOON_MS)),
        (Filters(since="2026-08-22T14:00+02:00"), LetterFilter(since_ms=NOON_MS)),
        (Filters(until="2026-08-22 12:00"), LetterFilter(until_ms=NOON_MS)),
        (Filters(since="2026-08-22"), LetterFilter(since_ms=NOON_MS - 43_200_000)),
        (Filters(since="2026-08-22T12:00:00.007Z"), LetterFilter(since_ms=NOON_MS + 7)),
        (Filters(header=["a=b=c", "d="]), LetterFilter(headers=(("a", "b=c"), ("d", "")))),
        (Filters(reason="Exhausted"), LetterFilter(reason="Exhausted")),
        (Filters(from_offset=3, to_offset=3), LetterFilter(from_offset=3, to_offset=3)),
        (Filters(key=""), LetterFilter(key="")),
        (
            Filters(group="g", exception="E", partition=0),
            LetterFilter(group="g", exception="E", partition=0),
        ),
    ],
    ids=str,
)
def test_filters_are_read(written: Filters, read: LetterFilter) -> None:
    assert written.read() == read


@pytest.mark.parametrize(
    ("written", "option", "said"),
    [
        (Filters(since="soon"), "--since", "'soon' is no time; write ISO 8601, such as 2026-"),
        (Filters(until="12:00"), "--until", "'12:00' is no time"),
        (Filters(since="2026-08-22", until="2026-08-22"), "--until", "is not after --since '2026-08-22'"),
        (Filters(header=["tenant"]), "--header", "'tenant' is not NAME=VALUE; write for example"),
        (Filters(header=["=acme"]), "--header", "'=acme' is not NAME=VALUE"),
        (Filters(reason="tired"), "--reason", "is part of no reason; the reasons are: attempts exhausted; "),
        (Filters(reason=" "), "--reason", "the reasons are"),
        (Filters(group=""), "--group", "'' is empty and would match nothing"),
        (Filters(exception=""), "--exception", "'' is empty"),
        (Filters(from_offset=3, to_offset=2), "--to-offset", "2 is below --from-offset 3"),
    ],
    ids=str,
)
def test_what_is_no_filter_is_said_by_option_value_and_what_would_do(
    written: Filters, option: str, said: str
) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        written.read()

    assert caught.value.param_hint == option
    assert said in caught.value.message


HOSTILE = "\x1b[2J\n\r\x07\u202e"
LETTER = Letter("dead", 0, 7, NOON_MS, b"o-1", b"{}", Headers(), told_by(None))


def hostile() -> Letter:
    raw = HOSTILE.encode()
    names = ("original-topic", "original-consumer-group", "exception-fqcn", "exception-message")
    headers = Headers(
        [*((f"kafka_dlt-{name}", raw) for name in names), ("ottla-dead-letter-reason", raw), (HOSTILE, raw)]
    )
    return replace(
        LETTER, key=raw, value=b'{"a": "%b"}' % b"\\u001b[2J", headers=headers, told=told_by(headers)
    )


@pytest.mark.parametrize("raw", [False, True])
def test_nothing_that_a_terminal_obeys_is_shown(*, raw: bool) -> None:
    entry = Entry(State.DISCARDED, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)

    lines = [line_of(hostile(), entry), *whole(hostile(), entry, raw=raw)]

    assert [line for line in lines if not line.isprintable()] == []


def test_a_line_of_json_is_one_line_and_says_all() -> None:
    line = json_of(hostile(), Entry(State.SENT, "ann", "then", "r-1", "t"))

    assert "\n" not in line
    told = json.loads(line)
    assert (told["group"], told["key"], told["time"]) == (HOSTILE, HOSTILE, "2026-08-22T12:00:00.000Z")
    assert told["ledger"] == {
        "state": "sent",
        "by": "ann",
        "at": "then",
        "replay_id": "r-1",
        "target": "t",
        "because": None,
    }


@pytest.mark.parametrize(
    ("raw", "text"),
    [(None, "null"), (b"", '""'), (b"o-1", "o-1"), (b"\xff\x00", "0xff00"), ("ä\n".encode(), "ä\\n")],
)
def test_bytes_are_shown_as_text_or_as_digits(raw: bytes | None, text: str) -> None:
    assert text_of(raw) == text


@pytest.mark.parametrize(("text", "shown"), [("abc", "abc"), ("abcd", "abcd"), ("abcde", "abc…")])
def test_what_is_long_is_cut(text: str, shown: str) -> None:
    assert bounded(text, 4) == shown


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, None),
        (0, "1970-01-01T00:00:00.000Z"),
        (NOON_MS + 7, "2026-08-22T12:00:00.007Z"),
        (2**62, None),
        (-(2**62), None),
    ],
)
def test_a_time_is_told_where_a_calendar_has_it(ms: int | None, text: str | None) -> None:
    assert time_of(ms) == text


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (None, ["value  null"]),
        (b'{"a":[1]}', ["value  9 bytes, JSON", "{", '  "a": [', "    1", "  ]", "}"]),
        (b"plain", ["value  5 bytes, text", "plain"]),
        (b"a\tb\nc", ["value  5 bytes, text", "a\\tb", "c"]),
        (b"\xff", ["value  1 bytes, no text", "0xff"]),
        (b"[" * 100_000, ["value  100000 bytes, text", "[" * 100_000]),
    ],
)
def test_a_value_is_shown_as_what_it_is(value: bytes | None, lines: list[str]) -> None:
    shown = list(whole(replace(LETTER, value=value), None, raw=False))

    begin = shown.index(lines[0])
    assert shown[begin : begin + len(lines) + 1] == [*lines, ""]


def test_what_is_told_of_earlier_replays_is_shown() -> None:
    pairs = [("ottla-replay-id", b"r-%d"), ("ottla-replayed-by", b"ann-%d"), ("ottla-replayed-at", b"at-%d")]
    headers = Headers((name, value % n) for n in (1, 2) for name, value in pairs)

    shown = list(whole(replace(LETTER, headers=headers), None, raw=False))

    told = [" ".join(line.split()) for line in shown if line.startswith("  replayed")]
    assert told == [f"replayed at-{n} by ann-{n} as r-{n}, and failed again" for n in (1, 2)]


def test_plain_text_stays() -> None:
    assert plain("orders-billing: Größe ✓") == "orders-billing: Größe ✓"
