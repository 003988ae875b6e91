"""The broker and the database of one run: started here, or running ones in which nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import chain

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from psycopg import sql
from sqlalchemy import URL

from examples.shop.billing.app import app as billing_app
from examples.shop.billing.invoices import create_tables as create_invoices
from examples.shop.contracts import INVOICES, ORDERS
from examples.shop.demo.plan import BadPlan, Plan
from examples.shop.notifications.app import app as notifications_app
from examples.shop.orders.api import kafka as orders_app
from examples.shop.orders.orders import create_tables as create_orders
from ottla import App
from ottla.cli.topics import apply_topics, create_embedded
from ottla.core.topology import dead_letter_topic
from ottla.embedded import EmbeddedKafka, EmbeddedPostgres
from ottla.embedded.guarded import free_port
from ottla.kafka.properties import client_properties
from ottla.postgres.database import parse_url
from ottla.postgres.migrations import upgrade
from ottla.settings import load_settings

BILLING, NOTIFICATIONS, TAKING_ORDERS = "billing", "notifications", "orders"
APPS = {TAKING_ORDERS: orders_app, BILLING: billing_app, NOTIFICATIONS: notifications_app}
LISTENING = (BILLING, NOTIFICATIONS)
PARTITIONS = ORDERS.partitions or 1

_BROKERS = "KAFKA_BOOTSTRAP_SERVERS"
_ADMIN_S = 10.0
_GROUP_WAIT_MS = 2000
"""All processes of a group start within it; else the embedded broker takes 10 s to share out between them."""
_KAFKAS = ("KAFKA_", "TOPICS__", "OTTLA_")


@dataclass(frozen=True, slots=True)
class Stack:
    """Where the run takes place. `environments` is what the process of each service is started with."""

    environments: Mapping[str, dict[str, str]]
    orders: str
    groups: Mapping[str, str]
    """Of the services that listen."""
    dead_letters: Mapping[str, str]
    """Their dead-letter topics."""
    client: dict[str, str]
    """librdkafka properties for a client of this broker."""
    database_url: str
    outbox: str
    """The table, with its schema."""
    orders_port: int
    mail_port: int

    @property
    def orders_url(self) -> str:
        """Where orders are taken."""
        return f"http://127.0.0.1:{self.orders_port}"

    @property
    def mail_url(self) -> str:
        """Where the mail server counts."""
        return f"http://127.0.0.1:{self.mail_port}"


@contextmanager
def running_stack(plan: Plan) -> Iterator[Stack]:
    """A broker with empty topics and a database with empty tables, until the block ends."""
    with ExitStack() as exits:
        run = f"-demo-{uuid.uuid4().hex[:8]}" if _BROKERS in os.environ else ""
        embedded, environment = _kafka(plan, run, exits)
        url = _database(exits)
        mail_port = free_port()
        shared = {
            **environment,
            "DATABASE_URL": url,
            "KAFKA_SESSION_TIMEOUT_S": "6",
            "MAIL_URL": f"http://127.0.0.1:{mail_port}",
        }
        environments = {name: {**shared, "KAFKA_GROUP_ID": f"{name}{run}"} for name in APPS}
        settings = load_settings(environ=environments[BILLING])
        upgrade(url, settings.database_schema)
        create_orders(url)
        create_invoices(url)
        topics = {name: _apply_topics(app, environments[name], embedded) for name, app in APPS.items()}
        groups = {name: f"{name}{run}" for name in LISTENING}
        client = client_properties(settings)
        if run:
            exits.callback(_remove, client, sorted({*chain(*topics.values())}), list(groups.values()))
        orders = settings.topic_name(ORDERS.name)
        yield Stack(
            environments=environments,
            orders=orders,
            groups=groups,
            dead_letters={
                name: dead_letter_topic(orders, group, settings.kafka.naming)
                for name, group in groups.items()
            },
            client=client,
            database_url=url,
            outbox=f"{settings.database_schema}.outbox",
            orders_port=free_port(),
            mail_port=mail_port,
        )


def _kafka(plan: Plan, run: str, exits: ExitStack) -> tuple[EmbeddedKafka | None, dict[str, str]]:
    """The environment that leads to a broker: on a running one with topics of our own."""
    if run:
        topics = {f"TOPICS__{topic.name.upper()}": f"{topic.name}{run}" for topic in (ORDERS, INVOICES)}
        return None, {**os.environ, **topics}
    others = {name: value for name, value in os.environ.items() if not name.startswith(_KAFKAS)}
    if plan.is_real_kafka:
        from tests.support.kafka_server import KafkaMissing, KafkaServer

        try:
            server = exits.enter_context(KafkaServer(heap_mb=384))
        except KafkaMissing as error:
            raise BadPlan(str(error)) from error
        return None, {**others, _BROKERS: server.bootstrap_servers}
    kafka = exits.enter_context(EmbeddedKafka(group_wait_ms=_GROUP_WAIT_MS))
    return kafka, {**others, _BROKERS: kafka.bootstrap_servers}


def _apply_topics(app: App, environment: Mapping[str, str], embedded: EmbeddedKafka | None) -> list[str]:
    """The topics of `app`, as `ottla topics apply` sees to them; their names."""
    with _environment(environment):
        if embedded is not None:
            create_embedded(app, embedded)
        elif failed := asyncio.run(apply_topics(app)).failed:
            raise next(iter(failed.values()))
        return [topic.name for topic in app.topology()]


@contextmanager
def _environment(environment: Mapping[str, str]) -> Iterator[None]:
    """`environment` as that of this process."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


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


def _remove(client: dict[str, str], topics: list[str], groups: list[str]) -> None:
    admin = AdminClient({**client, "log_level": "3"})
    answers = [
        *admin.delete_topics(topics, request_timeout=_ADMIN_S).values(),
        *admin.delete_consumer_groups(groups, request_timeout=_ADMIN_S).values(),
    ]
    for answer in answers:
        try:
            answer.result(_ADMIN_S)
        except (KafkaException, TimeoutError) as error:
            print(f"demo: not removed from the broker: {error}")
