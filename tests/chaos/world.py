"""One run's topics, database and processes, on servers that other runs may have used before."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import LiteralString

import psycopg
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from examples.shop.billing.invoices import create_tables
from ottla.postgres.migrations import upgrade
from tests.chaos.schedule import ROLES, WITH_TRANSACTIONS, Protocol
from tests.chaos.servers import SESSION_S, USER, Servers
from tests.chaos.services.bank import TABLES
from tests.chaos.workload import ACCOUNTS, BALANCE, PARTITIONS
from tests.support.guarded_kafka import PASSWORD

ROOT = Path(__file__).parents[2]
PROCESSES = 2
"""Of each service."""
READS = {"billing": ("orders",), "bank": ("transfers", "credits"), "notes": ("orders",)}
"""Which topics each service listens to."""
STOP_S = 25.0
"""In which a process that is told to stop has to end: its drain bound is 10 s."""
_ASK_S = 10.0

_CONFIG = """\
[kafka.client]
"security.protocol" = "SASL_PLAINTEXT"
"topic.metadata.refresh.interval.ms" = 5000
[kafka.producer]
"delivery.timeout.ms" = 30000
"""
"""A send that cannot be, as to a topic that was made anew, is given up before the end of a run."""

_PROTOCOLS = {
    Protocol.EAGER: {"KAFKA_GROUP_PROTOCOL": "classic", "KAFKA_ASSIGNOR": "range"},
    Protocol.COOPERATIVE: {"KAFKA_GROUP_PROTOCOL": "classic", "KAFKA_ASSIGNOR": "cooperative-sticky"},
    Protocol.KIP_848: {"KAFKA_GROUP_PROTOCOL": "consumer"},
}


@dataclass
class Process:
    """One incarnation of one place of a service."""

    name: str
    popen: subprocess.Popen[bytes]
    history: Path
    log: Path

    def is_running(self) -> bool:
        return self.popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        """A signal, while it runs."""
        if self.is_running():
            self.popen.send_signal(number)

    def tell(self, command: str) -> None:
        """A command of `worker`, while it runs."""
        if self.popen.stdin is not None and self.is_running():
            try:
                self.popen.stdin.write(f"{command}\n".encode())
                self.popen.stdin.flush()
            except OSError:
                return  # it has just ended

    def is_stopped(self) -> bool:
        """Whether SIGSTOP has reached it."""
        try:
            stat = Path(f"/proc/{self.popen.pid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] == "T"

    def wait(self, within_s: float) -> bool:
        """Whether it ends in time."""
        try:
            self.popen.wait(within_s)
        except subprocess.TimeoutExpired:
            return False
        return True


@dataclass
class World:
    """What the conductor works on. Threads may share it."""

    servers: Servers
    folder: Path
    protocols: dict[str, Protocol]
    seed: int
    rate: float
    suffix: str = ""
    mutant: str = ""
    processes: dict[tuple[str, int], Process] = field(default_factory=dict)
    kept_letters: list[Message] = field(default_factory=list)
    """Of dead-letter topics that were deleted."""
    _started: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closing: bool = False

    @property
    def database(self) -> str:
        return f"chaos{self.suffix.replace('-', '_')}"

    def topic(self, name: str) -> str:
        """What the topic declared so is called in this run."""
        return name + self.suffix

    def group(self, role: str) -> str:
        """The consumer group of a service."""
        return role + self.suffix

    def dead_letter_topics(self) -> dict[str, tuple[str, str]]:
        """Each with the service and the topic that its letters are from."""
        return {
            f"{self.topic(topic)}-{self.group(role)}-dlt": (role, topic)
            for role, topics in READS.items()
            for topic in topics
        }

    def partitions(self) -> list[tuple[str, str, int]]:
        """Every partition that somebody reads: group, topic, number."""
        return [
            (self.group(role), self.topic(topic), number)
            for role, topics in READS.items()
            for topic in topics
            for number in range(PARTITIONS)
        ]

    def prepare(self) -> None:
        """Topics and tables."""
        for name in (
            *(self.topic(name) for name in ("orders", "transfers", "credits", "invoices")),
            *self.dead_letter_topics(),
        ):
            self.servers.kafka.create_topic(name, PARTITIONS)
        with psycopg.connect(self.servers.postgres.server.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {self.database}".encode())
        upgrade(self.database_url)
        create_tables(self.database_url)
        with self.sql() as connection:
            connection.execute(TABLES)
            for name in ACCOUNTS:
                connection.execute("INSERT INTO account VALUES (%s, %s)", (name, BALANCE))

    @property
    def database_url(self) -> str:
        return self.servers.postgres.url(self.database)

    def sql(self) -> psycopg.Connection:
        """A connection of the conductor's own, which no fault is between."""
        return psycopg.connect(self.database_url, autocommit=True, connect_timeout=10)

    def count(self, query: LiteralString) -> int:
        """The one number that `query` has."""
        with self.sql() as connection:
            return int((connection.execute(query).fetchone() or [0])[0])

    # -- processes

    def start_all(self) -> None:
        """All services, and the producers."""
        for role in ROLES:
            for index in range(PROCESSES):
                self.revive(role, index)
        self.start_producers()

    def revive(self, role: str, index: int) -> None:
        """Start the process of this place, unless it runs."""
        with self._lock:
            place = (role, index)
            if self._closing or (place in self.processes and self.processes[place].is_running()):
                return
            name = f"{role}-{index}-{self._started}"
            self.processes[place] = self._spawn(name, "tests.chaos.worker", [role], self._environment(role))

    def _environment(self, role: str) -> dict[str, str]:
        """What a service is started with."""
        config = self.folder / "ottla.toml"
        config.write_text(_CONFIG)
        environment = {
            "OTTLA_CONFIG": str(config),
            "KAFKA_BOOTSTRAP_SERVERS": self.servers.kafka.guarded,
            "KAFKA_GROUP_ID": self.group(role),
            "KAFKA_SECURITY": "scram",
            "KAFKA_USERNAME": USER,
            "KAFKA_PASSWORD": PASSWORD,
            "KAFKA_DRAIN_S": "10",
            **_PROTOCOLS[self.protocols.get(role, Protocol.COOPERATIVE)],
        }
        for name in ("orders", "transfers", "credits", "invoices", "stale"):
            environment[f"TOPICS__{name.upper()}"] = self.topic(name)
        if environment["KAFKA_GROUP_PROTOCOL"] == "classic":
            environment["KAFKA_SESSION_TIMEOUT_S"] = str(SESSION_S)
        if role in WITH_TRANSACTIONS:
            environment["DATABASE_URL"] = self.servers.postgres.url_through_proxy(self.database)
        if self.mutant:
            environment["CHAOS_MUTANT"] = self.mutant
        return environment

    def start_producers(self) -> None:
        """The process that sends."""
        arguments = [str(self.seed), str(self.rate), self.suffix]
        client = {"CHAOS_CLIENT": json.dumps(self.servers.kafka.properties())}
        with self._lock:
            self.processes["producers", 0] = self._spawn(
                f"producers-0-{self._started}", "tests.chaos.producers", arguments, client
            )

    def _spawn(self, name: str, module: str, arguments: list[str], environment: dict[str, str]) -> Process:
        self._started += 1
        history, log = self.folder / f"{name}.jsonl", self.folder / f"{name}.log"
        history.touch()
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("KAFKA_", "OTTLA_", "DATABASE_", "TOPICS__", "CHAOS_"))
        }
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [sys.executable, "-m", module, str(history), *arguments],
                cwd=ROOT,
                env={**inherited, **environment},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is the conductor's
            )
        return Process(name, popen, history, log)

    def close(self) -> None:
        """End every process."""
        with self._lock:
            self._closing = True
        for process in self.processes.values():
            process.send(signal.SIGCONT)
            process.send(signal.SIGKILL)
        for process in self.processes.values():
            process.popen.wait()
            if process.popen.stdin is not None:
                process.popen.stdin.close()

    # -- what Kafka knows

    def lag(self) -> dict[tuple[str, str, int], int]:
        """Of every partition that somebody reads. Raises KafkaException while brokers are away."""
        committed = self.committed()
        ends = self._ends()
        return {at: ends[at[1:]] - max(0, committed.get(at, 0)) for at in self.partitions()}

    def committed(self) -> dict[tuple[str, str, int], int]:
        """What each group has committed; -1001 for nothing. Raises KafkaException."""
        found = {}
        for role in READS:
            group = self.group(role)
            with self.reader(group) as consumer:
                asked = [TopicPartition(t, n) for g, t, n in self.partitions() if g == group]
                for answer in consumer.committed(asked, timeout=_ASK_S):
                    if answer.error is not None:
                        raise KafkaException(answer.error)
                    found[group, answer.topic, answer.partition] = answer.offset
        return found

    def _ends(self) -> dict[tuple[str, int], int]:
        return self._ends_of({(topic, number) for _, topic, number in self.partitions()})

    def length(self, topic: str) -> int:
        """How many offsets of `topic` are taken. Raises KafkaException."""
        return sum(self._ends_of({(topic, number) for number in range(PARTITIONS)}).values())

    def _ends_of(self, partitions: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
        with self.reader("ends") as consumer:
            return {
                at: consumer.get_watermark_offsets(TopicPartition(*at), timeout=_ASK_S)[1]
                for at in partitions
            }

    @contextmanager
    def reader(self, group: str) -> Iterator[Consumer]:
        """A client that belongs to `group` by name, and is no member."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.servers.kafka.bootstrap_servers,
                "group.id": group,
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        try:
            yield consumer
        finally:
            consumer.close()


def until(condition: Callable[[], bool], *, within_s: float, every_s: float = 0.1) -> bool:
    """Whether `condition` comes to hold in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True
