"""One run: random records through listeners of every kind, on real Kafka; then each is looked for.

`a` has retry topics and a handler of its dead letters, `b` retries in place and has a replay
topic, `c` is as `b` with a `Transaction`. The guard of each is lifted, so that the run ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NoReturn, cast

import psycopg
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as KafkaMessage
from pydantic import BaseModel
from sqlalchemy import text

from ottla import (
    App,
    DeadLetter,
    DeadLetterTopic,
    Guard,
    Headers,
    InPlace,
    Record,
    Retry,
    RetryTopics,
    Skip,
    Topic,
    Transaction,
)
from ottla.core.identity import event_id
from tests.fuzz.records import NUMBER_HEADER, Records, Sent
from tests.support.apps import NO_COORDINATOR_YET, read_all, settings_for
from tests.support.kafka_server import Kafka

PARTITIONS = 3
DEADLINE_S = 240.0
RETRY = RetryTopics(attempts=3, first_s=0.05, factor=2)
IN_PLACE = InPlace(attempts=2, first_s=0.01, max_s=0.01)
LIFTED = DeadLetterTopic(guard=Guard(run=10**9, ratio=1))


class Event(BaseModel):
    deed: str
    after_s: float | None = None
    note: str = ""


class Unspeakable(Exception):
    """Cannot be put into words."""

    def __str__(self) -> NoReturn:
        raise RuntimeError("no words")


@dataclass
class Ledger:
    """What handlers saw, by the numbers of the records."""

    handled: Counter[int] = field(default_factory=Counter)
    skipped: Counter[int] = field(default_factory=Counter)
    letters: Counter[int] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)

    def do(self, event: Event, record: Record) -> None:
        """As the event says; what is not known is an event that passes."""
        number = number_of(record.headers)
        if event.deed == "skip":
            self.skipped[number] += 1
        if (error := error_of(event, record)) is not None:
            raise error
        self.handled[number] += 1


def error_of(event: Event, record: Record) -> BaseException | None:
    """What the event tells its handler to raise; None to pass, as for whatever is not known."""
    after = None if event.after_s is None else timedelta(seconds=event.after_s)
    unspeakable = Unspeakable()
    unspeakable.__cause__ = unspeakable
    errors: dict[str, BaseException] = {
        "fail": ValueError(event.note),
        "retry": Retry(after=after),
        "dead": DeadLetter(event.note),
        "skip": Skip(event.note),
        "fatal": ZeroDivisionError(event.note),
        "exit": SystemExit(1),
        "cancel": asyncio.CancelledError(),
        "unspeakable": unspeakable,
        "group": BaseExceptionGroup("many", [KeyError(1), GeneratorExit()]),
    }
    if record.attempt == 1:
        errors["flaky"] = OSError(event.note)
    return errors.get(event.deed)


@dataclass(frozen=True, slots=True)
class Result:
    """How the records of a run ended; `wrong` says what no right program does, one line each."""

    ends: Counter[str]
    unaccounted: int
    crashes: list[str]
    wrong: list[str]


def number_of(headers: Any) -> int:
    return int(dict(headers)[NUMBER_HEADER])


async def run(kafka: Kafka, database_url: str, *, seed: int, count: int) -> Result:
    """Send `count` records, let the listeners end them all, and account for each."""
    fuzz = Fuzz(kafka, database_url, seed, count)
    await asyncio.to_thread(fuzz.prepare)
    await fuzz.handle()
    return await asyncio.to_thread(fuzz.account)


class Fuzz:
    def __init__(self, kafka: Kafka, database_url: str, seed: int, count: int) -> None:
        self.kafka = kafka
        self.database_url = database_url
        self.group = f"fuzz-{uuid.uuid4().hex[:8]}"
        self.a, self.b, self.c = (f"{self.group}-{letter}" for letter in "abc")
        stages = [self._beside(self.a, stage.suffix) for stage in RETRY.stages]
        self.dead = {topic: self._beside(topic, "-dlt") for topic in (self.a, self.b, self.c)}
        replays = [self._beside(topic, "-replay") for topic in (self.b, self.c)]
        # In the order in which a record passes them: nothing slips from one into the one before.
        self.read_by = {
            self.a: self.group,
            **{
                topic: f"{self.group}{stage.suffix}"
                for topic, stage in zip(stages, RETRY.stages, strict=True)
            },
            self.dead[self.a]: f"{self.group}-dlt",
            self.b: self.group,
            self.c: self.group,
            **dict.fromkeys(replays, f"{self.group}-replay"),
        }
        weights = {self.a: 30, stages[0]: 15, stages[1]: 15, self.dead[self.a]: 5, self.b: 14, self.c: 5}
        weights |= {replays[0]: 14, replays[1]: 2}
        self.shared = {*stages, self.dead[self.a]}
        """Where the group header tells whose a record is."""
        self.records = Records(seed, self.group, weights)
        self.count = count
        self.sent: list[Sent] = []
        self.ledger = Ledger()
        self.counts: dict[str, int] = {}

    def _beside(self, topic: str, suffix: str) -> str:
        return f"{topic}-{self.group}{suffix}"

    def prepare(self) -> None:
        """The topics, and the records in them."""
        for topic in {*self.read_by, *self.dead.values()}:
            self.kafka.create_topic(topic, PARTITIONS)
        producer = Producer(
            {
                "bootstrap.servers": self.kafka.bootstrap_servers,
                "linger.ms": 20,
                "queue.buffering.max.messages": 10**6,
            }
        )
        refused: list[str] = []

        def delivered(error: Any, _: KafkaMessage) -> None:
            if error is not None:
                refused.append(str(error))

        for record in self.records.take(self.count):
            producer.produce(
                record.topic,
                key=record.key,
                value=record.value,
                headers=list(record.headers),
                on_delivery=delivered,
            )
            producer.poll(0)
            self.sent.append(record)
        assert producer.flush(60) == 0
        assert not refused, refused[0]

    async def handle(self) -> None:
        """Until all is committed and the outbox is empty, or something has crashed."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, told: self.ledger.crashes.append(str(told)))
        app = self._app()
        running = loop.create_task(app.run(fail_fast=True))
        try:
            async with asyncio.timeout(DEADLINE_S):
                with contextlib.closing(_Lag(self.kafka, self.read_by)) as lag:
                    # The broker tells nobody of commits.
                    while not running.done() and await asyncio.to_thread(lag.is_left):  # noqa: ASYNC110
                        await asyncio.sleep(0.2)
                while not running.done() and (await app.outbox()).backlog:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        except TimeoutError:
            self.ledger.crashes.append(f"not over after {DEADLINE_S} s: {app.unready()}")
        counts = app.counts()
        self.counts = {"skipped": counts.skipped, "duplicates": counts.duplicates}
        if running.done():
            self.ledger.crashes.append(f"the app has ended: {running.exception()!r}")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    def _app(self) -> App:
        settings = settings_for(self.kafka, DATABASE_URL=self.database_url, KAFKA_GROUP_ID=self.group)
        app, ledger = App(self.group, settings=settings, fatal=(ZeroDivisionError,)), self.ledger

        @app.listener(Topic(self.a, Event), retry=RETRY, dead_letter=LIFTED)
        async def handle_a(event: Event, record: Record) -> None:
            ledger.do(event, record)

        @app.dlt_handler(Topic(self.a, Event))
        async def look_at(record: Record) -> None:
            ledger.letters[number_of(record.headers)] += 1

        @app.listener(Topic(self.b, Event), retry=IN_PLACE, dead_letter=LIFTED)
        async def handle_b(event: Event, record: Record) -> None:
            ledger.do(event, record)

        @app.listener(Topic(self.c, Event), retry=IN_PLACE, dead_letter=LIFTED)
        async def handle_c(event: Event, record: Record, tx: Transaction) -> None:
            number = number_of(record.headers)
            await tx.session.execute(
                text("INSERT INTO effect VALUES (:id, 1)"), {"id": f"{self.group} {number}"}
            )
            ledger.do(event, record)

        return app

    def account(self) -> Result:
        """Look for each record's end, of which it must have one, and for what a dead letter must keep."""
        buried, wrong = self._buried()
        ends, unaccounted = Counter[str](), 0
        ended = {self._event(record) for record in self.sent if self._ends_of(record, buried)}
        for record in self.sent:
            found = self._ends_of(record, buried)
            if not found and self._event(record) in ended:
                found = Counter(["duplicate"])  # of one that says by chance that it is the same event
            ends.update(found)
            if not found:
                unaccounted += 1
                wrong.append(f"unaccounted: {record}")
            elif found.total() > 1:
                wrong.append(f"ended more than once: {dict(found)} {record}")
            is_looked_at = record.topic.startswith(self.a) and buried[record.number] > 0
            if is_looked_at and self.ledger.letters[record.number] != buried[record.number]:
                wrong.append(f"a dead letter that was not looked at once: {record}")
        skipped = ends["foreign"] + ends["skipped"]
        # A twin of what is dead counts as dead-lettered, though it has no letter of its own.
        if self.counts["skipped"] != skipped or self.counts["duplicates"] > ends["duplicate"]:
            wrong.append(f"skipped: {skipped} by our count, but {self.counts}")
        return Result(ends, unaccounted, self.ledger.crashes, [*wrong, *self._wrong_effects()])

    def _event(self, record: Sent) -> Hashable:
        """What the inbox knows a record by, where there is one; else what no other record has."""
        if not record.topic.startswith(self.c):
            return record.number
        return event_id(Headers(record.headers), "", 0, record.number, None), record.key, record.value

    def _ends_of(self, record: Sent, buried: Counter[int]) -> Counter[str]:
        number, ledger = record.number, self.ledger
        is_letter = record.topic in self.dead.values()
        return +Counter(
            {
                "handled": ledger.handled[number],
                "skipped": ledger.skipped[number],
                "dead-lettered": buried[number],
                "looked at": ledger.letters[number] if is_letter else 0,
                "foreign": int(record.topic in self.shared and record.is_foreign(self.group)),
            }
        )

    def _buried(self) -> tuple[Counter[int], list[str]]:
        """Which records were dead-lettered, and of which the dead letter is not the record."""
        buried, wrong = Counter[int](), list[str]()
        for topic, letters in self.dead.items():
            for letter in read_all(self.kafka, letters):
                record = self.sent[number_of(letter.headers())]
                if record.topic != letters:  # not one that was sent there to begin with
                    buried[record.number] += 1
                    wrong += _differences(record, letter, keeps_headers=topic != self.a)
        return buried, wrong

    def _wrong_effects(self) -> list[str]:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            mine = connection.execute(
                "SELECT event_id FROM effect WHERE event_id LIKE %s", (f"{self.group} %",)
            )
            effects = Counter(int(event_id.split()[1]) for (event_id,) in mine)
        of_c = {record.number for record in self.sent if record.topic.startswith(self.c)}
        handled = Counter({number: 1 for number in of_c if self.ledger.handled[number]})
        return [] if effects == handled else [f"{effects.total()} effects of {handled.total()} records"]


