"""Deliberate bugs, of kinds that programs have: patched into the worker's process, nothing in the library.

Each names the checkers of which one must find it, and the nemeses that bring it to light.
"""

# ruff: noqa: B010  (methods of classes are replaced here on purpose)
from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import text

from ottla.core.decide import Ended, Forward, GivenUp, Outcome, Reason
from ottla.core.lanes import Lanes
from ottla.core.offsets import Committable
from ottla.core.outbox import Backlog, StoredRecord, Wanted
from ottla.ports import Claim, InboxKey
from ottla.postgres.inbox import PostgresInbox
from ottla.postgres.outbox import PostgresOutboxSession
from ottla.records import EncodedRecord, Headers
from ottla.runtime import publishing, settlement
from ottla.runtime.assignment import Delivery, PartitionState
from ottla.runtime.engine import Engine
from ottla.runtime.invoker import Invoker
from ottla.runtime.settlement import Settlement
from ottla.transaction import Transaction
from tests.chaos.schedule import FAILPOINTS, Kind

Body = Callable[[Transaction], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One bug: how it is patched in, which checkers may find it, which nemeses help.

    `points` are where a process must die for it to show, where it does not show anywhere.
    """

    patch: Callable[[], None]
    checkers: tuple[str, ...]
    kinds: frozenset[Kind]
    points: Collection[str] = FAILPOINTS


def _no_inbox() -> None:
    """The row is never looked at: what is delivered twice takes place twice."""
    setattr(PostgresInbox, "_claim", lambda *_: Claim.FRESH)


def _split_inbox() -> None:
    """The row is committed before the effect: what dies in between is never done."""
    once = PostgresInbox.once

    async def split(inbox: PostgresInbox, key: InboxKey, body: Body) -> Claim:
        async def nothing(_: Transaction) -> None: ...

        claim = await once(inbox, key, nothing)
        if claim is not Claim.FRESH:
            return claim
        return await once(inbox, *_under_another_id(key, body))

    setattr(PostgresInbox, "once", split)


def _under_another_id(key: InboxKey, body: Body) -> tuple[InboxKey, Body]:
    """A row that nobody looks for; the handler sees the event's own id all the same."""

    async def as_itself(transaction: Transaction) -> None:
        await body(replace(transaction, event_id=key.event_id))

    return replace(key, event_id=uuid.uuid4().hex), as_itself


def _look_then_insert() -> None:
    """The row is looked for first and written last: two that look at the same time both go on."""
    once = PostgresInbox.once

    async def look(inbox: PostgresInbox, key: InboxKey, body: Body) -> Claim:
        me = {"listener": key.listener, "event_id": key.event_id, "digest": key.digest}
        async with inbox._database.connection() as connection:
            found = (
                await connection.execute(
                    text(
                        "SELECT status FROM ottla.inbox WHERE listener = :listener AND event_id = :event_id"
                    ),
                    me,
                )
            ).scalar_one_or_none()
            await connection.rollback()
        if found is not None:
            return Claim(found)

        async def body_then_row(transaction: Transaction) -> None:
            await body(transaction)
            await transaction.session.execute(
                text(
                    "INSERT INTO ottla.inbox (listener, event_id, digest, status) "
                    "VALUES (:listener, :event_id, :digest, 'done') ON CONFLICT DO NOTHING"
                ),
                me,
            )

        return await once(inbox, *_under_another_id(key, body_then_row))

    setattr(PostgresInbox, "once", look)


def _commit_first() -> None:
    """Offsets are committed as soon as records are polled."""
    records = Engine.records

    def committed_at_once(engine: Engine, batch: Sequence[Any], size: int) -> None:
        records(engine, batch, size)
        engine._publish()

    setattr(Engine, "records", committed_at_once)
    _commit_position()


def _commit_position() -> None:
    """What is committed is how far was polled, whatever is unfinished."""

    def position(state: PartitionState) -> Committable:
        return Committable(state.epoch, state.tracker.next_offset, is_idle=False)

    setattr(PartitionState, "committable", position)


def _no_order() -> None:
    """Records of one key run side by side."""
    offer, finish = Lanes.offer, Lanes.finish
    setattr(Lanes, "offer", lambda lanes, _, item: offer(lanes, None, item))
    setattr(Lanes, "finish", lambda lanes, _: finish(lanes, None))


def _undecodable_is_done() -> None:
    """Bytes that do not fit are skipped."""
    outcome = Invoker._outcome

    def skipped(invoker: Invoker, error: BaseException) -> Outcome:
        told = outcome(invoker, error)
        is_undecodable = isinstance(told, GivenUp) and told.reason is Reason.UNDECODABLE
        return Ended.SKIPPED if is_undecodable else told

    setattr(Invoker, "_outcome", skipped)


_unawaited: set[asyncio.Task[None]] = set()


def _letter_not_awaited() -> None:
    """A dead letter is sent some time; its record is done at once."""
    publish = publishing.publish

    async def later(producer: Any, record: EncodedRecord) -> None:
        async def send() -> None:
            await asyncio.sleep(0.5)  # the time in which offsets are committed
            with contextlib.suppress(Exception):
                await publish(producer, record)

        task = asyncio.create_task(send())
        _unawaited.add(task)
        task.add_done_callback(_unawaited.discard)

    setattr(settlement, "publish", later)


def _delete_first() -> None:
    """The relay deletes what it has read, then sends it."""
    read, delete = PostgresOutboxSession.read, PostgresOutboxSession.delete

    async def read_and_deleted(session: PostgresOutboxSession, wanted: Wanted) -> list[StoredRecord]:
        records = await read(session, wanted)
        if records:
            await delete(session, [record.id for record in records])
        return records

    setattr(PostgresOutboxSession, "read", read_and_deleted)


def _high_water() -> None:
    """The relay asks for what is above the last id it has seen: ids become visible in another order."""
    read = PostgresOutboxSession.read
    highest = [0]

    async def above(session: PostgresOutboxSession, wanted: Wanted) -> list[StoredRecord]:
        found = [record for record in await read(session, wanted) if record.id > highest[0]]
        highest[0] = max((highest[0], *(record.id for record in found)))
        return found

    setattr(PostgresOutboxSession, "read", above)


def _refused_is_sent() -> None:
    """The relay takes a refused record for a sent one."""

    def taken_for_sent(backlog: Backlog, record: StoredRecord, now: float, chance: float) -> None:
        backlog.acknowledged(record)

    setattr(Backlog, "refused", taken_for_sent)


def _letter_without_headers() -> None:
    """A dead letter has lost the record's own headers."""
    headers = Settlement._headers

    def without(self: Settlement, delivery: Delivery, decision: Any) -> Headers:
        kept = headers(self, delivery, decision)
        if isinstance(decision, Forward):
            return kept
        return Headers(pair for pair in kept if pair[0] != "trace")

    setattr(Settlement, "_headers", without)


def _outbox_apart() -> None:
    """What a handler sends is stored in a transaction of its own: it leaves also when the handler's fails."""
    once = PostgresInbox.once

    async def apart(inbox: PostgresInbox, key: InboxKey, body: Body) -> Claim:
        records: list[EncodedRecord] = []

        async def body_alone(transaction: Transaction) -> None:
            try:
                await body(transaction)
            finally:
                records.extend(transaction.outgoing.records)
                transaction.outgoing.records.clear()

        try:
            return await once(inbox, key, body_alone)
        finally:
            if records:
                async with inbox._database.connection() as connection:
                    await connection.run_sync(inbox._outbox.put, records)
                    await connection.commit()

    setattr(PostgresInbox, "once", apart)


_KILLS = frozenset({Kind.KILL, Kind.KILL_AT})
_LETTERS = _KILLS | {Kind.LETTERS_REFUSED, Kind.LETTERS_TOO_LARGE}

MUTANTS = {
    "no-inbox": Mutant(_no_inbox, ("C2",), _KILLS),
    "split-inbox": Mutant(_split_inbox, ("C1", "C9"), _KILLS),
    "look-then-insert": Mutant(_look_then_insert, ("C2",), frozenset({Kind.FREEZE_AT_COMMIT})),
    "commit-first": Mutant(_commit_first, ("C1", "C9"), _KILLS),
    "commit-position": Mutant(_commit_position, ("C1", "C9"), _KILLS),
    "no-order": Mutant(_no_order, ("C3",), _KILLS),
    "undecodable-is-done": Mutant(_undecodable_is_done, ("C1",), frozenset()),
    "letter-not-awaited": Mutant(_letter_not_awaited, ("C1",), _LETTERS),
    "letter-without-headers": Mutant(_letter_without_headers, ("C6",), frozenset()),
    "outbox-apart": Mutant(_outbox_apart, ("C4",), frozenset()),
    "delete-first": Mutant(_delete_first, ("C5", "C9"), frozenset({Kind.KILL_AT}), ("relay-read",)),
    "high-water": Mutant(_high_water, ("C5", "C9"), frozenset()),
    "refused-is-sent": Mutant(_refused_is_sent, ("C1",), _LETTERS),
}
