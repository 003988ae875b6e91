"""What the runtime needs of the world: Protocols that the edges (Kafka, PostgreSQL) fill.

Each port has a contract suite in `ottla.testing` or `tests/contract` that every
implementation passes.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from ottla.core.figures import SourceFigures
from ottla.core.frames import SchemaRef
from ottla.core.liveness import Pulse
from ottla.core.offsets import CommitPolicy, Committable
from ottla.core.outbox import Census, StoredRecord, Wanted
from ottla.core.pacing import BufferLimits
from ottla.core.schemas import SubjectState, WantedSchema
from ottla.core.start_offsets import Offsets
from ottla.errors import FatalClientError, SettingsError, Unavailable
from ottla.records import EncodedRecord, Headers, SendResult, TopicPartition
from ottla.settings import Settings


class Message(Protocol):
    """A polled record, read lazily, in the shape of confluent-kafka's `Message`."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes | None]] | None: ...
    def timestamp(self) -> tuple[int, int]: ...
    def __len__(self) -> int: ...


class Claim(enum.Enum):
    """What the inbox says of an event id."""

    FRESH = "fresh"  # never seen: the row is ours, inside our transaction
    DONE = "done"  # its effect is committed
    DEAD = "dead"  # given up, its dead letter is in the outbox or was
    REUSED = "reused"  # seen with other content


@dataclass(frozen=True, slots=True)
class InboxKey:
    """Who handles which event, and a digest of its key and value (32 bytes).

    `is_replay`: it was given up, and somebody has sent it to be handled again.
    """

    listener: str
    event_id: str
    digest: bytes
    is_replay: bool = False


class Inbox(Protocol):
    """Effects once per (listener, event id). Safe to share between tasks.

    Every method raises `Unavailable` for what is not the handler's doing, and
    changes nothing then; a COMMIT whose answer was lost raises it too, and the
    next call tells by its claim how it ended.
    """

    async def once(self, key: InboxKey, body: Callable[[Any], Awaitable[Any]]) -> Claim:
        """Run `body(transaction)` in one transaction that begins with the inbox row.

        FRESH: the body ran and its effects are committed, and for a replay a row that
        said dead says done. Any other claim: it was not called. What the body raises is
        raised after the rollback, except that failures of the database below it become
        `Unavailable`.
        """
        ...

    def once_in_thread(self, key: InboxKey, body: Callable[[Any], Any]) -> Claim:
        """The same for a body that is an ordinary function; blocks the calling thread."""
        ...

    async def bury(self, key: InboxKey, letter: EncodedRecord) -> Claim:
        """Claim the event as dead and store its dead letter in the outbox, in one transaction.

        FRESH: both are stored. REUSED: the row belongs to other content and stays; the
        letter is stored. DONE, DEAD: somebody else has ended the event, nothing is stored;
        but a replay of what is dead has a letter of its own, and that is FRESH.
        """
        ...


class OutboxStatus(NamedTuple):
    """How much waits in the outbox: rows, counted up to 100,000, and the age of the oldest in seconds."""

    backlog: int
    oldest_s: float


class OutboxSession(Protocol):
    """The outbox for one relay. Raises `Unavailable` once the relay has lost its shards, all at once."""

    async def census(self) -> Census:
        """How many relays there are, and which shards they hold."""
        ...

    async def lock(self, shards: Sequence[int]) -> Sequence[int]:
        """Hold those of `shards` that no other relay does, and return them; we hold none of them yet."""
        ...

    async def unlock(self, shards: Sequence[int]) -> None:
        """Let others hold these shards."""
        ...

    async def read(self, wanted: Wanted) -> Sequence[StoredRecord]:
        """The rows that are wanted `again` and are still there, then the lowest committed others.

        Both by ascending id, of the wanted shards. Only shards that are held may be wanted.
        """
        ...

    async def delete(self, ids: Sequence[int]) -> None:
        """Delete the rows of acknowledged records."""
        ...


