"""Several processes relay one outbox: each leads shards, which are dealt anew when one comes or dies.

A hand-over while all goes on is the hard part: a shard let go with a record still out, or
read by two, would send one twice or out of order. Nobody dies in it, so nothing may come twice.
"""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import psycopg

from ottla import App
from ottla.core.outbox import SHARDS
from tests.conftest import NewTopic
from tests.support.apps import read_all, running, settings_for, until
from tests.support.kafka_server import Kafka
from tests.support.orders import Order, drained, make_table, orders_topic, place, placed, sent
from tests.support.processes import program

CUSTOMERS = [f"customer-{number}" for number in range(40)]
WRITERS = 4
"""Fewer than connections: none waits for another's."""


def shares(*apps: App) -> list[int]:
    """How many shards each app leads, or has not let go yet."""
    return [0 if figures is None else figures.shards for figures in (app._figures().outbox for app in apps)]


def are_led(sql: psycopg.Connection) -> int:
    """How many shards of this database have a leader."""
    row = sql.execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid >= 1024 AND objid < 1040 "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchone()
    return 0 if row is None else int(row[0])


async def test_who_joins_gets_a_share_and_who_stops_leaves_it_and_nothing_is_sent_twice(
    kafka: Kafka, new_topic: NewTopic, migrated: str
) -> None:
    topic = orders_topic(new_topic(partitions=3))
    make_table(migrated)
    first, second, third = (
        App("shop", settings=settings_for(kafka, DATABASE_URL=migrated)) for _ in range(3)
    )
    are_writing = True
    numbers = dict.fromkeys(CUSTOMERS, 0)

    async def write(customers: list[str]) -> None:
        while are_writing:
            for customer in customers:
                await place(first, topic, Order(customer=customer, number=numbers[customer]))
                numbers[customer] += 1

    async def dealt(*expected: int) -> None:
        """So it is, and has gone on so for a while: every customer has ordered again."""
        apps = (first, second, third)[: len(expected)]
        await until(lambda: sorted(shares(*apps)) == sorted(expected), what=f"shares are {expected}")
        before = dict(numbers)
        await until(lambda: all(numbers[each] > before[each] for each in CUSTOMERS), what="orders go on")

    async with running(first):
        writers = asyncio.gather(*(write(CUSTOMERS[each::WRITERS]) for each in range(WRITERS)))
        await dealt(SHARDS)
        async with running(second):
            await dealt(8, 8)
            async with running(third):
                await dealt(6, 6, 4)
            await dealt(8, 8)
        await dealt(SHARDS)
        are_writing = False
        await writers
        await drained(first)

    assert sent(kafka, topic.name) == {each: [*range(numbers[each])] for each in CUSTOMERS}
    assert len(read_all(kafka, topic.name)) == len(placed(migrated))


async def test_the_shards_of_one_that_is_killed_are_taken_over_within_seconds(
    kafka: Kafka, new_topic: NewTopic, migrated: str, sql: psycopg.Connection, tmp_path: Path
) -> None:
    topic = orders_topic(new_topic(partitions=3))
    make_table(migrated)
    heir = App("shop", settings=settings_for(kafka, DATABASE_URL=migrated))
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "DATABASE_URL": migrated,
        "TOPIC": topic.name,
        "FROM": "0",
        "UNTIL": "0",
    }

    async with running(heir):
        with program("tests.support.services.placing", tmp_path, environment=environment) as other:
            await until(lambda: shares(heir) == [SHARDS // 2], what=f"they share\n{other.output()}")
            await until(lambda: are_led(sql) == SHARDS, what=f"the other has its share\n{other.output()}")
            other.send(signal.SIGKILL)
            began = time.monotonic()
            for customer in CUSTOMERS:
                await place(heir, topic, Order(customer=customer, number=0))
            await drained(heir)
            took_s = time.monotonic() - began

    assert took_s < 5
    assert sent(kafka, topic.name) == {each: [0] for each in CUSTOMERS}
