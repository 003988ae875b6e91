"""What a handler that takes `tx` is given: one database transaction and the event it is for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, overload

from typing_extensions import TypeVar

from ottla.errors import WiringError
from ottla.records import EncodedRecord
from ottla.serde.codecs import Codecs
from ottla.serde.schemas import SchemaNotKnown, Unregistered
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
        # Without an app, as where a test calls its handler, no schema has an id.
        self.encoder = encoder or RecordEncoder(codecs=Codecs(Unregistered(), has_registry=False))
        self._records: list[EncodedRecord] = []
        self._check = check
        self._not_awaited: set[str] = set()

    @property
    def records(self) -> list[EncodedRecord]:
        """What is sent if the transaction commits.

        Raises:
            WiringError: a send has to ask the schema registry first, and was not awaited.
        """
        for topic in self._not_awaited:
            raise WiringError(
                f"tx.send to topic {topic!r} was not awaited: its schema was to be asked for "
                "first; await it, and name the topic in App(topics=...)"
            )
        return self._records

    async def send(self, topic: str, encode: Callable[[], EncodedRecord], unknown: SchemaNotKnown) -> None:
        """Ask for a schema's id, then encode and take the record: a first send to a topic not named."""
        await unknown.learn()
        self._not_awaited.discard(topic)
        await self.checked(self.take(encode()))

    def send_later(self, topic: str) -> None:
        """A send begins that must be awaited."""
        self._not_awaited.add(topic)

    def take(self, record: EncodedRecord) -> EncodedRecord:
        """`record` is sent if the transaction commits."""
        self._records.append(record)
        return record

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
            self._records = [kept for kept in self._records if kept is not record]
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
        encode = partial(outgoing.encoder.encode, topic, value, key=key, headers=headers, event_id=event_id)
        is_async = hasattr(self.session, "sync_session")
        try:
            record = encode()
        except SchemaNotKnown as unknown:
            if is_async:
                name = topic if isinstance(topic, str) else topic.name
                outgoing.send_later(name)
                return outgoing.send(name, encode, unknown)
            unknown.learn_in_thread()
            record = encode()
        outgoing.take(record)
        if is_async:
            return outgoing.checked(record)
        outgoing.checked_in_thread(record)
        return None
