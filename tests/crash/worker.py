"""The process that dies: an app with a `tx` listener, whose library is wrapped from outside.

The failpoints hang on seams that the library has anyway: the client's Consumer and
Producer, inbox and outbox, the producer port. Each worker writes what it sees to a file of its
own, in single `write` calls, which survive SIGKILL.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import confluent_kafka
import psycopg
from sqlalchemy import Connection, text

import ottla.kafka.consumer
import ottla.kafka.sending_client
from ottla import App, InPlace, Topic, Transaction
from ottla.core.outbox import StoredRecord, Wanted
from ottla.kafka.producer import KafkaProducer
from ottla.ports import Claim, InboxKey
from ottla.postgres.inbox import PostgresInbox
from ottla.postgres.outbox import PostgresOutbox, PostgresOutboxSession
from ottla.records import EncodedRecord, Headers, Record
from tests.crash.story import FLAKY, POISON, RETRY, STRAGGLER, Arrow, Event, Mutant


@dataclass
class Fate:
    """When this worker dies, and what it has told so far."""

    arrow: Arrow | None
    mutant: Mutant | None
    file: int
    deadly: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Partition and offset of the deadly record, by topic, once polled."""
    event_id: str = ""
    is_revoking: bool = False

    def tell(self, *words: object) -> None:
        """A line into this worker's file."""
        os.write(self.file, (" ".join(map(str, words)) + "\n").encode())

    def reach(self, arrow: Arrow) -> None:
        """Die here, if here is where."""
        if self.arrow is not None and arrow is self.arrow.point:
            self.tell("died", self.arrow.name)
            os.kill(os.getpid(), signal.SIGKILL)

    def polled(self, message: confluent_kafka.Message) -> None:
        """Note a polled record, and whether it is the deadly one."""
        number = json.loads(message.value() or b"")["number"]
        topic = message.topic() or ""
        self.tell("polled", f"{number}{topic.removeprefix(TOPIC)}")
        if self.arrow is not None and number == self.arrow.deadly:
            self.deadly[topic] = (int(message.partition() or 0), int(message.offset() or 0))
            self.event_id = str(number)
            self.reach(Arrow.POLLED if topic == TOPIC else Arrow.RETRY_POLLED)

    def passed_by(self, offsets: list[confluent_kafka.TopicPartition]) -> set[str]:
        """The topics of which a commit of `offsets` says that the deadly record is done there."""
        return {
            p.topic
            for p in offsets
            if p.topic in self.deadly and p.partition == self.deadly[p.topic][0]
            if p.offset > self.deadly[p.topic][1]
        }


