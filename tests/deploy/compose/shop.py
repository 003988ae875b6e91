"""The shop as `docker compose` runs it, and its books: counted by clients on 127.0.0.1, as anybody would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psycopg
from confluent_kafka import Consumer, TopicPartition

from ottla.embedded.guarded import free_port
from tests.deploy.compose.commands import Failed, run
from tests.deploy.compose.engine import ROOT, Engine

COMPOSE = ROOT / "deploy" / "compose" / "compose.yaml"
PROJECT = "ottla-compose-test"
IMAGE = "ottla-test/shop"
SHOP = ("orders", "billing", "notifications", "mail")
DEAD_LETTERS = ("orders-billing-dlt", "orders-notifications-dlt")
_PUBLISHED = ("ORDERS", "KAFKA", "POSTGRES", "REGISTRY", "MAIL", "PROMETHEUS", "GRAFANA")
_BUILD_S = 1800.0
_UP_S = 300.0
_COMMAND_S = 120.0
_ASK_S = 20.0
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Books:
    """What stands in the databases and at the mail server."""

    orders: Mapping[str, Decimal]
    """By order id: the amount."""
    invoices: Mapping[str, list[Decimal]]
    unsent: int
    """Records in both outboxes."""
    mails: int

    @property
    def billed(self) -> int:
        """Invoices, each counted."""
        return sum(len(amounts) for amounts in self.invoices.values())

    def __str__(self) -> str:
        return f"orders={len(self.orders)} invoices={self.billed} mails={self.mails} unsent={self.unsent}"

    @property
    def lost(self) -> int:
        """Orders without an invoice."""
        return len(self.orders.keys() - self.invoices.keys())

    def imbalances(self) -> Iterator[str]:
        """What does not add up."""
        doubled = sum(len(amounts) > 1 for amounts in self.invoices.values())
        astray = len(self.invoices.keys() - self.orders.keys())
        wrong = sum(
            self.orders[order] != amounts[0]
            for order, amounts in self.invoices.items()
            if order in self.orders
        )
        for count, what in (
            (self.lost, "orders have no invoice"),
            (doubled, "orders have more than one invoice"),
            (astray, "invoices have no order"),
            (wrong, "invoices have another amount than their order"),
            (self.unsent, "events are left in the outbox"),
        ):
            if count:
                yield f"{count} {what}"
        if self.mails != len(self.orders):
            yield f"{self.mails} mails stand against {len(self.orders)} orders"


class Shop:
    """One Compose project on free ports, with empty volumes."""

    def __init__(self, engine: Engine, *overrides: Path, settings: Mapping[str, str]) -> None:
        self._ports = {name: free_port() for name in _PUBLISHED}
        ports = {f"{name}_PORT": str(port) for name, port in self._ports.items()}
        inherited = {
            name: value for name, value in engine.environment.items() if not name.startswith("COMPOSE_")
        }
        own = {"COMPOSE_PROJECT_NAME": PROJECT, "SHOP_IMAGE": IMAGE, "COMPOSE_BAKE": "false", **ports}
        self._engine = Engine({**inherited, **own, **settings}, is_ours=engine.is_ours)
        self._files = [word for file in (COMPOSE, *overrides) for word in ("--file", str(file))]

    def compose(self, *arguments: str, within_s: float = _COMMAND_S) -> str:
        """What `docker compose` answers, progress and all."""
        command = ["docker", "compose", "--progress", "plain", *self._files, *arguments]
        return run(*command, within_s=within_s, env=self._engine.environment, merged=True)

    def check(self) -> None:
        """Compose accepts the file, its profile included."""
        self.compose("--profile", "observability", "config", "--quiet")

    def build(self) -> int:
        """Build what is to be built; the size of the shop's image in megabytes."""
        self.compose("build", within_s=_BUILD_S)
        return round(int(self._engine.docker("image", "inspect", "--format={{.Size}}", IMAGE)) / 1e6)

    @contextmanager
    def up(self) -> Iterator[float]:
        """The shop, healthy; the seconds that it took. Nothing of it is left behind the block."""
        self._down()  # of a run that was killed
        begun = time.monotonic()
        try:
            self.start()
            yield time.monotonic() - begun
        except Exception:
            self._tell_logs()
            raise
        finally:
            self._down()

    def start(self) -> None:
        """Whatever is not running; returns when all of it is healthy."""
        self.compose("up", "--detach", "--no-build", "--wait", within_s=_UP_S)

    def kill(self, *services: str) -> None:
        """SIGKILL."""
        self.compose("kill", "--signal", "SIGKILL", *services)

    def restart(self, *services: str) -> None:
        """SIGTERM, and a new start; returns when all is healthy again."""
        self.compose("restart", *services)
        self.start()

    def inspect(self, service: str) -> dict[str, Any]:
        """What the engine knows of the service's container."""
        container = self.compose("ps", "--all", "--quiet", service).split()[-1]
        (found,) = json.loads(self._engine.docker("inspect", container))
        return dict(found)

    def inside(self, service: str, *command: str) -> str:
        """What `command` writes in the service's container."""
        return self.compose("exec", "-T", service, *command)

    def url(self, published: str, path: str) -> str:
        """Where `published` answers on this machine."""
        return f"http://127.0.0.1:{self._ports[published]}{path}"

    @contextmanager
    def storefront(self, orders: int, *, rate: int, again: int) -> Iterator[subprocess.Popen[str]]:
        """Posts the first `orders` purchases over HTTP, and sends some of their events a second time."""
        words = {"--orders-url": self.url("ORDERS", ""), "--orders": orders, "--rate": rate, "--again": again}
        arguments = [str(word) for pair in words.items() for word in pair]
        with subprocess.Popen(
            [sys.executable, "-m", "examples.shop.storefront", *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                "KAFKA_BOOTSTRAP_SERVERS": self._brokers(),
                "SCHEMA_REGISTRY_URL": self.url("REGISTRY", "/apis/ccompat/v7"),
                "OTTLA_CONFIG": os.devnull,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def books(self) -> Books:
        """As they are now."""
        with self._database("billing") as billing:
            rows = billing.execute("SELECT order_id, amount_usd FROM invoice").fetchall()
            unsent = billing.execute("SELECT count(*) FROM ottla.outbox").fetchall()
        with self._database("orders") as orders:
            placed = orders.execute("SELECT order_id, amount_usd FROM shop_order").fetchall()
            unsent += orders.execute("SELECT count(*) FROM ottla.outbox").fetchall()
        invoices: dict[str, list[Decimal]] = {}
        for order, amount in rows:
            invoices.setdefault(order, []).append(amount)
        mails = httpx.get(self.url("MAIL", "/counts"), timeout=_ASK_S).json()["sent"]
        return Books(dict(placed), invoices, sum(count for (count,) in unsent), mails)

    def wait_until(self, is_so: Callable[[Books], bool], what: str, *, within_s: float = 120) -> Books:
        """The books once they are so."""
        deadline = time.monotonic() + within_s
        while not is_so(books := self.books()):
            if time.monotonic() > deadline:
                raise Failed(f"not within {within_s:.0f} s: {what}; there are {books}")
            time.sleep(_LOOK_S)
        return books

    def subjects(self) -> list[str]:
        """What the schema registry knows."""
        answer = httpx.get(self.url("REGISTRY", "/apis/ccompat/v7/subjects"), timeout=_ASK_S)
        return list(answer.raise_for_status().json())

    def compatibility(self) -> str:
        """What the schema registry demands of a new version."""
        answer = httpx.get(self.url("REGISTRY", "/apis/ccompat/v7/config"), timeout=_ASK_S)
        return str(answer.raise_for_status().json()["compatibilityLevel"])

    def records(self, topic: str) -> list[bytes]:
        """The values of all records of `topic`."""
        consumer = Consumer(
            {
                "bootstrap.servers": self._brokers(),
                "group.id": f"compose-test-{uuid.uuid4().hex}",
                "enable.auto.commit": False,
                "log_level": 3,
            }
        )
        try:
            partitions = [
                TopicPartition(topic, n, 0)
                for n in consumer.list_topics(topic, _ASK_S).topics[topic].partitions
            ]
            ends = {p.partition: consumer.get_watermark_offsets(p, timeout=_ASK_S)[1] for p in partitions}
            consumer.assign(partitions)
            values: list[bytes] = []
            read: Counter[int] = Counter()
            deadline = time.monotonic() + _COMMAND_S
            while sum(ends.values()) > read.total():
                if time.monotonic() > deadline:
                    raise Failed(f"of topic {topic} only {len(values)} records could be read")
                for message in consumer.consume(500, 1.0):
                    if message.error() is None:
                        values.append(message.value() or b"")
                        read[message.partition() or 0] += 1
            return values
        finally:
            consumer.close()

    def _brokers(self) -> str:
        return f"127.0.0.1:{self._ports['KAFKA']}"

    def _database(self, name: str) -> psycopg.Connection[Any]:
        at = f"postgresql://shop:development@127.0.0.1:{self._ports['POSTGRES']}/{name}"
        return psycopg.connect(at, autocommit=True, connect_timeout=20)

    def _down(self) -> None:
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5")

    def _tell_logs(self) -> None:
        try:
            print(self.compose("ps", "--all"), self.compose("logs", "--no-color", "--tail", "40"), sep="\n")
        except Failed as error:
            print(f"compose-test: no logs: {error}")
