"""Random records of all that a client can send, each with a number in a header by which it is known again.

Not random are only the times until which a record shall wait: within the next day a retry topic
would do as it is told, and the run would take that long.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ottla.core.detours import REPLAY_ID_HEADER
from ottla.core.headers import HEADERS_LOST_HEADER, REASON_HEADER
from ottla.core.identity import EVENT_ID_HEADER
from ottla.core.provenance import DAY_MS
from ottla.core.spring_headers import CODECS, DUE_HEADER, GROUP_HEADER

NUMBER_HEADER = "fuzz-number"
DEEDS = (
    "pass",
    "pass",
    "pass",
    "flaky",
    "fail",
    "retry",
    "dead",
    "skip",
    "fatal",
    "exit",
    "cancel",
    "unspeakable",
    "group",
)
"""What an event tells its handler to do."""
SPRING = tuple(CODECS)
OTHERS = (REPLAY_ID_HEADER, REASON_HEADER, HEADERS_LOST_HEADER, "ce_id", "ce_source", "trace")
MOST_AHEAD_MS = 500

Pair = tuple[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Sent:
    """One record, and where it is written."""

    number: int
    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[Pair, ...]

    def is_foreign(self, group: str) -> bool:
        """Whether its last group header names another group, so that on a detour it is not ours."""
        named = [value for name, value in self.headers if name == GROUP_HEADER]
        if not named or named[-1] is None:
            return False
        try:
            return named[-1].decode() != group
        except UnicodeDecodeError:
            return False


class Records:
    """The records of one seed."""

    def __init__(self, seed: int, group: str, topics: dict[str, int]) -> None:
        self._chance = random.Random(seed)
        self._group = group
        self._topics = topics  # with their weights

    def take(self, count: int) -> Iterator[Sent]:
        """The first `count`."""
        names, weights = list(self._topics), list(self._topics.values())
        for number in range(count):
            (topic,) = self._chance.choices(names, weights)
            yield Sent(number, topic, self._key(), self._value(), tuple(self._headers(number)))

    def _one_of(self, *makers: Callable[[], bytes | None]) -> bytes | None:
        return self._chance.choice(makers)()

    def _bytes(self, most: int = 40) -> bytes:
        return self._chance.randbytes(self._chance.randrange(most))

    def _key(self) -> bytes | None:
        return self._one_of(lambda: None, lambda: b"", self._bytes, self._some_key, self._some_key)

    def _some_key(self) -> bytes:
        return b"key-%d" % self._chance.randrange(50)

    def _value(self) -> bytes | None:
        return self._one_of(lambda: None, self._bytes, self._almost_json, *(self._event for _ in range(12)))

    def _event(self) -> bytes:
        deed = self._chance.choice(DEEDS)
        after_s = self._chance.choice([None, -1e9, -1.0, 0.0, 0.01, 0.1])
        return json.dumps(
            {"deed": deed, "after_s": after_s, "note": "é\x00" * self._chance.randrange(3)}
        ).encode()

    def _almost_json(self) -> bytes:
        event = self._event()
        cut = self._chance.randrange(len(event))
        return self._chance.choice(
            [
                event[:cut],
                event[:cut] + b"\xff" + event[cut:],
                b"[" * 5_000,
                b'{"deed": 1e999}',
                b"NaN",
                event + b"}",
            ]
        )

    def _headers(self, number: int) -> list[Pair]:
        headers = [self._header() for _ in range(self._chance.choice([0, 0, 1, 3, 8, 20]))]
        headers.insert(self._chance.randrange(len(headers) + 1), (NUMBER_HEADER, b"%d" % number))
        if self._chance.random() < 0.1:
            headers.append((GROUP_HEADER, b"somebody-else"))
        if self._chance.random() < 0.2:
            headers.append((EVENT_ID_HEADER, self._event_id(number)))
        return headers

    def _event_id(self, number: int) -> bytes:
        """Each its own: what the inbox makes of two records with one id is not told apart here."""
        odd = self._chance.choice([b"", b"\x00", b"\xff", b"x" * 5_000, "😀".encode()])
        return b"%d-" % number + odd

    def _header(self) -> Pair:
        name = self._chance.choice([self._spring_name, self._other_name, self._odd_name])()
        if name == DUE_HEADER:
            return name, self._due()
        if name == GROUP_HEADER:
            ours, others = self._group.encode(), b"somebody-else"
            return name, self._chance.choice([ours, ours, others, b"", b"\xff\xfe", None])
        return name, self._one_of(lambda: None, lambda: b"", self._bytes, self._number, self._number)

    def _spring_name(self) -> str:
        return self._chance.choice(SPRING)

    def _other_name(self) -> str:
        return self._chance.choice(OTHERS)

    def _odd_name(self) -> str:
        letters = "aZ09_-. \t\n\"'{}é😀\x7f\u202e"
        return "".join(self._chance.choices(letters, k=self._chance.randrange(1, 12)))

    def _number(self) -> bytes:
        """Small, huge and negative ones, of lengths that fit and that do not."""
        length = self._chance.choice([1, 2, 3, 4, 4, 4, 6, 8, 8, 8, 9, 16, 100])
        number = self._chance.choice(
            [0, 1, -1, 2, 3, 127, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), self._chance.getrandbits(60)]
        )
        return (number % (1 << 8 * length)).to_bytes(length, "big")

    def _due(self) -> bytes | None:
        now_ms = time.time_ns() // 1_000_000
        due = self._one_of(self._bytes, self._number, lambda: (now_ms + self._ahead_ms()).to_bytes(6, "big"))
        if due is not None and 1 <= len(due) <= 8:
            due_ms = int.from_bytes(due, "big", signed=True)
            if now_ms + MOST_AHEAD_MS < due_ms < now_ms + 2 * DAY_MS:
                return b"\0"
        return due

    def _ahead_ms(self) -> int:
        return self._chance.randrange(-MOST_AHEAD_MS, MOST_AHEAD_MS)
