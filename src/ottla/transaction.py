"""What a handler that takes `tx` is given: one database transaction and the event it is for."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, overload

from typing_extensions import TypeVar

from ottla.records import EncodedRecord
from ottla.template import HeaderValues, RecordEncoder
from ottla.topics import Key, Topic

# SQLAlchemy costs 0.3 s of import and belongs to an extra: only type checkers read it here.
if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

T = TypeVar("T")
S_co = TypeVar("S_co", bound="AsyncSession | Session", default="AsyncSession", covariant=True)


class Check(Protocol):
    """Whether a topic is there and takes a record of that size."""

    async def check(self, record: EncodedRecord) -> None:
        """Return when it does, or when nobody can tell now; raises why it does not."""
        ...

    def check_in_thread(self, record: EncodedRecord) -> None:
        """The same; blocks the calling thread, which is not the event loop's."""
        ...


class Outgoing:
    """What one transaction will send if it commits. `check` is asked about each record."""

    def __init__(self, encoder: RecordEncoder | None = None, check: Check | None = None) -> None:
        self.encoder = encoder or RecordEncoder()
        self.records: list[EncodedRecord] = []
        self._check = check

    async def checked(self, record: EncodedRecord) -> None:
        """Ask about `record`, and take it back where it cannot be sent."""
        if self._check is not None:
            with self._taken_back(record):
                await self._check.check(record)

    def checked_in_thread(self, record: EncodedRecord) -> None:
        """The same; blocks the calling thread."""
        if self._check is not None:
            with self._taken_back(record):
                self._check.check_in_thread(record)

    @contextmanager
    def _taken_back(self, record: EncodedRecord) -> Iterator[None]:
        """Where the block fails, whether a handler goes on over it or not."""
        try:
            yield
        except BaseException:
            self.records = [kept for kept in self.records if kept is not record]
            raise


@dataclass(frozen=True, slots=True)
class Transaction(Generic[S_co]):
    """One PostgreSQL transaction: in a listener, what is written through it takes place once per event.

    `session` is an `AsyncSession`. In a `def` handler, which runs in a thread, it is
    a `Session`: annotate `tx: Transaction[Session]` there, and type checkers know.
    It is flushed and committed when the handler returns and rolled back when it
    raises. Do neither yourself: `session.commit()` only flushes, a rollback fails the
    handler; `session.begin_nested()` is there for what may go wrong in part. Objects
    stay readable after the commit.

    `event_id` stays the same over redeliveries, retries and replays. A transaction that
    belongs to no event (`App.transaction`) has an id of its own there.

    A test calls its handler with `Transaction(session=…, event_id="…")`, and finds what
    the handler sent in `sent`.
    """

    session: S_co
    event_id: str
    outgoing: Outgoing = field(default_factory=Outgoing, repr=False)

    @property
    def sent(self) -> list[EncodedRecord]:
        """What leaves for Kafka if the transaction commits, in the order of the sends."""
        return list(self.outgoing.records)

    @overload
    def send(
        self: Transaction[AsyncSession],
        topic: Topic[T] | str,
        value: T | None,
        *,
        key: Key = None,
        headers: HeaderValues | None = None,
        event_id: str | None = None,
    ) -> Awaitable[None]: ...

    @overload
    def send(
        self: Transaction[Session],
        topic: Topic[T] | str,
        value: T | None,
        *,
        key: Key = None,
        headers: HeaderValues | None = None,
        event_id: str | None = None,
    ) -> None: ...

    def send(
        self,
        topic: Topic[Any] | str,
        value: Any,
        *,
        key: Key = None,
        headers: HeaderValues | None = None,
        event_id: str | None = None,
    ) -> Awaitable[None] | None:
        """Send `value` when the transaction commits, and only if it does.

        Await it, but in a `def` handler; what is not awaited is sent unchecked.

        Key, headers and event id are as for `KafkaTemplate.send`. The record is stored
        with what the transaction writes and sent by the relay: after the commit, at
        least once, per key in the order of the commits; a second time only under the
        same event id. Nothing is sent before the commit, so nothing can be returned.

        While Kafka is away records wait in the database. What can be told now is told
        now: `NotSerializable`; `RecordTooLarge`, as far as the topic's
        `max.message.bytes` is known; `TopicMissing` or `NotAuthorized`, where a broker
        answers.
        """
        outgoing = self.outgoing
        record = outgoing.encoder.encode(topic, value, key=key, headers=headers, event_id=event_id)
        outgoing.records.append(record)
        if hasattr(self.session, "sync_session"):
            return outgoing.checked(record)
        outgoing.checked_in_thread(record)
        return None
