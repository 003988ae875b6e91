"""Sends what transactions have stored in the outbox, in order per key, and deletes it once acknowledged.

The processes of a database share its outbox by shards: each shard has one leader, who
holds its lock. The order is the promise: send, await the acknowledgement, delete the row.
A process that dies, or loses its locks, in between leaves rows that the next leader sends
again, under the same event id; that second copy may come behind later records of its key.
A shard that is handed over to another process is empty of such rows.

A record that is refused holds up its key alone. It is tried again without end, and said.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable

from ottla.core.figures import OutboxFigures
from ottla.core.outbox import SHARDS, Backlog, RelayLimits, StoredRecord, next_move
from ottla.errors import ProducerClosed, SendFailed, Unavailable
from ottla.ports import Outbox, OutboxSession, RecordProducer
from ottla.records import EncodedRecord
from ottla.runtime.lifecycle import Health, supervise
from ottla.runtime.publishing import publish

_log = logging.getLogger("ottla.outbox")

_LOOK_S = 0.1
"""How often an idle outbox is looked at; what tasks of our own process store does not wait for it."""
_SHARE_S = 0.5
"""How often a relay looks for its share of the shards: a take-over takes that long."""
_AGAIN_S = 1.0
_MOST_SAID = 10
"""So many refused records are said each; the rest only counted, since a missing topic refuses thousands."""


class Relay:
    """The relay of one process. `start` it on the event loop, `stop` it before the producer is closed."""

    def __init__(
        self,
        name: str,
        outbox: Outbox,
        producer: RecordProducer,
        *,
        health: Health,
        on_crash: Callable[[BaseException], None],
        limits: RelayLimits | None = None,
    ) -> None:
        self._name = name
        self._outbox = outbox
        self._producer = producer
        self._health = health
        self._on_crash = on_crash
        self._limits = limits or RelayLimits()
        self._wake = asyncio.Event()
        self._is_stopping = False
        self._sends: set[asyncio.Task[None]] = set()
        self._reasons: dict[int, str] = {}
        self._task: asyncio.Task[None] | None = None
        self._first = random.randrange(SHARDS)  # noqa: S311  (no secret)
        self._locked: set[int] = set()
        self._share_at = 0.0

    def start(self) -> None:
        """Take a share of the outbox, and relay it."""
        self._task = supervise(self._run(), name=self._name, on_crash=self._on_crash)

    async def stop(self, bound_s: float) -> None:
        """Read nothing more, wait at most `bound_s` for what is out, and let others lead."""
        task, self._task = self._task, None
        if task is None:
            return
        self._is_stopping = True
        self._wake.set()
        if self._locked:
            await asyncio.wait((task,), timeout=bound_s)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def nudge(self) -> None:
        """Something was stored: look at once."""
        self._wake.set()

    def stopped(self) -> list[str]:
        """Which records could not be sent and hold up their keys, of the shards that this process leads."""
        return [f"outbox record {number}: {reason}" for number, reason in self._reasons.items()]

    def figures(self) -> OutboxFigures:
        """How many shards this process leads, and keys that it could not go on with. Threads may ask."""
        return OutboxFigures(len(self._locked), len(self._reasons))

    async def _run(self) -> None:
        while not self._is_stopping:
            try:
                async with self._outbox.relaying(self._database_answers) as session:
                    await self._relay(session)
            except Unavailable as error:
                # The database, never the broker: what is stored waits for that one, and all goes on.
                self._health.unready(self._name, f"nothing is relayed until this is cured: {error}")
                await asyncio.sleep(_AGAIN_S)

    def _database_answers(self) -> None:
        self._health.ready(self._name)

    async def _relay(self, session: OutboxSession) -> None:
        backlog = Backlog(self._limits)
        self._share_at = time.monotonic()
        try:
            while not self._is_stopping:
                await self._turn(session, backlog)
            await self._finish(session, backlog)
        finally:
            self._locked.clear()
            self._reasons.clear()
            for send in self._sends:
                send.cancel()  # may still be written: the next leader sends it again
            await asyncio.gather(*self._sends, return_exceptions=True)

    async def _turn(self, session: OutboxSession, backlog: Backlog) -> None:
        """Read, send, delete what was acknowledged; wait for something to do."""
        self._wake.clear()
        if time.monotonic() >= self._share_at:
            self._share_at = time.monotonic() + _SHARE_S
            await self._take_share(session, backlog)
        found = await session.read(backlog.wanted(time.monotonic())) if backlog.shards else ()
        backlog.read(found)
        if self._reasons:  # a row that somebody has deleted is refused no more
            self._reasons = {each: self._reasons[each] for each in backlog.stopped() if each in self._reasons}
        while (record := backlog.take()) is not None:
            send = supervise(self._send(backlog, record), name=self._name, on_crash=self._on_crash)
            self._sends.add(send)
            send.add_done_callback(self._sends.discard)
        await self._delete(session, backlog)
        await self._hand_over(session, backlog)
        if not found:
            wait_s = _LOOK_S if self._locked else max(0.0, self._share_at - time.monotonic())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait_s)

    async def _take_share(self, session: OutboxSession, backlog: Backlog) -> None:
        """Begin to lead what is free, or to give up what is too much."""
        census = await session.census()
        move = next_move(backlog.shards, census.held - self._locked, census.relays, self._first)
        if not move.take and not move.leave:
            return
        backlog.leave(move.leave)
        # What is taken back while it is given up is locked still.
        locked = await session.lock([shard for shard in move.take if shard not in self._locked])
        self._locked.update(locked)
        backlog.lead(shard for shard in move.take if shard in self._locked)
        _log.info("%s: leads %d of %d shards", self._name, len(backlog.shards), SHARDS)

    async def _hand_over(self, session: OutboxSession, backlog: Backlog) -> None:
        """Unlock what was given up, once nothing of it is under way any more."""
        if self._locked == backlog.shards:
            return
        if ended := self._locked - backlog.shards - backlog.unfinished():
            await session.unlock(sorted(ended))
            self._locked -= ended

    async def _finish(self, session: OutboxSession, backlog: Backlog) -> None:
        """Wait for the acknowledgements that are out, as long as `stop` lets us."""
        while self._sends:
            await asyncio.wait(self._sends, return_when=asyncio.FIRST_COMPLETED)
            await self._delete(session, backlog)
        await self._delete(session, backlog)

    async def _delete(self, session: OutboxSession, backlog: Backlog) -> None:
        if ids := backlog.deletable():
            await session.delete(ids)
            backlog.deleted(ids)

    async def _send(self, backlog: Backlog, record: StoredRecord) -> None:
        # Refused before: the topic may have come back with fewer partitions, so the key decides.
        partition = None if backlog.failures(record) else record.partition
        encoded = EncodedRecord(record.topic, record.key, record.value, record.headers, partition)
        try:
            await publish(self._producer, encoded)
        except ProducerClosed:
            return  # the app stops, and the row stays
        except SendFailed as error:
            backlog.refused(record, time.monotonic(), random.random())  # noqa: S311  (no secret)
            self._say_refused(record, str(error))
        else:
            backlog.acknowledged(record)
            if self._reasons.pop(record.id, None) is not None:
                _log.info("%s: outbox record %d is sent, its key goes on", self._name, record.id)
        self._wake.set()

    def _say_refused(self, record: StoredRecord, reason: str) -> None:
        """Each once, and of many the first."""
        is_news = record.id not in self._reasons
        self._reasons[record.id] = reason
        if not is_news:
            return
        if len(self._reasons) <= _MOST_SAID:
            _log.error(
                "%s: outbox record %d is refused, its key waits and it is tried again: %s",
                self._name,
                record.id,
                reason,
            )
        elif len(self._reasons) == _MOST_SAID + 1:
            _log.error("%s: more records are refused: App.outbox_stopped() tells which", self._name)
