"""What a handler that takes `tx` is given: one database transaction and the event it is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from typing_extensions import TypeVar

# SQLAlchemy costs 0.3 s of import and belongs to an extra: only type checkers read it here.
if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

S_co = TypeVar("S_co", bound="AsyncSession | Session", default="AsyncSession", covariant=True)


@dataclass(frozen=True, slots=True)
class Transaction(Generic[S_co]):
    """One PostgreSQL transaction around one record: what is written through it takes place once per event.

    `session` is an `AsyncSession`. In a `def` handler, which runs in a thread, it is
    a `Session`: annotate `tx: Transaction[Session]` there, and type checkers know.
    It is flushed and committed when the handler returns and rolled back when it
    raises. Do neither yourself: `session.commit()` only flushes, a rollback fails the
    handler; `session.begin_nested()` is there for what may go wrong in part. Objects
    stay readable after the commit.

    `event_id` stays the same over redeliveries, retries and replays.

    A test calls its handler with `Transaction(session=…, event_id="…")`.
    """

    session: S_co
    event_id: str
