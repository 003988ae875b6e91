"""`make replay-test`: 1,000 dead letters, a repaired handler, and a replay that is killed on its way.

On Kafka and PostgreSQL: a service fails every record of 100 keys; another group on the same
topic is healthy. The handler is repaired, `ottla dlt replay` is killed (SIGKILL) when it has
sent some hundreds, and run again. Counted from the database and the handlers: effects, effects
of a key out of order, what a further run sends, and calls of the other group.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition
from sqlalchemy import text

from ottla import App, DeadLetterTopic, Guard, Never, Topic, Transaction
from ottla.embedded import EmbeddedPostgres
from ottla.postgres.migrations import upgrade
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.dlt import dlt, dlt_started
from tests.support.kafka_server import Kafka, KafkaMissing, KafkaServer

LETTERS, KEYS, PARTITIONS = 1000, 100, 3
KILLED_AT = 300
_LOOK_S = 0.1
ORDERS = Topic("orders", str)
DEAD, REPLAYS = "orders-billing-dlt", "orders-billing-replay"
FLOOD = DeadLetterTopic(guard=Guard(run=LETTERS, ratio=1))
"""The guard would stop this at fifty: here it is the point that all of them are dead."""


class Shop:
    """A group that fails until it is repaired, and one that does not."""

    def __init__(self, kafka: Kafka, url: str) -> None:
        self.is_repaired = False
        self.healthy: list[str] = []
        self.billing = App("billing", settings=settings_for(kafka, DATABASE_URL=url))
        self.notifications = App("notifications", settings=settings_for(kafka))

        @self.billing.listener(ORDERS, retry=Never(), dead_letter=FLOOD)
        async def bill(value: str, tx: Transaction) -> None:
            if not self.is_repaired:
                raise ValueError(value)
            key, number = value.split(":")
            row = {"key": key, "number": int(number)}
            await tx.session.execute(text("INSERT INTO effect (key, number) VALUES (:key, :number)"), row)

        @self.notifications.listener(ORDERS)
        async def notify(value: str) -> None:
            self.healthy.append(value)


def say(what: str) -> None:
    print(f"replay: {what}", flush=True)


async def story(kafka: Kafka, url: str, sql: psycopg.Connection) -> list[int]:
    """Effects, inversions, what a second run sent, calls of the other group by the replay."""
    shop = Shop(kafka, url)
    produce(kafka, ORDERS.name, [(f"k-{n % KEYS}", f"k-{n % KEYS}:{n}") for n in range(LETTERS)])
    async with running(shop.billing, shop.notifications):
        await counted(lambda: written(kafka, DEAD), LETTERS, "are dead letters")
        await counted(lambda: len(shop.healthy), LETTERS, "are handled by the other group")
    shop.is_repaired = True
    killed = dlt_started(kafka, "replay", DEAD, "--yes", "--rate", "400")
    try:
        await counted(lambda: written(kafka, REPLAYS), KILLED_AT, "are replayed")
    finally:
        killed.kill()
        killed.communicate()
    sent = written(kafka, REPLAYS)
    say(f"the replay was killed (SIGKILL) when {sent} were sent")
    again = await asyncio.to_thread(dlt, kafka, "replay", DEAD, "--yes")
    say(f"run again: {again.lines[-1]}")
    if sent >= LETTERS or again.code:
        raise RuntimeError(f"proves nothing: {sent} were sent at the kill; {again.errors}")
    async with running(shop.billing, shop.notifications):
        await counted(lambda: handled(kafka), written(kafka, REPLAYS), "replayed records are handled")
    second = await asyncio.to_thread(dlt, kafka, "replay", DEAD, "--yes")
    say(f"and once more: {second.lines[-1]}")
    rows = sql.execute("SELECT key, number FROM effect ORDER BY id").fetchall()
    last: dict[str, int] = {}
    inversions = 0
    for key, number in rows:
        inversions += number < last.get(key, -1)
        last[key] = number
    sent_by_second = int(second.lines[-1].split("replayed=")[1].split()[0])
    return [len(rows), inversions, sent_by_second, len(shop.healthy) - LETTERS]


def written(kafka: Kafka, topic: str) -> int:
    """How many records `topic` has; 0 while there is no such topic."""
    properties = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "count", "log_level": 3}
    consumer = Consumer(properties)
    try:
        found = consumer.list_topics(timeout=10).topics
        partitions = found[topic].partitions if topic in found else {}
        ends = (consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=10) for n in partitions)
        return sum(high for _, high in ends)
    finally:
        consumer.close()


def handled(kafka: Kafka) -> int:
    return sum(committed(kafka, "billing-replay", REPLAYS).values())


async def counted(count: Callable[[], int], least: int, what: str) -> None:
    """Wait until there are `least`, counted in a thread: the services run on this one."""

    async def is_reached() -> bool:
        await asyncio.sleep(_LOOK_S)
        try:
            return await asyncio.to_thread(count) >= least
        except KafkaException:  # the replay topic has just been made, and a leader does not know it yet
            return False

    await until(is_reached, what=f"{least} {what}", within_s=120)
    say(f"{least} {what}")


def main() -> int:
    """Tell it; 0 when every letter took effect once, in order, and nobody else was called."""
    logging.disable(logging.WARNING)  # a thousand dead letters, each with its line
    with ExitStack() as exits:
        try:
            kafka = exits.enter_context(KafkaServer())
        except KafkaMissing as error:
            print(f"replay: FAILED {error}")
            return 1
        for topic in (ORDERS.name, DEAD, "orders-notifications-dlt"):
            kafka.create_topic(topic, PARTITIONS)
        url = exits.enter_context(EmbeddedPostgres()).url
        upgrade(url)
        sql = exits.enter_context(psycopg.connect(url, autocommit=True))
        sql.execute("CREATE TABLE effect (id bigserial PRIMARY KEY, key text, number int)")
        try:
            effects, inversions, second_run, other_groups = asyncio.run(story(kafka, url, sql))
        except (AssertionError, RuntimeError) as error:
            print(f"replay: FAILED {error}")
            return 1
    is_good = (effects, inversions, second_run, other_groups) == (LETTERS, 0, 0, 0)
    print(
        f"replay: {'ok' if is_good else 'FAILED'} effects={effects} inversions={inversions} "
        f"second_run={second_run} other_groups={other_groups}"
    )
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
