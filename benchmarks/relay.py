"""`make bench-relay`: how fast one process empties an outbox, and several that share it, on real Kafka.

RECORDS=… and RUNS=… make it shorter for a look; the verdict is meant for the defaults.

A run begins with processes that lead all shards of an empty outbox, and is timed from the commit
that fills it until it is empty. Several may be no slower than one. How much faster depends on what
else has a core: here the processes, the broker and PostgreSQL share the machine's.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from ottla.core.outbox import SHARDS, STRIPES
from ottla.embedded import EmbeddedPostgres
from ottla.postgres.database import Database
from ottla.postgres.migrations import upgrade
from ottla.postgres.outbox import PostgresOutbox
from ottla.records import EncodedRecord, Headers
from tests.support.apps import until
from tests.support.kafka_server import Kafka, KafkaServer
from tests.support.processes import program

RECORDS = int(os.environ.get("RECORDS", "30000"))
RUNS = int(os.environ.get("RUNS", "5"))
RELAYS = (1, 2, 4)
KEYS = 1_000
PARTITIONS = 6
VALUE = b"." * 200
TOPIC = "relayed"
LEAST_RATIO = 0.9
"""Of several to one. Below it the shards cost more than they bring."""


def main() -> int:
    with KafkaServer() as kafka, EmbeddedPostgres() as postgres, TemporaryDirectory() as folder:
        kafka.create_topic(TOPIC, PARTITIONS)
        upgrade(postgres.url)
        rates: dict[int, list[float]] = {relays: [] for relays in RELAYS}
        for number in range(RUNS):
            for relays in RELAYS[:: 1 if number % 2 else -1]:
                rates[relays].append(asyncio.run(rate(kafka, postgres.url, Path(folder), relays)))
                print(
                    f"run {number + 1} of {RUNS}: {relays} relays {rates[relays][-1]:,.0f} records/s",
                    flush=True,
                )
    medians = {relays: statistics.median(measured) for relays, measured in rates.items()}
    ratios = {relays: medians[relays] / medians[1] for relays in RELAYS[1:]}
    missed = [
        f"{relays} relays at {ratio:.2f} of one"
        for relays, ratio in ratios.items()
        if ratio < LEAST_RATIO and max(rates[relays]) < min(rates[1])
    ]
    if missed:
        print(f"bench-relay: MISSED {'; '.join(missed)}")
    told = " ".join(f"ratio_{relays}={ratio:.2f}" for relays, ratio in ratios.items())
    print(f"bench-relay: one={medians[1]:.0f}/s {told}")
    return 1 if missed else 0


async def rate(kafka: Kafka, url: str, folder: Path, relays: int) -> float:
    """Records a second."""
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "DATABASE_URL": url,
        "TOPIC": TOPIC,
        "FROM": "0",
        "UNTIL": "0",
    }
    with ExitStack() as stack, psycopg.connect(url, autocommit=True) as sql:
        for _ in range(relays):
            stack.enter_context(program("tests.support.services.placing", folder, environment=environment))
        await until(lambda: leaders(sql) == (relays, SHARDS), what="all shards are shared")
        began = await fill(url)
        assert not is_empty(sql), "nothing was stored, or it is gone already: take more RECORDS"
        await until(lambda: is_empty(sql), what="the outbox is empty", within_s=120)
        took_s = time.perf_counter() - began
    return RECORDS / took_s


def leaders(sql: psycopg.Connection) -> tuple[int, int]:
    """How many sessions lead shards, and how many shards they lead."""
    row = sql.execute(
        "SELECT count(DISTINCT pid), count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted "
        "AND objid >= %s AND objid < %s",
        [STRIPES, STRIPES + SHARDS],
    ).fetchone()
    assert row is not None
    return row[0], row[1]


async def fill(url: str) -> float:
    """Store all records in one transaction; when it was committed."""
    records = [
        EncodedRecord(TOPIC, f"C{number % KEYS:05d}".encode(), VALUE, Headers((("event_id", b"e"),)), None)
        for number in range(RECORDS)
    ]
    database = Database(url)
    await database.open()
    try:
        async with database.connection() as connection:
            async with connection.begin():
                await connection.run_sync(PostgresOutbox(database).put, records)
            return time.perf_counter()
    finally:
        await database.close()


def is_empty(sql: psycopg.Connection) -> bool:
    return sql.execute("SELECT FROM ottla.outbox LIMIT 1").fetchone() is None


if __name__ == "__main__":
    sys.exit(main())
