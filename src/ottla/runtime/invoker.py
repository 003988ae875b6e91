"""Calls one listener's handler for one record, and turns whatever happens into an `Outcome`.

Failed until proven done: the only way to `SUCCEEDED` is that the handler returned, and
with a transaction that its COMMIT was answered. This is one of the places where
a broad `except` belongs: a handler may raise anything, and all of it is an outcome.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from ottla.core.decide import Conflicted, Ended, Failed, GivenUp, Interrupted, Outcome, Reason
from ottla.core.identity import content_digest, event_id
from ottla.errors import DeadLetter, EventIdReused, Retry, Skip, TransactionConflict, Unavailable, Undecodable
from ottla.ports import Claim, Inbox, InboxKey
from ottla.records import Headers, Record
from ottla.runtime.assignment import Delivery


@dataclass(frozen=True, slots=True)
class Call:
    """How a handler is called. `payload`, `record`, `template` and `transaction` name its parameters."""

    function: Callable[..., Any]
    is_async: bool
    decode: Callable[[bytes | None], Any] | None
    """How values become the payload; None where it takes `read`."""
    read: Callable[[bytes | None, Headers | None], Awaitable[Any]] | None = None
    """The same for values whose schema may have to be asked for."""
    payload: str | None = None
    record: str | None = None
    transaction: str | None = None
    given: dict[str, Any] | None = None
    """Arguments that are the same for every record: the template."""


class _Unread(Exception):
    """What it takes to read this record is away; others may need something else."""

    def __init__(self, reason: Unavailable) -> None:
        self.reason = reason
        super().__init__(str(reason))


def event_id_of(delivery: Delivery, headers: Headers) -> str:
    """The id of the event that `delivery` brings."""
    origin = delivery.origin("")
    timestamp = origin.timestamp_ms if origin.timestamp_type else None
    return event_id(headers, origin.topic, origin.partition, origin.offset, timestamp)


def inbox_key(listener: str, delivery: Delivery) -> InboxKey:
    """Under which the inbox keeps the record for `listener`."""
    message = delivery.message
    return InboxKey(
        listener,
        event_id_of(delivery, delivery.headers or Headers()),
        content_digest(message.key(), message.value()),
        is_replay=delivery.is_replay,
    )


def _record(delivery: Delivery, headers: Headers) -> Record:
    message = delivery.message
    timestamp_type, timestamp_ms = message.timestamp()
    return Record(
        at=(*delivery.state.partition, delivery.offset),
        key=message.key(),
        value=message.value(),
        headers=headers,
        timestamp_ms=timestamp_ms if timestamp_type else None,
        attempt=delivery.attempt,
        event_id=event_id_of(delivery, headers),
    )


class Invoker:
    """Handles deliveries of one listener; safe to call from all of its workers."""

    def __init__(
        self,
        listener: str,
        call: Call,
        *,
        is_fatal: Callable[[BaseException], bool],
        inbox: Inbox | None,
        threads: Executor | None,
    ) -> None:
        self._listener = listener
        self._call = call
        self._is_fatal = is_fatal
        self._inbox = inbox
        self._threads = threads
        self._run: Callable[[Delivery], Awaitable[Outcome]] = self._plain
        if call.transaction is not None:
            self._run = self._once
        wants_more = call.record or call.transaction or call.given or call.decode is None
        self._takes_event_only = call.is_async and call.payload is not None and not wants_more

    async def __call__(self, delivery: Delivery) -> Outcome:
        """The outcome of one call of the handler."""
        try:
            call = self._call
            if self._takes_event_only and call.decode is not None:  # the short way of the most common handler
                await call.function(call.decode(delivery.message.value()))
                return Ended.SUCCEEDED
            return await self._run(delivery)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if delivery.is_cancelled or (task is not None and task.cancelling()):
                raise  # ours: the partition goes, or the process stops
            return Failed(error)  # the handler's own: something it awaited was cancelled
        except (KeyboardInterrupt, GeneratorExit):
            raise  # the interpreter's word to this task, not the handler's
        except BaseException as error:  # noqa: BLE001  (a handler may raise anything; see the head of this file)
            # `SystemExit` as well: one record must not end the process, and after a restart end it again.
            return self._outcome(error)

    def _outcome(self, error: BaseException) -> Outcome:
        match error:
            case _Unread():
                return Interrupted(error.reason, holds_up_others=False)
            case Skip():
                return Ended.SKIPPED
            case DeadLetter():
                return GivenUp(error, Reason.HANDLER)
            case Undecodable():
                return GivenUp(error, Reason.UNDECODABLE)
            case EventIdReused():
                return GivenUp(error, Reason.REUSED_ID)
            case Retry(after=after):
                return Failed(error, after_s=None if after is None else max(0.0, after.total_seconds()))
        if (unavailable := _unavailable(error)) is not None:
            is_conflict = isinstance(unavailable, TransactionConflict)
            return Conflicted(unavailable) if is_conflict else Interrupted(unavailable)
        return Failed(error, is_fatal=self._is_fatal(error))

    async def _plain(self, delivery: Delivery) -> Outcome:
        arguments = await self._arguments(delivery)
        if self._call.is_async:
            await self._call.function(**arguments)
        else:
            await self._in_thread(lambda: self._call.function(**arguments))
        return Ended.SUCCEEDED

    async def _once(self, delivery: Delivery) -> Outcome:
        """The handler inside a transaction that begins with the inbox row."""
        call, inbox, name = self._call, self._inbox, self._call.transaction
        assert inbox is not None  # noqa: S101  (an app without a database refuses such a listener)
        assert name is not None  # noqa: S101  (chosen by it)
        arguments = await self._arguments(delivery)
        key = inbox_key(self._listener, delivery)

        if call.is_async:

            async def body(transaction: Any) -> None:
                await call.function(**arguments, **{name: transaction})

            claim = await inbox.once(key, body)
        else:

            def body_in_thread(transaction: Any) -> None:
                call.function(**arguments, **{name: transaction})

            claim = await self._in_thread(lambda: inbox.once_in_thread(key, body_in_thread))
        match claim:
            case Claim.FRESH:
                return Ended.SUCCEEDED
            case Claim.REUSED:
                raise EventIdReused(f"event id {key.event_id!r} was seen before with another key or value")
            case _:
                return Ended.DUPLICATE

    async def _arguments(self, delivery: Delivery) -> dict[str, Any]:
        call = self._call
        arguments = dict(call.given or {})
        if call.record is not None or call.transaction is not None:
            headers = delivery.headers
            if headers is None:
                raise Undecodable("the name of a header is not UTF-8, so none of the headers can be read")
            if call.record is not None:
                arguments[call.record] = _record(delivery, headers)
        if call.payload is not None:
            value = delivery.message.value()
            if call.decode is not None:
                arguments[call.payload] = call.decode(value)
            elif call.read is not None:
                try:
                    arguments[call.payload] = await call.read(value, delivery.headers)
                except Unavailable as error:
                    raise _Unread(error) from error
        return arguments

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, context.run, _contained, function
        )


def _contained(function: Callable[[], Any]) -> Any:
    """A future cannot carry a StopIteration: it would never resolve, and the lane stay taken."""
    try:
        return function()
    except StopIteration as error:
        raise RuntimeError("the handler raised StopIteration") from error


def _unavailable(error: BaseException) -> Unavailable | None:
    """The framework's failure that `error` is, or was raised from. Causes can run in a circle."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        if isinstance(current, Unavailable):
            return current
        seen.add(id(current))
        current = current.__cause__
    return None
