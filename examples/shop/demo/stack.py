"""The broker and the database of one run: started here, or running ones in which nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from psycopg import sql
from sqlalchemy import URL

from examples.shop.billing.invoices import create_tables
from examples.shop.contracts import INVOICES, ORDERS
from examples.shop.demo.plan import BadPlan, Plan
from ottla.core.topology import dead_letter_topic
from ottla.embedded import EmbeddedKafka, EmbeddedPostgres
from ottla.kafka.admin import KafkaAdmin
from ottla.kafka.properties import client_properties
from ottla.postgres.database import parse_url
from ottla.postgres.migrations import upgrade
from ottla.settings import load_settings

PARTITIONS = 6

_BROKERS = "KAFKA_BOOTSTRAP_SERVERS"
_ADMIN_S = 10.0
_GROUP_WAIT_MS = 2000
"""Both billing processes start within it; else the embedded broker takes 10 s to share out between them."""
_KAFKAS = ("KAFKA_", "TOPICS__", "OTTLA_")


@dataclass(frozen=True, slots=True)
class Stack:
    """Where the run takes place. `environment` is what its processes are started with."""

    orders: str
    dead_letters: str
    group: str
    client: dict[str, str]
    """librdkafka properties for a client of this broker."""
    database_url: str
    outbox: str
    """The table, with its schema."""
    environment: dict[str, str]


@contextmanager
def running_stack(plan: Plan) -> Iterator[Stack]:
    """A broker with empty topics and a database with empty tables, until the block ends."""
    with ExitStack() as exits:
        environment = _kafka(plan, exits)
        url = _database(exits)
        create_tables(url)
        environment |= {"DATABASE_URL": url, "KAFKA_SESSION_TIMEOUT_S": "6"}
        settings = load_settings(environ=environment)
        upgrade(url, settings.database_schema)
        group = settings.kafka.group_id or "billing"
        orders = settings.topic_name(ORDERS.name)
        dead_letters = dead_letter_topic(orders, group, settings.kafka.naming)
        topics = [orders, dead_letters, settings.topic_name(INVOICES.name)]
        client = client_properties(settings)
        if plan.is_real_kafka or _BROKERS in os.environ:
            asyncio.run(KafkaAdmin(client).create_topics(dict.fromkeys(topics, PARTITIONS)))
        if _BROKERS in os.environ:
            exits.callback(_remove, client, topics, group)
        yield Stack(
            orders, dead_letters, group, client, url, f"{settings.database_schema}.outbox", environment
        )


def _kafka(plan: Plan, exits: ExitStack) -> dict[str, str]:
    """The environment that leads to a broker: on a running one with topics and a group of our own."""
    if _BROKERS in os.environ:
        run = uuid.uuid4().hex[:8]
        return {
            **os.environ,
            "TOPICS__ORDERS": f"orders-demo-{run}",
            "TOPICS__INVOICES": f"invoices-demo-{run}",
            "KAFKA_GROUP_ID": f"billing-demo-{run}",
        }
    others = {name: value for name, value in os.environ.items() if not name.startswith(_KAFKAS)}
    if plan.is_real_kafka:
        from tests.support.kafka_server import KafkaMissing, KafkaServer

        try:
            server = exits.enter_context(KafkaServer(heap_mb=384))
        except KafkaMissing as error:
            raise BadPlan(str(error)) from error
        return {**others, _BROKERS: server.bootstrap_servers}
    topics = dict.fromkeys((ORDERS.name, f"{ORDERS.name}-billing-dlt", INVOICES.name), PARTITIONS)
    kafka = exits.enter_context(EmbeddedKafka(topics, group_wait_ms=_GROUP_WAIT_MS))
    return {**others, _BROKERS: kafka.bootstrap_servers}


def _database(exits: ExitStack) -> str:
    running = os.environ.get("DATABASE_URL")
    if not running:
        return exits.enter_context(EmbeddedPostgres()).url
    admin_url = parse_url(running)
    name = f"ottla_demo_{uuid.uuid4().hex[:8]}"
    exits.enter_context(_database_of_our_own(_plain(admin_url), name))
    return _plain(admin_url.set(database=name))


def _plain(url: URL) -> str:
    """As psycopg takes it, and everybody else too."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def _database_of_our_own(running: str, name: str) -> Iterator[None]:
    try:
        admin = psycopg.connect(running, autocommit=True, connect_timeout=10)
    except psycopg.Error as error:
        raise BadPlan(f"DATABASE_URL: {_first_line(error)}") from error
    with closing(admin):
        try:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except psycopg.Error as error:
            text = f"DATABASE_URL: the demo makes a database of its own there: {_first_line(error)}"
            raise BadPlan(text) from error
        try:
            yield
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _remove(client: dict[str, str], topics: list[str], group: str) -> None:
    admin = AdminClient({**client, "log_level": "3"})
    answers = [
        *admin.delete_topics(topics, request_timeout=_ADMIN_S).values(),
        *admin.delete_consumer_groups([group], request_timeout=_ADMIN_S).values(),
    ]
    for answer in answers:
        try:
            answer.result(_ADMIN_S)
        except (KafkaException, TimeoutError) as error:
            print(f"demo: not removed from the broker: {error}")
