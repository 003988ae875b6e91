from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottla.core.letters import Letter, told_by
from ottla.core.replay import Discard, Refused, Send, Skipped, Stamp, Target, Verdict, Way
from ottla.core.replay_ledger import Entry, State, decode_entry, fold
from ottla.errors import RecordTooLarge, SendFailed, SendTimedOut
from ottla.records import Headers, SendResult
from ottla.replay.sending import MOST_AT_ONCE, Replayer, discard_all

TO = Send(Target("orders-billing-replay", Way.REPLAY))
LEDGER = "dead-replays"
STAMP = Stamp("r-1", "ann", "then", 5)


class Wire:
    """What a cluster would have: every record in the order of its acknowledgement, some refused.

    A send takes `turns` of the event loop, else a number that follows from its value's length.
    """

    def __init__(
        self, refused: dict[bytes | None, type[SendFailed]] | None = None, *, turns: int = 0
    ) -> None:
        self.refused = refused or {}
        self.turns = turns
        self.records: dict[str, list[tuple[bytes | None, bytes | None]]] = defaultdict(list)
        self.headers: list[Headers] = []
        self.under_way = self.most_under_way = 0

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> SendResult:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        for _ in range(self.turns or len(value or b"") % 7):
            await asyncio.sleep(0)
        self.under_way -= 1
        if topic != LEDGER and value in self.refused:
            raise self.refused[value]("refused", topic=topic, key=key)
        self.records[topic].append((key, value))
        if topic != LEDGER:
            self.headers.append(headers)
        return SendResult(topic, 0, len(self.records[topic]), None)

    def sent(self) -> list[tuple[bytes | None, bytes | None]]:
        return self.records[TO.target.topic]

    def states(self) -> list[str]:
        return [decode_entry(value or b"").state.value for _, value in self.records[LEDGER]]  # type: ignore[union-attr]


def letter_of(offset: int, key: bytes | None, value: bytes | None = None) -> Letter:
    headers = Headers([("trace", b"1")])
    return Letter("dead", 0, offset, 7, key, value or b"%d" % offset, headers, told_by(headers))


async def judged(*verdicts: tuple[Letter, Verdict]) -> AsyncIterator[tuple[Letter, Verdict]]:
    for each in verdicts:
        yield each


def replayed(wire: Wire, *verdicts: tuple[Letter, Verdict], per_s: float | None = None) -> Replayer:
    async def run() -> Replayer:
        replayer = Replayer(wire, lambda: STAMP, per_s=per_s)
        await replayer.begin_all(judged(*verdicts))
        await replayer.drain()
        return replayer

    return asyncio.run(run())


KEYS = st.sampled_from([None, b"", b"a", b"b", b"c"])


@given(
    st.lists(st.tuples(KEYS, st.binary(min_size=1, max_size=7)), max_size=90),
    st.sets(st.integers(0, 89), max_size=4),
)
def test_a_key_keeps_its_order_and_stops_at_its_first_failure_and_no_other_does(
    contents: list[tuple[bytes | None, bytes]], refused: set[int]
) -> None:
    values = [b"%d:%b" % (offset, value) for offset, (_, value) in enumerate(contents)]
    letters = [letter_of(n, key, values[n]) for n, (key, _) in enumerate(contents)]
    wire = Wire({values[n]: RecordTooLarge for n in refused if n < len(values)})

    tally = replayed(wire, *((letter, TO) for letter in letters)).tally

    expected: dict[bytes | None, list[bytes]] = defaultdict(list)
    stopped = set()
    for n, letter in enumerate(letters):
        if n in refused and letter.key is not None:
            stopped.add(letter.key)
        elif n not in refused and letter.key not in stopped:
            expected[letter.key].append(values[n])
    for key, their_values in expected.items():
        found = [value or b"" for each, value in wire.sent() if each == key]
        assert (sorted(their_values) == sorted(found)) if key is None else (their_values == found)
    assert len(wire.sent()) == sum(map(len, expected.values())) == tally.done
    assert tally.failed == len(tally.errors) == len(letters) - tally.done
    states = [entry.state for entry in fold(wire.records[LEDGER]).values()]
    assert states.count(State.SENT) == tally.done
    assert wire.most_under_way <= MOST_AT_ONCE


def test_the_ledger_is_written_before_and_after_a_send_and_the_letter_tells_which_replay_it_is() -> None:
    wire = Wire()

    tally = replayed(wire, (letter_of(3, b"a"), TO)).tally

    assert (tally.done, tally.failed, tally.again) == (1, 0, 0)
    assert wire.states() == ["sending", "sent"]
    assert {key for key, _ in wire.records[LEDGER]} == {b"dead/0/3/7"}
    assert wire.headers[0].text("ottla-replay-id") == "r-1"


