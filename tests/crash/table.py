"""SIGKILL at every arrow of the road, on real Kafka and PostgreSQL: nothing is lost, nothing doubled.

`make crash-table`, or `python -m tests.crash.table [ARROW …]` for single rows. In each row a
worker is killed at its arrow, another takes over, and when the group has no lag left the
ledgers are compared: every sound event has exactly one row in the database and no dead
letter, and what its handler sent by `tx.send` has come under one event id; every poison one
has no row, has sent nothing, and has at least one dead letter. Without `tx`, which is how
the road of retries is walked first, an effect may come twice, and must where nobody can know of
the first. A worker that did not die where it should makes the row red as well. CRASH_MUTANT, one
of `story.Mutant`, puts a bug into the workers: the table must turn red.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import LiteralString, cast
from urllib.parse import urlsplit

import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition

from ottla.embedded import EmbeddedPostgres
from ottla.postgres.migrations import upgrade
from tests.crash.story import (
    EVENTS,
    HALF,
    PARTITIONS,
    POISON,
    SOUND,
    STAGES,
    Arrow,
    Block,
    Event,
    key_of,
    partition_of,
)
from tests.support.apps import read_all
from tests.support.kafka_server import ROOT, Kafka, KafkaServer

_AT_ONCE = 3
_DEADLINE_S = 60.0
_LOOK_S = 0.1


class Red(Exception):
    """A row that did not come out as it must."""


@dataclass
class Row:
    """One arrow: its own topic, group, database and workers."""

    arrow: Arrow
    kafka: Kafka
    database_url: str
    folder: Path
    name: str = field(default_factory=lambda: f"crash-{uuid.uuid4().hex[:8]}")
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _readers: list[tuple[Consumer, str]] = field(default_factory=list)
    """Of each group the topic that it reads, in the order in which a record passes them."""

    def run(self) -> str:
        """Kill, take over, compare; the row's figures.

        Raises:
            Red: they are wrong, or the worker did not die at its arrow.
        """
        for topic in (self.name, *map(self._beside, (*self._stages, "-dlt")), f"{self.name}-handled"):
            self.kafka.create_topic(topic, PARTITIONS)
        with contextlib.ExitStack() as stack:
            stack.callback(self._end_workers)
            for suffix in ("", *self._stages):
                client = {
                    "bootstrap.servers": self.kafka.bootstrap_servers,
                    "group.id": f"{self.name}{suffix}",
                }
                consumer = Consumer({**client, "enable.auto.commit": False})
                stack.callback(consumer.close)
                self._readers.append((consumer, self._beside(suffix) if suffix else self.name))
            self._produce(range(HALF))
            first = self._start(self.arrow)
            self._until("the first half is handled", lambda: self._handled() >= HALF)
            if self.arrow is not Arrow.REVOKED:
                self._until("the first half is committed", lambda: self._lag() == 0)
            self._produce(range(HALF, EVENTS))
            if self.arrow is Arrow.REVOKED:
                self._until("the second half is handled", lambda: self._handled() >= EVENTS)
                self._start(None)  # its coming takes a partition from the first
            self._until("the worker dies", lambda: first.poll() is not None)
            self._check_death(first)
            if self.arrow is not Arrow.REVOKED:
                self._start(None)
            self._until("all is committed", lambda: self._lag() == 0)
            self._until("all is relayed", lambda: self._count("SELECT count(*) FROM ottla.outbox") == 0)
        return self._compare()

    @property
    def _is_of_retries(self) -> bool:
        return self.arrow.block is Block.RETRIES

    @property
    def _stages(self) -> tuple[str, ...]:
        return STAGES if self._is_of_retries else ()

    @property
    def _road(self) -> str:
        if not self._is_of_retries:
            return ""
        return "retries once" if self.arrow.has_inbox else "retries"

    def _beside(self, suffix: str) -> str:
        return f"{self.name}-{self.name}{suffix}"

    def _produce(self, numbers: range) -> None:
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap_servers})
        for number in numbers:
            producer.produce(
                self.name,
                key=key_of(number),
                value=Event(number=number).model_dump_json(),
                headers=[] if self._is_of_retries else [("ottla-event-id", str(number).encode())],
                partition=partition_of(number),
            )
        if producer.flush(_DEADLINE_S):
            raise Red("the events could not be sent")

    def _start(self, arrow: Arrow | None) -> subprocess.Popen[bytes]:
        """A worker that ends with this process: it reads the other end of its input."""
        number = len(self.workers) + 1
        environment = {
            "CRASH_ARROW": "" if arrow is None else arrow.name,
            "CRASH_TOPIC": self.name,
            "CRASH_ROAD": self._road,
            "CRASH_GROUP": self.name,
            "CRASH_FILE": str(self._file(number)),
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA_SESSION_TIMEOUT_S": "6",
            "KAFKA_COMMIT_INTERVAL_S": "3600" if arrow is Arrow.REVOKED else "0.2",
            "DATABASE_URL": self.database_url,
            "OTTLA_CONFIG": os.devnull,
        }
        with self._file(number).with_suffix(".log").open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.worker"],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        self.workers.append(worker)
        return worker

    def _file(self, number: int) -> Path:
        return self.folder / f"{self.arrow.name}-{number}"

    def _told(self, number: int) -> list[list[str]]:
        file = self._file(number)
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    def _until(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _DEADLINE_S
        while not condition():
            if time.monotonic() > deadline or any(worker.poll() not in {None, -9} for worker in self.workers):
                log = self._file(len(self.workers)).with_suffix(".log").read_text()[-3_000:]
                raise Red(f"never came: {what}\n{log}")
            time.sleep(_LOOK_S)

    def _handled(self) -> int:
        """Events that have a row, or a dead letter: one of which the inbox knows, where there is an inbox."""
        if not self.arrow.has_inbox:
            consumer, _ = self._readers[0]
            partitions = [TopicPartition(self._beside("-dlt"), number) for number in range(PARTITIONS)]
            letters = sum(consumer.get_watermark_offsets(p, timeout=_DEADLINE_S)[1] for p in partitions)
            return letters + self._count("SELECT count(DISTINCT number) FROM effect")
        return self._count(
            "SELECT (SELECT count(DISTINCT number) FROM effect)"
            " + (SELECT count(*) FROM ottla.inbox WHERE status = 'dead')"
        )

    def _count(self, query: LiteralString) -> int:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return int((connection.execute(query).fetchone() or [0])[0])

    def _lag(self) -> int:
        """Of all groups; asked in the order of the topics, so that nothing slips from one into the next."""
        lag = 0
        for consumer, topic in self._readers:
            partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
            for answer in consumer.committed(partitions, timeout=_DEADLINE_S):
                _, high = consumer.get_watermark_offsets(answer, timeout=_DEADLINE_S)
                lag += high - max(0, answer.offset)
        return lag

    def _check_death(self, worker: subprocess.Popen[bytes]) -> None:
        told = self._told(1)
        # Not always last: another of its threads may have polled while it died.
        if worker.returncode != -signal.SIGKILL or ["died", self.arrow.name] not in told:
            raise Red(f"vacuous: the worker ended with {worker.returncode}, its last words were {told[-1]}")

    def _end_workers(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()
            if worker.stdin is not None:
                worker.stdin.close()

    def _compare(self) -> str:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            rows = Counter(number for (number,) in connection.execute("SELECT number FROM effect"))
        letters = Counter(
            int(json.loads(message.value() or b"")["number"])
            for message in read_all(self.kafka, self._beside("-dlt"))
        )
        sent, sent_twice = self._sent()
        lost = sum(not rows[number] for number in SOUND) + sum(not letters[number] for number in POISON)
        lost += sum(number not in sent for number in SOUND) if self.arrow.has_inbox else 0
        again = sum(count - 1 for count in rows.values())
        doubled = sum(bool(rows[number]) for number in letters) + (again if self.arrow.has_inbox else 0)
        doubled += sum(len(ids) - 1 for ids in sent.values())
        misplaced = sum(number not in POISON for number in letters)
        misplaced += sum(number in POISON for number in (*rows, *sent))
        polled = [[number for word, number in self._told(n) if word == "polled"] for n in (1, 2)]
        redelivered = len(set(polled[0]) & set(polled[1]))
        figures = (
            f"lost={lost} doubled={doubled} redelivered={redelivered} (≥ {self.arrow.redelivered}) "
            f"dead_letters={letters.total()} (≥ {self.arrow.dead_letters}) "
            f"sent_twice={sent_twice} (≥ {self.arrow.sent_twice})"
        )
        forwarded = 0
        if self._is_of_retries:
            forwarded = len(read_all(self.kafka, self._beside(STAGES[0])))
            figures += f" forwarded={forwarded} (≥ {self.arrow.forwarded})"
        if not self.arrow.has_inbox:
            figures += f" handled_twice={again} (≥ {self.arrow.handled_twice})"
        if lost or doubled or misplaced:
            raise Red(f"{figures} misplaced={misplaced}")
        if (
            redelivered < self.arrow.redelivered
            or letters.total() < self.arrow.dead_letters
            or sent_twice < self.arrow.sent_twice
            or (self._is_of_retries and forwarded < self.arrow.forwarded)
            or again < self.arrow.handled_twice
        ):
            raise Red(f"{figures} vacuous")
        return figures

    def _sent(self) -> tuple[dict[int, set[bytes]], int]:
        """The event ids under which each event's handler has sent, and how many came a second time."""
        messages = read_all(self.kafka, f"{self.name}-handled")
        sent: dict[int, set[bytes]] = defaultdict(set)
        for message in messages:
            number = int(json.loads(message.value() or b"")["number"])
            sent[number].add(cast("dict[str, bytes]", dict(message.headers() or ()))["ottla-event-id"])
        return dict(sent), len(messages) - sum(map(len, sent.values()))


