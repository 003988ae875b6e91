"""Sends dead letters to be handled again, and notes before and after each what has become of it.

Rules of this file:

- Letters of a key that go to one topic are sent in the order in which they are handed over, the
  next one when the one before is acknowledged and noted. A letter that fails stops its key.
- What is noted as `sending` may have arrived. It is noted first, and acknowledged, so whoever
  dies at any line leaves a ledger by which nothing is left out.
- What an operator must cure stops everything: each further letter would fail the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import dataclass, field, replace

from ottla.core.letters import Letter
from ottla.core.replay import Discard, Send, Stamp, Verdict, replay_headers
from ottla.core.replay_ledger import Entry, State
from ottla.errors import OttlaError, SendFailed, Unavailable
from ottla.ports import RecordProducer
from ottla.replay.ledgers import write_entry

MOST_AT_ONCE = 64

Verdicts = AsyncIterator[tuple[Letter, Verdict]]


@dataclass(slots=True)
class Tally:
    """How many letters came to which end, and why some have failed."""

    done: int = 0
    again: int = 0
    failed: int = 0
    errors: list[str] = field(default_factory=list)


class Replayer:
    """Sends what is to be sent. `stopped` is what must be cured before it can go on.

    `new_stamp` is called once a letter. `per_s` bounds how many are begun in a second.
    """

    def __init__(
        self, producer: RecordProducer, new_stamp: Callable[[], Stamp], *, per_s: float | None = None
    ) -> None:
        self._producer = producer
        self._new_stamp = new_stamp
        self._pause_s = 0.0 if per_s is None else 1 / per_s
        self._next_at = 0.0
        self._room = asyncio.Semaphore(MOST_AT_ONCE)
        self._last: dict[Hashable, asyncio.Task[None]] = {}
        self._failed_lanes: set[Hashable] = set()
        self._under_way: set[asyncio.Task[None]] = set()
        self.tally = Tally()
        self.stopped: OttlaError | None = None

    async def begin_all(self, verdicts: Verdicts) -> None:
        """Begin with each letter as soon as there is time and room for it.

        May be cancelled: then no further one is begun, and what is under way goes on.
        """
        async for letter, verdict in verdicts:
            if not isinstance(verdict, Send):
                continue
            await self._pace()
            await self._room.acquire()
            if self.stopped is not None:
                return
            self._begin(letter, verdict)

    async def drain(self) -> None:
        """Return when all that was begun has come to its end; raises what nobody foresaw."""
        await asyncio.gather(*self._under_way)

    async def _pace(self) -> None:
        now = asyncio.get_running_loop().time()
        begin_at = max(now, self._next_at)
        self._next_at = begin_at + self._pause_s
        await asyncio.sleep(begin_at - now)

    def _begin(self, letter: Letter, send: Send) -> None:
        lane = None if letter.key is None else (send.target.topic, letter.key)
        before = None if lane is None else self._last.get(lane)
        task = asyncio.create_task(self._in_turn(letter, send, lane, before))
        self._under_way.add(task)
        if lane is not None:
            self._last[lane] = task
        task.add_done_callback(lambda ended: self._ended(lane, ended))

    def _ended(self, lane: Hashable, task: asyncio.Task[None]) -> None:
        self._room.release()
        if lane is not None and self._last.get(lane) is task:
            del self._last[lane]
        if not task.cancelled() and task.exception() is None:
            self._under_way.discard(task)  # else `drain` raises it

    async def _in_turn(
        self, letter: Letter, send: Send, lane: Hashable, before: asyncio.Task[None] | None
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
        if self.stopped is not None:
            return  # neither sent nor failed: the next run finds it as it was
        if lane in self._failed_lanes:
            self._fail(lane, f"{letter}: not sent, because an earlier one of its key has failed")
            return
        try:
            await self._send(letter, send)
        except Unavailable as error:
            self.stopped = error
            self._fail(lane, f"{letter}: {error}")
        except SendFailed as error:
            self._fail(lane, f"{letter}: {error}")
        else:
            self.tally.done += 1
            self.tally.again += send.is_again

    async def _send(self, letter: Letter, send: Send) -> None:
        stamp = self._new_stamp()
        if send.replay_id is not None:
            stamp = replace(stamp, replay_id=send.replay_id)
        topic = send.target.topic
        entry = Entry(State.SENDING, stamp.by, stamp.at, stamp.replay_id, topic)
        await write_entry(self._producer, letter, entry)
        await self._producer.send(
            topic, key=letter.key, value=letter.value, headers=replay_headers(letter, send.target, stamp)
        )
        await write_entry(self._producer, letter, replace(entry, state=State.SENT))

    def _fail(self, lane: Hashable, text: str) -> None:
        self.tally.failed += 1
        self.tally.errors.append(text)
        if lane is not None:
            self._failed_lanes.add(lane)


async def discard_all(producer: RecordProducer, verdicts: Verdicts, new_entry: Callable[[], Entry]) -> Tally:
    """Note what is to be discarded; raises the first failure, by which nothing is lost."""
    tally = Tally()

    async def note(letters: list[Letter]) -> None:
        await asyncio.gather(*(write_entry(producer, letter, new_entry()) for letter in letters))
        tally.done += len(letters)
        letters.clear()

    batch: list[Letter] = []
    async for letter, verdict in verdicts:
        if isinstance(verdict, Discard):
            batch.append(letter)
        if len(batch) == MOST_AT_ONCE:
            await note(batch)
    await note(batch)
    return tally
