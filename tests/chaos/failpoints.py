"""Where a process dies or stands still when it is told to: at seams that the library has anyway.

The library knows nothing of it: its methods are wrapped from outside. `reach` costs one comparison.
"""

from __future__ import annotations

import inspect
import os
import signal
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from ottla.core.outbox import StoredRecord, Wanted
from ottla.kafka.consumer import KafkaSource
from ottla.kafka.producer import KafkaProducer
from ottla.ports import Claim, InboxKey
from ottla.postgres.inbox import PostgresInbox
from ottla.postgres.outbox import PostgresOutbox, PostgresOutboxSession
from ottla.transaction import Transaction
from tests.chaos.history import History

_handled: ContextVar[dict[str, str]] = ContextVar("handled", default={})  # noqa: B039  (never changed in place)
"""What the task is handling: whoever is struck tells of it."""


class Failpoints:
    """What this process is told to do, and where."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._armed: tuple[str, signal.Signals] | None = None

    def arm(self, point: str, number: signal.Signals) -> None:
        """Send this process `number` when it next reaches `point`."""
        self._armed = (point, number)

    def disarm(self) -> None:
        """Go on."""
        self._armed = None

    def reach(self, point: str) -> None:
        """Be killed or stopped here, if here is where."""
        armed = self._armed
        if armed is not None and armed[0] == point:
            self._armed = None
            self._history.note("struck", point=point, signal=int(armed[1]), **_handled.get())
            os.kill(os.getpid(), armed[1])

    def wrap(self) -> None:
        """Put the points around the library's methods; `handling` is the worker's own."""
        self._inbox()
        self._relay()
        for owner, name, before, after in (
            (PostgresInbox, "bury", "", "buried"),
            (PostgresOutbox, "put", "", "stored"),
            (PostgresOutboxSession, "delete", "", "relay-deleted"),
            (KafkaProducer, "send", "", "sent"),
            (KafkaSource, "_commit", "committing", ""),
            (KafkaSource, "_on_revoke", "revoking", ""),
        ):
            setattr(owner, name, self._around(getattr(owner, name), before, after))

    def _around(self, method: Callable[..., Any], before: str, after: str) -> Callable[..., Any]:
        reach = self.reach

        async def awaited(*arguments: Any, **named: Any) -> Any:
            reach(before)
            result = await method(*arguments, **named)
            reach(after)
            return result

        def called(*arguments: Any, **named: Any) -> Any:
            reach(before)
            result = method(*arguments, **named)
            reach(after)
            return result

        return awaited if inspect.iscoroutinefunction(method) else called

    def _inbox(self) -> None:
        reach, once = self.reach, PostgresInbox.once

        async def once_with_points(
            inbox: PostgresInbox, key: InboxKey, body: Callable[[Transaction], Awaitable[Any]]
        ) -> Claim:
            async def body_with_points(transaction: Transaction) -> None:
                reach("claimed")
                await body(transaction)
                reach("effected")

            _handled.set({"event_id": key.event_id, "listener": key.listener})
            claim = await once(inbox, key, body_with_points)
            reach("committed")
            return claim

        setattr(PostgresInbox, "once", once_with_points)  # noqa: B010  (a method is assigned on purpose)

    def _relay(self) -> None:
        reach, read = self.reach, PostgresOutboxSession.read

        async def read_with_point(session: PostgresOutboxSession, wanted: Wanted) -> list[StoredRecord]:
            found = await read(session, wanted)
            if found:  # who dies over an empty answer has nothing to lose, and most are empty
                reach("relay-read")
            return found

        setattr(PostgresOutboxSession, "read", read_with_point)  # noqa: B010  (the same)
