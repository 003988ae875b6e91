"""Records of dead-letter topics, and which of them somebody means.

Rules of this file:

- A filter that is not given lets everything through; of several all must hold.
- What a record does not tell matches no filter that asks for it.
- Headers are asked as readers take them: the last value of a name counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from ottla.core.provenance import Provenance, read_provenance
from ottla.core.spring_headers import CODECS, Codec, Family
from ottla.records import Headers

HEX = "0x"
"""How bytes that are no text are written, and may be asked for."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A record of a dead-letter topic.

    `headers` is None where the client cannot read them, because a name in them is not
    UTF-8. `told` is what they tell of the latest failure, of which all may be None.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers | None
    told: Provenance

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}@{self.offset}"


def told_by(headers: Headers | None) -> Provenance:
    """What a dead letter's headers tell, which may be nothing."""
    return (read_provenance(headers) if headers else None) or Provenance(Family.DEAD_LETTER)


class Span(NamedTuple):
    """Offsets of one partition, the end excluded."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters are meant. Offsets include both ends, times only the first.

    `exception` is a class, whole or from any part of its name on, of exception or cause.
    `key` is text, or `0x…` for bytes. `reason` is a part of the text, in any case.
    """

    group: str | None = None
    exception: str | None = None
    key: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    partition: int | None = None
    from_offset: int | None = None
    to_offset: int | None = None
    reason: str | None = None

    def span(self, partition: int, low: int, high: int) -> Span:
        """What is to be read of a partition that has offsets from `low` to below `high`."""
        if self.partition not in {None, partition}:
            return Span(low, low)
        start = low if self.from_offset is None else max(low, self.from_offset)
        end = high if self.to_offset is None else min(high, self.to_offset + 1)
        return Span(start, max(start, end))

    def matches(self, letter: Letter) -> bool:
        """Whether `letter` is one of those that are meant."""
        told = letter.told
        return (
            self.partition in {None, letter.partition}
            and (self.from_offset is None or letter.offset >= self.from_offset)
            and (self.to_offset is None or letter.offset <= self.to_offset)
            and self._is_in_time(letter.timestamp_ms)
            and self.group in {None, told.group}
            and (self.exception is None or _is_class(self.exception, told.exception, told.cause))
            and (self.reason is None or self.reason.lower() in (told.reason or "").lower())
            and (self.key is None or _is_key(self.key, letter.key))
            and all(_has_header(letter.headers, name, value) for name, value in self.headers)
        )

    def _is_in_time(self, timestamp_ms: int | None) -> bool:
        if timestamp_ms is None:
            return self.since_ms is None and self.until_ms is None
        return (self.since_ms is None or timestamp_ms >= self.since_ms) and (
            self.until_ms is None or timestamp_ms < self.until_ms
        )


def decoded(name: str, raw: bytes) -> int | str | None:
    """What a header says whose bytes we know, or that is text; None for other bytes."""
    codec: Codec[Any] | None = CODECS.get(name)
    if codec is not None:
        value: int | str | None = codec.decode(raw)
        return value
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def short_class(name: str) -> str:
    """A class without its module or package: the last part of `java.lang.Error` or `a.Outer$Inner`."""
    return name.replace("$", ".").rpartition(".")[2] or name


def _is_class(wanted: str, *names: str | None) -> bool:
    return any(
        name is not None and (name == wanted or name.endswith((f".{wanted}", f"${wanted}"))) for name in names
    )


def _is_key(wanted: str, key: bytes | None) -> bool:
    if key is None:
        return False
    return key == wanted.encode() or f"{HEX}{key.hex()}" == wanted.lower()


def _has_header(headers: Headers | None, name: str, value: str) -> bool:
    raw = None if headers is None else headers.last(name)
    return raw is not None and (raw == value.encode() or str(decoded(name, raw)) == value)