class Outbox(Protocol):
    """Records that transactions have stored and relays send."""

    def relaying(self, answered: Callable[[], None] = ...) -> AbstractAsyncContextManager[OutboxSession]:
        """Be one of the relays of this database until the block ends, at first without a shard.

        `answered` is called whenever the database has answered. Raises `Unavailable`.

        The shards of one whose process dies or stands still are free within seconds. One
        that stood still finds out at its next question.
        """
        ...

    async def status(self) -> OutboxStatus:
        """What waits now. Raises `Unavailable`."""
        ...


class RecordProducer(Protocol):
    """Acknowledged sends of bytes. Safe to share between tasks of one loop."""

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
        """Return once every in-sync replica has the record; a full local queue waits.

        Raises a `SendFailed`. After `SendTimedOut` and `SendUnproven` the record may still be there.
        """
        ...


class Clock(Protocol):
    """The event loop's time and the date, so that tests can turn them."""

    def now(self) -> float:
        """Seconds of a clock that never goes back."""
        ...

    def time_ms(self) -> int:
        """The date, in milliseconds as timestamps of records have it; somebody may set it."""
        ...

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call back on the event loop after `delay_s`."""
        ...


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Do not call back."""
        ...


class Start(NamedTuple):
    """A partition of a new assignment: its epoch, and the offset its records begin with."""

    partition: TopicPartition
    epoch: int
    offset: int


class Gap(NamedTuple):
    """Records that are not there any more, or not yet: `expected` lies outside [`low`, `high`]."""

    partition: TopicPartition
    expected: int
    low: int
    high: int
    is_skipped: bool  # the listener chose to go on at `low` or `high`


class Load(NamedTuple):
    """How full a listener is; read by the poll thread at any time."""

    taken: int  # records taken over from the poll thread, ever
    taken_size: int  # bytes of their values
    records: int  # records taken and not ended
    size: int  # bytes of their values


class Progress(NamedTuple):
    """An immutable snapshot for the poll thread."""

    offsets: Mapping[TopicPartition, Committable]
    finished: int  # records ended since the start of the process


class RecordSink(Protocol):
    """What a source tells of; called on the event loop, in the order in which it happened.

    `load` alone is called from the source's own thread.
    """

    def load(self) -> Load:
        """How full the sink is."""
        ...

    def assigned(self, starts: Sequence[Start]) -> None:
        """Partitions are ours; their records follow."""
        ...

    def records(self, batch: Sequence[Message], size: int) -> None:
        """Polled records, ascending per partition; `size` is the sum of their values' lengths."""
        ...

    def revoking(self, partitions: Sequence[TopicPartition], drained: Callable[[], None]) -> None:
        """Start nothing more of these; call `drained` once nothing of them runs and its end is published."""
        ...

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """These are no longer ours, drained or not: what they report from now on changes nothing."""
        ...

    def gap(self, gap: Gap) -> None:
        """The next record to read is not there."""
        ...

    def trouble(self, error: Unavailable | None) -> None:
        """Something outside keeps records from coming; None: they come again."""
        ...

    def fatal(self, error: FatalClientError | SettingsError) -> None:
        """The source has ended for good, or cannot begin: the client refuses a property."""
        ...


class RecordSource(Protocol):
    """Where a listener's records come from: one group member, polled by a thread of its own."""

    def open(self, sink: RecordSink) -> None:
        """Join the group and begin to poll. Call it on the event loop."""
        ...

    def publish(self, progress: Progress) -> None:
        """Replace the snapshot that commits are taken from."""
        ...

    def pause(self, partition: TopicPartition) -> None:
        """Fetch no more records of `partition` until `resume`; those on their way still come."""
        ...

    def resume(self, partition: TopicPartition) -> None:
        """Take `partition` up again."""
        ...

    def quiesce(self) -> None:
        """Fetch nothing more, stay in the group."""
        ...

    def leave(self, bound_s: float) -> None:
        """Begin to do as `close` does, and wait for nothing; no news where that has begun."""
        ...

    async def close(self, bound_s: float) -> None:
        """Commit the newest snapshot, wait for the answer at most `bound_s`, leave the group."""
        ...


