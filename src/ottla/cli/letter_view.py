"""How a dead letter looks: in a line, as JSON, and whole.

Anybody can write a record: what it says is shown without characters that a terminal obeys.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from ottla.core.detours import REPLAY_ID_HEADER
from ottla.core.letters import HEX, Letter, decoded, short_class
from ottla.core.provenance import read_retry
from ottla.core.replay import REPLAYED_AT_HEADER, REPLAYED_BY_HEADER
from ottla.core.replay_ledger import Entry, State
from ottla.core.spring_headers import ATTEMPTS_HEADER
from ottla.records import Headers

_LONGEST_KEY = 40
_LONGEST_HEADER = 200
_NOTHING = "-"
_WIDTHS = (9, 8, 24, 24, 12, 20, 18, 12, 0)
HEADING = ("partition", "offset", "time", "origin", "group", "exception", "reason", "key", "replayed")


def row(cells: tuple[str, ...]) -> str:
    """A line of the table; a cell that is wider than its column moves the others."""
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()


def line_of(letter: Letter, entry: Entry | None) -> str:
    """The letter in a line of the table."""
    told = letter.told
    return row(
        (
            str(letter.partition),
            str(letter.offset),
            time_of(letter.timestamp_ms) or _NOTHING,
            plain(origin_of(letter) or _NOTHING),
            plain(told.group or _NOTHING),
            plain(short_class(told.cause or told.exception or _NOTHING)),
            plain(told.reason or _NOTHING),
            bounded(text_of(letter.key), _LONGEST_KEY),
            _NOTHING if entry is None else _state(entry),
        )
    )


def json_of(letter: Letter, entry: Entry | None) -> str:
    """The letter in a line of JSON; `key_hex` has the bytes of a key that is no text."""
    told = letter.told
    return json.dumps(
        {
            "topic": letter.topic,
            "partition": letter.partition,
            "offset": letter.offset,
            "time": time_of(letter.timestamp_ms),
            "origin": {
                "topic": told.topic,
                "partition": told.partition,
                "offset": told.offset,
                "time": time_of(told.timestamp_ms),
            },
            "group": told.group,
            "exception": told.exception,
            "cause": told.cause,
            "message": told.message,
            "reason": told.reason,
            **_json_key(letter.key),
            "ledger": None if entry is None else _json_entry(entry),
        },
        ensure_ascii=False,
    )


def whole(
    letter: Letter, entry: Entry | None, *, raw: bool, framed: tuple[str, str | None] | None = None
) -> Iterator[str]:
    """The letter in all its parts; `raw`: headers, key and value as hexadecimal digits.

    `framed` is what a value with a schema is, and the value as JSON where it could be read.
    """
    yield f"{letter}  {time_of(letter.timestamp_ms) or 'without a time'}"
    yield from (f"  {name:<10} {value}" for name, value in _story(letter, entry) if value)
    yield ""
    yield f"key    {_hex(letter.key) if raw else text_of(letter.key)}"
    yield from _value(letter.value, framed, raw=raw)
    yield ""
    yield from _headers(letter.headers, raw=raw)
    if letter.told.stack and not raw:
        yield ""
        yield "stack"
        yield from (f"  {plain(each)}" for each in letter.told.stack.splitlines())


def origin_of(letter: Letter) -> str | None:
    """Where it stood when it was given up, `topic-partition@offset`."""
    told = letter.told
    if told.topic is None:
        return None
    partition, offset = ("?" if each is None else each for each in (told.partition, told.offset))
    return f"{told.topic}-{partition}@{offset}"


def time_of(timestamp_ms: int | None) -> str | None:
    """In UTC, with milliseconds; None where there is none, or none that a calendar has."""
    if timestamp_ms is None:
        return None
    try:
        when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=timestamp_ms)
    except OverflowError:
        return None
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_of(raw: bytes | None) -> str:
    """Bytes as text, else as `0x…`."""
    if raw is None:
        return "null"
    try:
        return plain(raw.decode()) if raw else '""'
    except UnicodeDecodeError:
        return _hex(raw)


def plain(text: str) -> str:
    """`text` with what is not printable as its escape."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def bounded(text: str, most: int) -> str:
    """`text`, cut where it is longer than `most`."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _state(entry: Entry) -> str:
    words = {State.SENT: "replayed", State.SENDING: "interrupted", State.DISCARDED: "discarded"}
    return f"{words[entry.state]} {plain(entry.at)}"


def _json_key(key: bytes | None) -> dict[str, str | None]:
    try:
        return {"key": None if key is None else key.decode()}
    except UnicodeDecodeError:
        return {"key": None, "key_hex": (key or b"").hex()}


def _json_entry(entry: Entry) -> dict[str, str | None]:
    return {
        "state": entry.state.value,
        "by": entry.by,
        "at": entry.at,
        "replay_id": entry.replay_id,
        "target": entry.target,
        "because": entry.why,
    }


def _story(letter: Letter, entry: Entry | None) -> Iterator[tuple[str, str | None]]:
    told = letter.told
    origin = origin_of(letter)
    when = " ".join(filter(None, (time_of(told.timestamp_ms), told.timestamp_type)))
    yield "from", plain(f"{origin}  {when}") if origin else "no header tells"
    yield "group", plain(told.group or "no header tells")
    yield "reason", told.reason and plain(told.reason)
    yield "exception", told.exception and plain(told.exception)
    yield "cause", plain(told.cause) if told.cause and told.cause != told.exception else None
    yield "message", told.message and plain(told.message)
    yield "retries", _retries(letter.headers)
    for replay in _replays(letter.headers):
        yield "replayed", replay
    if entry is not None:
        yield "ledger", _ledger(entry)


def _retries(headers: Headers | None) -> str | None:
    if headers is None or headers.last(ATTEMPTS_HEADER) is None:
        return None
    state = read_retry(headers, now_ms=2**62)  # whatever is due: it is only shown
    seen, due = time_of(state.first_seen_ms), time_of(state.due_ms)
    return f"would have been attempt {state.attempt}, first seen {seen or _NOTHING}, due {due or _NOTHING}"


def _replays(headers: Headers | None) -> Iterator[str]:
    """What its headers tell of replays that it has behind it, the oldest first."""
    names = (REPLAY_ID_HEADER, REPLAYED_BY_HEADER, REPLAYED_AT_HEADER)
    if headers is not None:
        for replay_id, by, at in zip(*map(headers.all, names), strict=False):
            yield f"{text_of(at)} by {text_of(by)} as {text_of(replay_id)}, and failed again"


def _ledger(entry: Entry) -> str:
    parts = [f"{_state(entry)} by {plain(entry.by)}"]
    if entry.target is not None:
        parts.append(f"to {plain(entry.target)}")
    if entry.replay_id is not None:
        parts.append(f"as {plain(entry.replay_id)}")
    if entry.why is not None:
        parts.append(f"because {plain(entry.why)}")
    return ", ".join(parts)


def _headers(headers: Headers | None, *, raw: bool) -> Iterator[str]:
    if headers is None:
        yield "headers  (a name is not UTF-8: the client cannot read them)"
        return
    yield f"headers  {len(headers)}"
    width = max((len(plain(name)) for name, _ in headers), default=0)
    for name, value in headers:
        shown = _hex(value) if raw else bounded(_header_value(name, value), _LONGEST_HEADER)
        yield f"  {plain(name):<{width}}  {shown}"


def _header_value(name: str, value: bytes | None) -> str:
    if not value:
        return text_of(value)
    if name.endswith("stacktrace"):
        return f"{len(value)} bytes"  # the latest one stands at the end
    meaning = decoded(name, value)
    return _hex(value) if meaning is None else plain(str(meaning))


def _value(value: bytes | None, framed: tuple[str, str | None] | None, *, raw: bool) -> Iterator[str]:
    if value is None:
        yield "value  null"
        return
    if raw:
        yield f"value  {_hex(value)}"
        return
    if framed is not None:
        what, decoded_value = framed
        yield f"value  {len(value)} bytes, {plain(what)}"
        yield from [_hex(value)] if decoded_value is None else map(plain, decoded_value.split("\n"))
        return
    try:
        text = value.decode()
    except UnicodeDecodeError:
        yield f"value  {len(value)} bytes, no text"
        yield _hex(value)
        return
    try:
        pretty = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        yield f"value  {len(value)} bytes, text"
        yield from map(plain, text.split("\n"))
        return
    yield f"value  {len(value)} bytes, JSON"
    yield from map(plain, pretty.split("\n"))


def _hex(raw: bytes | None) -> str:
    return "null" if raw is None else f"{HEX}{raw.hex()}"