@contextlib.contextmanager
def _database(server: str) -> Iterator[str]:
    """A database of a row's own. The ledger has no key: a second effect would be a second row."""
    name = f"crash_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
    url = urlsplit(server)._replace(path=f"/{name}").geturl()
    try:
        upgrade(url)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE effect (number integer NOT NULL)")
        yield url
    finally:
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _servers(stack: contextlib.ExitStack) -> tuple[Kafka, str]:
    """KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL, else servers of our own."""
    brokers, database_url = os.environ.get("KAFKA_BOOTSTRAP_SERVERS"), os.environ.get("DATABASE_URL")
    kafka = Kafka(brokers) if brokers else stack.enter_context(KafkaServer())
    return kafka, database_url or stack.enter_context(EmbeddedPostgres(durable=False)).url


def main(arrows: list[Arrow]) -> int:
    """Print a row for each of `arrows`, and how many came out right, block by block."""
    is_right = True
    with contextlib.ExitStack() as stack:
        kafka, server = _servers(stack)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ottla-crash-")))

        rows = [Row(arrow, kafka, stack.enter_context(_database(server)), folder) for arrow in arrows]
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=_AT_ONCE))
        results = [(row.arrow, pool.submit(row.run)) for row in rows]
        for block in Block:
            part = [result for result in results if result[0].block is block]
            right = sum([_is_right(arrow, future) for arrow, future in part])
            is_right &= right == len(part)
            if part:
                print(f"{block.value}: {right} of {len(part)}")
    return 0 if is_right else 1


def _is_right(arrow: Arrow, future: Future[str]) -> bool:
    """Print the row once it is there."""
    try:
        print(f"{arrow.value:<38} {future.result()}", flush=True)
    except Red as error:
        print(f"{arrow.value:<38} RED {error}", flush=True)
        return False
    return True


if __name__ == "__main__":
    sys.exit(
        main(
            [Arrow[name] for name in sys.argv[1:]]
            or sorted(Arrow, key=lambda arrow: list(Block).index(arrow.block))
        )
    )
