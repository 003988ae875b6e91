"""Three brokers, PostgreSQL, and the processes of a run: who relays is asked of the database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import LiteralString, NamedTuple
from urllib.parse import urlsplit

import psycopg

from ottla.core.identity import EVENT_ID_HEADER
from ottla.embedded import EmbeddedPostgres
from ottla.postgres.migrations import upgrade
from tests.outbox_chaos.checks import Committed, Published
from tests.outbox_chaos.plan import WRITERS
from tests.outbox_chaos.services import EFFECTS
from tests.outbox_chaos.writer import EVENTS, TABLES
from tests.support.apps import read_all
from tests.support.failing import header
from tests.support.kafka_cluster import KafkaCluster
from tests.support.kafka_server import ROOT

PARTITIONS = 6
RELAYS = 3
_WRITING_PROCESSES = 4
_SHOP, _READER = "shop", "reader"
_LEADERS = """
SELECT usename, shards, (SELECT min(id) FROM ottla.outbox WHERE stripe % 16 = ANY (shards)) FROM (
    SELECT usename, array_agg(objid::bigint::int - 1024 ORDER BY objid) AS shards
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND objid >= 1024 AND objid < 1040 AND granted AND datname = 'shop'
    GROUP BY usename
) AS leaders
"""


class Leads(NamedTuple):
    """What one process leads: its shards, and the lowest row that waits in them."""

    shards: tuple[int, ...]
    lowest: int | None


@dataclass
class World:
    """What the conductor works on."""

    kafka: KafkaCluster
    postgres: EmbeddedPostgres
    folder: Path
    seed: int
    events: int
    relays: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    """By the user of the database that each is."""
    writers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    reader: subprocess.Popen[bytes] | None = None
    _started: int = 0

    def prepare(self) -> None:
        """The topic, and the databases of the writing service and of the reading one."""
        self.kafka.create_topic(EVENTS.name, PARTITIONS)
        self.kafka.create_topic(f"{EVENTS.name}-readers-dlt", PARTITIONS)
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET track_commit_timestamp = on")
            connection.execute("ALTER SYSTEM SET max_connections = 200")
            for user in self.users():
                connection.execute(f"CREATE ROLE {user} LOGIN SUPERUSER PASSWORD 'relays'".encode())
        self.postgres.stop()
        self.postgres.start()
        for name, tables in ((_SHOP, TABLES), (_READER, EFFECTS)):
            with psycopg.connect(self.postgres.url, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}".encode())
            upgrade(self.postgres.url_of(name))
            with self.sql(name) as connection:
                connection.execute(tables.encode())

    @staticmethod
    def users() -> list[str]:
        """Of the processes that relay."""
        return [f"relay_{number}" for number in range(RELAYS)]

    def sql(self, database: str = _SHOP) -> psycopg.Connection:
        """A connection of the conductor's own."""
        return psycopg.connect(self.postgres.url_of(database), autocommit=True)

    # -- processes

    def start_all(self) -> None:
        """Those that relay, the one that reads, and those that write."""
        for user in self.users():
            self.start_relay(user)
        reading = {"DATABASE_URL": self.postgres.url_of(_READER), "KAFKA_SESSION_TIMEOUT_S": "10"}
        self.reader = self._spawn("reader", _service("reader"), reading)
        for first in range(_WRITING_PROCESSES):
            numbers = map(str, range(first, WRITERS, _WRITING_PROCESSES))
            command = ["-m", "tests.outbox_chaos.writer", str(self.seed), str(self.events), *numbers]
            database = {"DATABASE_URL": self.postgres.url_of(_SHOP)}
            self.writers.append(self._spawn("writer", command, database))

    def start_relay(self, user: str) -> None:
        """The process of that user, which does not run."""
        url = urlsplit(self.postgres.url_of(_SHOP))
        at = f"{url.hostname}:{url.port}"
        self.relays[user] = self._spawn(
            user, _service("relay"), {"DATABASE_URL": f"postgresql://{user}:relays@{at}/{_SHOP}"}
        )

    def _spawn(self, name: str, command: list[str], more: dict[str, str]) -> subprocess.Popen[bytes]:
        self._started += 1
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("KAFKA_", "OTTLA_", "DATABASE_", "TOPICS__"))
        }
        environment = {"KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers, "OTTLA_CONFIG": "/dev/null"}
        with (self.folder / f"{self._started:03}-{name}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env={**inherited, **environment, **more},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is the conductor's
            )

    def hold_writers(self) -> None:
        """SIGSTOP to those that write, wherever in their transactions they are."""
        for process in self.writers:
            process.send_signal(signal.SIGSTOP)

    def let_write(self) -> None:
        """The end of `hold_writers`."""
        for process in self.writers:
            process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """SIGTERM to what runs for ever; SIGKILL to what has not ended after half a minute."""
        running = [*self.relays.values(), *([self.reader] if self.reader else [])]
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()

    def close(self) -> None:
        """End every process."""
        every = [*self.relays.values(), *self.writers, *([self.reader] if self.reader else [])]
        for process in every:
            process.kill()
        for process in every:
            process.wait()

    # -- what can be seen of a run

    def leaders(self, sql: psycopg.Connection) -> dict[str, Leads]:
        """By their users, those who hold locks of the outbox's shards."""
        rows = sql.execute(_LEADERS).fetchall()
        return {user: Leads(tuple(shards), lowest) for user, shards, lowest in rows}

    def relayed(self, sql: psycopg.Connection) -> tuple[int, int]:
        """How many rows have been published and deleted, and how many wait."""
        query = "SELECT (SELECT last_value FROM ottla.outbox_id_seq), (SELECT count(*) FROM ottla.outbox)"
        last, waiting = sql.execute(query).fetchone() or (0, 0)
        return max(0, last - waiting), waiting

    def count(self, query: LiteralString, database: str = _SHOP) -> int:
        """The one number that `query` has."""
        with self.sql(database) as connection:
            row = connection.execute(query).fetchone()
            return 0 if row is None else int(row[0])

    def effects(self) -> list[str]:
        """The events that the reader was told, as often as they took effect."""
        with self.sql(_READER) as connection:
            return [event_id for (event_id,) in connection.execute("SELECT event_id FROM effect")]

    def committed(self) -> list[Committed]:
        """The ledger, with the times at which its transactions were committed."""
        query = """
            SELECT event_id, key, (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1e6)::bigint, place
            FROM ledger
        """
        with self.sql() as connection:
            return [Committed(*row) for row in connection.execute(query)]

    def published(self) -> list[Published]:
        """The topic, per key in order."""
        return [
            Published((header(message, EVENT_ID_HEADER) or b"").decode(), (message.key() or b"").decode())
            for message in read_all(self.kafka, EVENTS.name)
        ]


def _service(name: str) -> list[str]:
    return ["-c", "from ottla.cli.main import main; main()", "run", f"tests.outbox_chaos.services:{name}"]


@contextmanager
def running_world(folder: Path, seed: int, events: int) -> Iterator[World]:
    """Servers and tables, until the block ends; processes are started in it."""
    with ExitStack() as stack:
        kafka = stack.enter_context(KafkaCluster())
        # Nothing here strikes the database, so nothing is tried by waiting for the disk.
        postgres = stack.enter_context(EmbeddedPostgres(durable=False))
        world = World(kafka, postgres, folder, seed, events)
        stack.callback(world.close)
        world.prepare()
        yield world