def _differences(record: Sent, letter: KafkaMessage, *, keeps_headers: bool) -> list[str]:
    """What a dead letter has not kept of its record. On retry topics what tells of a failure is replaced."""
    headers = cast("list[tuple[str, bytes | None]]", letter.headers() or [])
    is_same = (letter.key(), letter.value()) == (record.key, record.value)
    if keeps_headers:
        is_same &= tuple(headers[: len(record.headers)]) == record.headers
    return [] if is_same else [f"a dead letter differs: {record}"]


class _Lag:
    """Looks for records that are not committed yet."""

    def __init__(self, kafka: Kafka, read_by: dict[str, str]) -> None:
        self._consumers = [
            (Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": group}), topic)
            for topic, group in read_by.items()
        ]

    def is_left(self) -> bool:
        """Whether there is any; asked in the order in which a record passes the topics."""
        for consumer, topic in self._consumers:
            partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
            try:
                answers = consumer.committed(partitions, timeout=30)
            except KafkaException as error:
                if error.args[0].code() not in NO_COORDINATOR_YET:
                    raise
                return True  # a broker that has just started
            for answer in answers:
                _, high = consumer.get_watermark_offsets(answer, timeout=30)
                if high > max(0, answer.offset):
                    return True
        return False

    def close(self) -> None:
        for consumer, _ in self._consumers:
            consumer.close()
