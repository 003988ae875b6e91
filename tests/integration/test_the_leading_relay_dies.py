"""The process that relays dies, or stands still, with records on their way: another follows within seconds.

Between an acknowledgement and the end of its row there is always a moment, so a record
may come twice, under its event id, and never not at all.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

from ottla import App
from ottla.core.identity import EVENT_ID_HEADER
from tests.conftest import NewTopic
from tests.support.apps import read_all, running, settings_for, until
from tests.support.failing import header
from tests.support.kafka_server import Kafka
from tests.support.orders import (
    Order,
    drained,
    make_table,
    orders_topic,
    place,
    placed,
    sent,
    without_repeats,
)
from tests.support.processes import program
from tests.support.services.placing import CUSTOMERS

MANY = 1_000_000


def placing(kafka: Kafka, topic: str, url: str) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "DATABASE_URL": url,
        "TOPIC": topic,
        "FROM": "0",
        "UNTIL": str(MANY),
    }


def check_ledgers(kafka: Kafka, topic: str, url: str) -> None:
    """Every row has its event, per customer in order, and no event came under two ids."""
    rows = placed(url)
    by_customer = {name: without_repeats(numbers) for name, numbers in sent(kafka, topic).items()}
    event_ids = {header(message, EVENT_ID_HEADER) for message in read_all(kafka, topic)}
    assert by_customer.pop("last") == [MANY]
    assert all(numbers == list(range(len(numbers))) for numbers in by_customer.values())
    assert sum(map(len, by_customer.values())) + 1 == len(rows) == len(event_ids)


async def test_a_killed_one_is_followed_within_seconds(
    kafka: Kafka, new_topic: NewTopic, migrated: str, tmp_path: Path
) -> None:
    topic = orders_topic(new_topic(partitions=3))
    make_table(migrated)
    heir = App("shop", settings=settings_for(kafka, DATABASE_URL=migrated))

    environment = placing(kafka, topic.name, migrated)
    with program("tests.support.services.placing", tmp_path, environment=environment) as first:
        await until(lambda: len(sent(kafka, topic.name)) == CUSTOMERS, what=f"it relays\n{first.output()}")
        async with running(heir):
            first.send(signal.SIGKILL)
            began = time.monotonic()
            await place(heir, topic, Order(customer="last", number=MANY))
            await drained(heir)
            took_s = time.monotonic() - began

    assert took_s < 5
    check_ledgers(kafka, topic.name, migrated)


async def test_a_frozen_one_is_followed_and_finds_out_when_it_wakes_up(
    kafka: Kafka, new_topic: NewTopic, migrated: str, tmp_path: Path
) -> None:
    topic = orders_topic(new_topic(partitions=3))
    make_table(migrated)
    heir = App("shop", settings=settings_for(kafka, DATABASE_URL=migrated))

    environment = placing(kafka, topic.name, migrated)
    with program("tests.support.services.placing", tmp_path, environment=environment) as first:
        await until(lambda: len(sent(kafka, topic.name)) == CUSTOMERS, what=f"it relays\n{first.output()}")
        async with running(heir):
            first.send(signal.SIGSTOP)
            began = time.monotonic()
            await place(heir, topic, Order(customer="last", number=MANY))
            await drained(heir)
            took_s = time.monotonic() - began
            first.send(signal.SIGCONT)
            await first.says("nothing is relayed until this is cured")
            first.send(signal.SIGKILL)
            await first.code()
            await drained(heir)

    assert took_s < 15  # PostgreSQL ends the session of a relay that asks nothing for 10 s
    check_ledgers(kafka, topic.name, migrated)