TOPIC = os.environ["CRASH_TOPIC"]
ROAD = os.environ["CRASH_ROAD"]
fate = Fate(
    arrow=Arrow[os.environ["CRASH_ARROW"]] if os.environ.get("CRASH_ARROW") else None,
    mutant=Mutant(os.environ["CRASH_MUTANT"]) if os.environ.get("CRASH_MUTANT") else None,
    file=os.open(os.environ["CRASH_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600),
)


class MortalConsumer(confluent_kafka.Consumer):
    """The client's consumer, with arrows around poll, commit and revoke."""

    def __init__(self, properties: dict[str, Any], **options: Any) -> None:
        on_commit = properties["on_commit"]

        def committed(error: Any, offsets: list[confluent_kafka.TopicPartition]) -> None:
            on_commit(error, offsets)
            if error is None and fate.passed_by(offsets):
                fate.reach(Arrow.AFTER_OFFSET)

        super().__init__({**properties, "on_commit": committed}, **options)

    def subscribe(self, topics: list[str], *, on_revoke: Any, **callbacks: Any) -> None:  # type: ignore[override]
        def revoke(*arguments: Any) -> None:
            fate.is_revoking = True
            on_revoke(*arguments)
            fate.is_revoking = False

        super().subscribe(topics, on_revoke=revoke, **callbacks)

    def poll(self, *arguments: Any) -> confluent_kafka.Message | None:
        message = super().poll(*arguments)
        self._seen([] if message is None else [message])
        return message

    def consume(self, *arguments: Any) -> list[confluent_kafka.Message]:
        messages = super().consume(*arguments)
        self._seen(messages)
        return messages

    def _seen(self, messages: list[confluent_kafka.Message]) -> None:
        records = [message for message in messages if message.error() is None]
        if records and fate.mutant is Mutant.COMMIT_FIRST:
            for record in records:
                super().commit(message=record, asynchronous=False)
        for record in records:
            fate.polled(record)

    def commit(  # type: ignore[override]
        self, *, offsets: list[confluent_kafka.TopicPartition], asynchronous: Literal[True]
    ) -> None:
        passed = fate.passed_by(offsets)
        if passed and fate.arrow is not None and fate.arrow.is_of_the_relay:
            # The relay is about to die. Whether this commit overtakes it is chance, and no row may
            # hang on that: the record is left uncommitted, and has to come again.
            return
        if TOPIC in passed:
            fate.reach(Arrow.BEFORE_OFFSET)
            fate.reach(Arrow.FORWARD_BEFORE_OFFSET)
        elif passed:
            fate.reach(Arrow.RETRY_BEFORE_OFFSET)
        if fate.is_revoking:
            fate.reach(Arrow.REVOKED)
        super().commit(offsets=offsets, asynchronous=asynchronous)


class MortalProducer(confluent_kafka.Producer):
    """The client's producer: the deadly record is written, and the library does not know it yet."""

    def produce(self, topic: str, *, on_delivery: Callable[..., None], **record: Any) -> None:  # type: ignore[override]
        before, after = (
            (Arrow.FORWARD_DECIDED, Arrow.FORWARD_SENT)
            if "-retry-" in topic
            else (Arrow.LAST_FAILED, Arrow.LAST_SENT)
        )

        def delivered(error: Any, message: confluent_kafka.Message) -> None:
            if error is None and _is_deadly(message.value()):
                fate.reach(Arrow.BURIAL_SENT)
                fate.reach(Arrow.RELAY_SENT)
                fate.reach(after)
            on_delivery(error, message)

        if _is_deadly(record["value"]):
            fate.reach(before)
        super().produce(topic, on_delivery=delivered, **record)


def _is_deadly(value: bytes | None) -> bool:
    return fate.arrow is not None and json.loads(value or b"{}").get("number") == fate.arrow.deadly


Body = Callable[[Transaction], Awaitable[Any]]
once, bury, send = PostgresInbox.once, PostgresInbox.bury, KafkaProducer.send


async def mutated_once(inbox: PostgresInbox, key: InboxKey, body: Body) -> Claim:
    """The inbox, with the bug that CRASH_MUTANT asks for."""

    async def nothing(_: Transaction) -> None: ...

    if fate.mutant is Mutant.NO_INBOX:
        return await once(inbox, replace(key, event_id=uuid.uuid4().hex), body)
    if fate.mutant is Mutant.SPLIT_INBOX:
        claim = await once(inbox, key, nothing)
        if claim is Claim.FRESH:
            await _undone_if_it_fails(inbox, key, body)
        return claim
    return await once(inbox, key, body)


async def _undone_if_it_fails(inbox: PostgresInbox, key: InboxKey, body: Body) -> None:
    """What a program without one transaction would do: it can only be right while nobody dies."""
    try:
        await once(inbox, replace(key, event_id=uuid.uuid4().hex), body)
    except ValueError:
        async with inbox._database.connection() as connection:
            await connection.execute(
                text("DELETE FROM ottla.inbox WHERE event_id = :event_id"), {"event_id": key.event_id}
            )
            await connection.commit()
        raise


async def mortal_once(inbox: PostgresInbox, key: InboxKey, body: Body) -> Claim:
    """The inbox with arrows behind its row, behind the effect, and behind the commit."""
    is_deadly = key.event_id == fate.event_id

    async def mortal_body(transaction: Transaction) -> None:
        if is_deadly:
            fate.reach(Arrow.CLAIMED)
        await body(transaction)
        if is_deadly:
            fate.reach(Arrow.EFFECTED)

    claim = await mutated_once(inbox, key, mortal_body)
    if is_deadly:
        fate.reach(Arrow.COMMITTED)
    return claim


async def mortal_send(producer: KafkaProducer, topic: str, **record: Any) -> Any:
    """The producer port, with an arrow behind the acknowledgement."""
    is_retry = "-retry-" in topic
    if is_retry and fate.mutant is Mutant.DONE_FIRST:
        unsent.append(asyncio.create_task(_sent_later(producer, topic, record)))
        return None
    if is_retry and fate.mutant is Mutant.NO_ORIGIN:
        kept = (pair for pair in record["headers"] if not pair[0].startswith("kafka_original-"))
        record["headers"] = Headers(kept)
    result = await send(producer, topic, **record)
    if _is_deadly(record["value"]):
        fate.reach(Arrow.BURIAL_ACKNOWLEDGED)
        fate.reach(Arrow.RELAY_ACKNOWLEDGED)
        fate.reach(Arrow.FORWARD_ACKNOWLEDGED if is_retry else Arrow.LAST_ACKNOWLEDGED)
    return result


async def _sent_later(producer: KafkaProducer, topic: str, record: dict[str, Any]) -> None:
    await asyncio.sleep(1)  # time enough for its offset to be committed
    await send(producer, topic, **record)


unsent: list[asyncio.Task[None]] = []


async def mortal_bury(inbox: PostgresInbox, key: InboxKey, letter: EncodedRecord) -> Claim:
    """The inbox's burial, with arrows before and behind it."""
    if _is_deadly(letter.value):
        fate.reach(Arrow.LAST_FAILED)
    claim = await bury(inbox, key, letter)
    if _is_deadly(letter.value):
        fate.reach(Arrow.LAST_ACKNOWLEDGED)
    return claim


put, read, delete = PostgresOutbox.put, PostgresOutboxSession.read, PostgresOutboxSession.delete
relayed: dict[int, bytes | None] = {}


def mortal_put(outbox: PostgresOutbox, connection: Connection, records: Sequence[EncodedRecord]) -> None:
    """The outbox's insert, with an arrow between it and the commit."""
    put(outbox, connection, records)
    if any(_is_deadly(record.value) for record in records):
        fate.reach(Arrow.STORED)


async def mortal_read(session: PostgresOutboxSession, wanted: Wanted) -> list[StoredRecord]:
    """The relay's reading, with the bug that CRASH_MUTANT asks for, and an arrow behind it."""
    records = await read(session, wanted)
    if records and fate.mutant is Mutant.DELETE_FIRST:
        await delete(session, [record.id for record in records])
    relayed.update((record.id, record.value) for record in records)
    if any(_is_deadly(record.value) for record in records):
        fate.reach(Arrow.RELAY_READ)
    return records


async def mortal_delete(session: PostgresOutboxSession, ids: Sequence[int]) -> None:
    """The relay's deletion, with an arrow behind it."""
    await delete(session, ids)
    if any(_is_deadly(relayed[id_]) for id_ in ids):
        fate.reach(Arrow.RELAY_DELETED)


def wrap() -> None:
    """Put the arrows around the library."""
    for owner, name, wrapped in (
        (ottla.kafka.consumer, "Consumer", MortalConsumer),
        (ottla.kafka.sending_client, "Producer", MortalProducer),
        (PostgresInbox, "once", mortal_once),
        (PostgresInbox, "bury", mortal_bury),
        (KafkaProducer, "send", mortal_send),
        (PostgresOutbox, "put", mortal_put),
        (PostgresOutboxSession, "read", mortal_read),
        (PostgresOutboxSession, "delete", mortal_delete),
    ):
        assert hasattr(owner, name), f"{owner} has no {name} any more: nothing would die there"
        setattr(owner, name, wrapped)


app = App(os.environ["CRASH_GROUP"])
HANDLED = Topic(f"{TOPIC}-handled", Event, key=lambda event: str(event.number))
INSERT = "INSERT INTO effect VALUES (%s)"


async def handle(event: Event, tx: Transaction) -> None:
    """One row and one event for each call that is committed: no constraint hides a second one."""
    if event.number == STRAGGLER and fate.arrow is Arrow.AFTER_OFFSET:
        await asyncio.Event().wait()
    await tx.session.execute(text("INSERT INTO effect VALUES (:number)"), {"number": event.number})
    await tx.send(HANDLED, event)
    if event.number in POISON:
        raise ValueError(f"event {event.number} is poison")


async def handle_retries_once(event: Event, record: Record, tx: Transaction) -> None:
    """As `handle`, but what is flaky fails on its first topic alone."""
    await handle(event, tx)
    fail_or_die(event, record)


async def handle_retries(event: Event, record: Record) -> None:
    """The effect is a transaction of its own, at once: what is handled twice takes place twice."""
    if event.number not in POISON and not (event.number in FLAKY and record.topic == TOPIC):
        ledger.execute(INSERT, (event.number,))
    fail_or_die(event, record)


def fail_or_die(event: Event, record: Record) -> None:
    """On a retry topic the deadly one dies behind its effect."""
    if event.number in POISON or (event.number in FLAKY and record.topic == TOPIC):
        raise ValueError(f"event {event.number} fails")
    if fate.arrow is not None and event.number == fate.arrow.deadly:
        fate.reach(Arrow.RETRY_HANDLED)


def listen() -> None:
    """One listener, of the road that this row is of."""
    events = Topic(TOPIC, Event)
    if ROAD == "retries":
        app.listener(events, retry=RETRY)(handle_retries)
    elif ROAD == "retries once":
        app.listener(events, retry=RETRY)(handle_retries_once)
    else:
        app.listener(events, retry=InPlace(attempts=2, first_s=0.01, max_s=0.01))(handle)


def _end_with_the_table() -> None:
    sys.stdin.read()
    os._exit(3)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_table, daemon=True).start()
    wrap()
    listen()
    ledger = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
    asyncio.run(app.run(fail_fast=True))