def test_what_was_interrupted_keeps_the_id_of_its_replay() -> None:
    wire = Wire()
    interrupted = Send(TO.target, "r-0", is_again=True)

    tally = replayed(wire, (letter_of(3, b"a"), interrupted), (letter_of(4, b"a"), TO)).tally

    assert [headers.text("ottla-replay-id") for headers in wire.headers] == ["r-0", "r-1"]
    assert (tally.done, tally.again) == (2, 1)


def test_what_is_skipped_refused_or_given_up_is_not_sent() -> None:
    wire = Wire()
    verdicts: list[Verdict] = [Skipped(State.SENT), Refused("no"), Discard()]

    replayed(wire, *((letter_of(n, b"a"), verdict) for n, verdict in enumerate(verdicts)))

    assert dict(wire.records) == {}


def test_what_an_operator_must_cure_stops_all_and_the_rest_is_as_it_was() -> None:
    wire = Wire({b"5": SendTimedOut})
    letters = [letter_of(n, b"a") for n in range(500)]

    replayer = replayed(wire, *((letter, TO) for letter in letters))

    assert isinstance(replayer.stopped, SendTimedOut)
    assert [value for _, value in wire.sent()] == [b"0", b"1", b"2", b"3", b"4"]
    assert (replayer.tally.done, replayer.tally.failed) == (5, 1)
    states = fold(wire.records[LEDGER])
    assert states[b"dead/0/5/7"].state is State.SENDING
    assert len(states) == 6


def test_one_key_waits_for_itself_and_many_keys_go_at_once() -> None:
    one, many = Wire(turns=100), Wire(turns=100)

    replayed(one, *((letter_of(n, b"a"), TO) for n in range(200)))
    replayed(many, *((letter_of(n, b"%d" % n), TO) for n in range(200)))

    assert one.most_under_way == 1
    assert many.most_under_way == MOST_AT_ONCE


def in_virtual_time(main: Callable[[], Coroutine[Any, Any, None]]) -> float:
    """Run `main` on a loop whose clock jumps to the next timer; the seconds that passed on it."""
    loop = asyncio.new_event_loop()
    now = 0.0
    loop.time = lambda: now  # type: ignore[method-assign]
    select = loop._selector.select  # type: ignore[attr-defined]

    def jump(timeout: float | None) -> Any:
        nonlocal now
        now += timeout or 0.0
        return select(0)

    loop._selector.select = jump  # type: ignore[attr-defined]
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    return now


def test_no_more_are_begun_in_a_second_than_is_asked() -> None:
    wire = Wire()

    async def run() -> None:
        replayer = Replayer(wire, lambda: STAMP, per_s=4)
        await replayer.begin_all(judged(*((letter_of(n, None), TO) for n in range(41))))
        await replayer.drain()

    assert in_virtual_time(run) == pytest.approx(10, abs=0.3)
    assert len(wire.sent()) == 41


def test_to_begin_can_be_cancelled_and_what_is_under_way_comes_to_its_end() -> None:
    wire = Wire()

    async def run() -> None:
        replayer = Replayer(wire, lambda: STAMP, per_s=1)
        begin = asyncio.ensure_future(
            replayer.begin_all(judged(*((letter_of(n, b"a"), TO) for n in range(9))))
        )
        await asyncio.sleep(2.5)
        begin.cancel()
        await asyncio.wait([begin])
        await replayer.drain()
        assert replayer.tally.done == 3

    in_virtual_time(run)

    assert [value for _, value in wire.sent()] == [b"0", b"1", b"2"]
    assert wire.states() == ["sending", "sent"] * 3


def test_what_nobody_foresaw_is_raised() -> None:
    class Broken(Wire):
        async def send(self, topic: str, **_: Any) -> SendResult:
            raise ZeroDivisionError(topic)

    with pytest.raises(ZeroDivisionError):
        replayed(Broken(), (letter_of(1, b"a"), TO))


def test_every_letter_that_is_given_up_is_noted() -> None:
    wire, entry = Wire(), Entry(State.DISCARDED, "ann", "then", why="a test")
    verdicts: Iterable[tuple[Letter, Verdict]] = (
        (letter_of(n, b"a"), Discard() if n % 2 else Skipped(State.SENT)) for n in range(300)
    )

    tally = asyncio.run(discard_all(wire, judged(*verdicts), lambda: entry))

    assert tally.done == 150
    assert set(fold(wire.records[LEDGER])) == {b"dead/0/%d/7" % n for n in range(1, 300, 2)}
    assert set(fold(wire.records[LEDGER]).values()) == {entry}