@dataclass(frozen=True, slots=True)
class SourcePolicy:
    """How a source begins, paces and commits."""

    offsets: Offsets = field(default_factory=Offsets)
    """The setting is in it already; a `start` of None is `earliest`."""
    drain_s: float = 25.0
    limits: BufferLimits = field(default_factory=BufferLimits)
    commits: CommitPolicy = field(default_factory=CommitPolicy)
    is_observed: bool = False
    """Whether somebody asks for figures: the lag is read only then."""


class GroupMember(RecordSource, Protocol):
    """A source that can tell how it is doing. Threads may ask for pulse and figures."""

    def is_member(self) -> bool:
        """Whether its group knows it, where that tells of no empty assignment; False where it does tell."""
        ...

    def pulse(self) -> Pulse:
        """When it last showed that it goes on polling."""
        ...

    def figures(self) -> SourceFigures:
        """What it has counted and measured."""
        ...


class Producer(RecordProducer, Protocol):
    """A producer that somebody starts and closes."""

    async def start(self) -> None:
        """Make the client. Raises `SettingsError` for a property that it refuses."""
        ...

    async def close(self, timeout_s: float) -> None:
        """Wait for what is not acknowledged, `timeout_s` at most; a send fails from now on."""
        ...


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema as a registry has it. `references` are the texts that it names, the innermost first."""

    id: int
    kind: str
    text: str
    references: tuple[str, ...] = ()


class SchemaRegistry(Protocol):
    """A schema registry. Its calls block, unless it is not `is_remote`: never on the event loop.

    Every call ends within a time-out, and raises `SchemaRegistryUnavailable`, `AuthenticationFailed`
    or `NotAuthorized` where there is no answer to the question.
    """

    @property
    def is_remote(self) -> bool:
        """Whether a call takes time."""
        ...

    def schema(self, ref: SchemaRef) -> RegisteredSchema | None:
        """The schema that has this id or GUID; None when the registry knows none."""
        ...

    def newest(self, subject: str) -> RegisteredSchema | None:
        """The newest version of `subject`; None when there is no such subject."""
        ...

    def id_of(self, wanted: WantedSchema) -> int | None:
        """The id under which its subject has exactly this schema; None when it has not."""
        ...

    def register(self, wanted: WantedSchema) -> int:
        """Register a schema, which may be there already, and return its id. Raises `SchemaRefused`."""
        ...

    def state(self, wanted: WantedSchema) -> SubjectState:
        """How its subject stands to a schema; changes nothing."""
        ...

    def close(self) -> None:
        """Close connections. May be called twice."""
        ...


class Cluster(Protocol):
    """One app's side of Kafka, or of what stands in for it: makes the edges that the app joins."""

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        ...

    @property
    def clock(self) -> Clock | None:
        """What back-off is measured by; None for the event loop's own clock."""
        ...

    def producer(self, name: str, on_fatal: Callable[[FatalClientError], None]) -> Producer:
        """A producer for all that the app sends."""
        ...

    async def has_topic(self, topic: str) -> bool:
        """Whether there is such a topic; makes none. Raises an `Unavailable` where nobody can tell."""
        ...

    def member(self, topic: str, policy: SourcePolicy, *, group: str, name: str) -> GroupMember:
        """A listener's member of `group`, not joined yet."""
        ...

    async def partitions(self, topics: Iterable[str]) -> Mapping[str, int]:
        """How many partitions each of `topics` has. Raises an `Unavailable` for those that are not there."""
        ...

    def schema_registry(self) -> SchemaRegistry | None:
        """A registry for this app, by the settings; None where they name none. Opens nothing."""
        ...

    async def largest_batch(self, topic: str) -> int | None:
        """The most bytes that `topic` takes at once; None where nobody can tell. Raises as `partitions`."""
        ...


Connect = Callable[[str, Settings | None], Cluster]
"""The cluster for an app of that name, by the settings that it was given, else by those in force.

Raises `SettingsError`. Opens nothing.
"""
