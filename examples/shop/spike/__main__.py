"""Posts 20,000 orders as fast as they are taken, while billing is away for 20 s and Kafka for 10 s of them.

    make spike                 on Apache Kafka and PostgreSQL of its own
    make spike ORDERS=2000     for a look

Its figures are counted from the database and the processes. It fails when an order is
lost or billed twice, or when billing grows by more than 64 MB.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from examples.shop.billing.invoices import create_tables as create_invoices
from examples.shop.contracts import INVOICES, ORDERS
from examples.shop.demo.programs import Program
from examples.shop.orders.orders import create_tables as create_orders
from ottla.embedded import EmbeddedPostgres
from ottla.embedded.guarded import free_port
from ottla.postgres.migrations import upgrade
from tests.support.kafka_server import KafkaMissing, KafkaServer

PARTITIONS = 6
CLIENTS = 32
CALM_PART = 0.1
BILLING_AWAY_S, KAFKA_AWAY_AFTER_S, KAFKA_AWAY_S = 20.0, 5.0, 10.0
MOST_GROWTH_MB = 64.0
_WARM_S = 2.0
_LOOK_S = 0.2
_DEADLINE_S = 600.0
_AGAIN_S = 0.2


@dataclass
class Measured:
    """What was seen on the way."""

    posted: int = 0
    calm_ms: list[float] = field(default_factory=list)
    spike_ms: list[float] = field(default_factory=list)
    is_billing_away: bool = False
    backlog_max: int = 0
    unsent_max: int = 0
    growth_mb: float = 0.0
    refused: int = 0


class Spike:
    """One run. Its methods stand in the order in which they happen."""

    def __init__(self, orders: int, kafka: KafkaServer, url: str, exits: ExitStack) -> None:
        self._orders = orders
        self._kafka = kafka
        self._exits = exits
        self._port = free_port()
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)},
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_SESSION_TIMEOUT_S": "6",
            "DATABASE_URL": url,
        }
        self._sql = exits.enter_context(psycopg.connect(url, autocommit=True))
        self._begun = time.monotonic()
        self.measured = Measured()
        self._calm_is_over = asyncio.Event()

    async def run(self) -> Measured:
        """All of it."""
        arguments = ("examples.shop.orders.api:api", "--port", str(self._port), "--log-level", "warning")
        self._start("orders", "uvicorn", *arguments)
        billing = self._start_billing()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._port}", timeout=60) as client:
            await self._until_ready(client)
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(self._watch())
                posting = tasks.create_task(self._post_all(client))
                await self._calm_is_over.wait()
                await self._outage(billing)
                await posting
                self._say("all orders are taken")
                await self._until_billed()
                watching.cancel()
        return self.measured

    def _start(self, name: str, module: str, *arguments: str) -> Program:
        program = self._exits.enter_context(Program(name, module, *arguments, environment=self._environment))
        self._say(f"{name} started, pid {program.pid}")
        return program

    def _start_billing(self) -> Program:
        self._billing = self._start("billing", "examples.shop.spike.billing")
        self._billing_since, self._billing_mb = time.monotonic(), 0.0
        self.measured.is_billing_away = False
        return self._billing

    async def _until_ready(self, client: httpx.AsyncClient) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if (await client.get("/readyz")).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(_LOOK_S)
        raise TimeoutError("orders are not taken within 60 s")

    async def _post_all(self, client: httpx.AsyncClient) -> None:
        numbers = iter(range(self._orders))

        async def post_some() -> None:
            for number in numbers:
                await self._post(client, number)

        await asyncio.gather(*(post_some() for _ in range(CLIENTS)))

    async def _post(self, client: httpx.AsyncClient, number: int) -> None:
        """Until it is taken; asking again asks for the same order."""
        order = {
            "order_id": f"order-{number}",
            "customer_id": f"customer-{number % 500}",
            "placed_on": "1997-01-01",
            "quantity": 1,
            "amount_usd": "11.77",
        }
        began = time.monotonic()
        while (await client.post("/orders", json=order)).status_code not in {200, 201}:
            self.measured.refused += 1
            await asyncio.sleep(_AGAIN_S)
        took_ms = (time.monotonic() - began) * 1000
        self.measured.posted += 1
        if not self._calm_is_over.is_set():
            self.measured.calm_ms.append(took_ms)
            if self.measured.posted >= self._orders * CALM_PART:
                self._calm_is_over.set()
        elif self.measured.is_billing_away:
            self.measured.spike_ms.append(took_ms)

    async def _outage(self, billing: Program) -> None:
        self.measured.is_billing_away = True
        await asyncio.to_thread(billing.kill)
        self._say(f"billing killed, away for {BILLING_AWAY_S:.0f} s")
        await asyncio.sleep(KAFKA_AWAY_AFTER_S)
        await asyncio.to_thread(self._kafka.kill)
        self._say(f"Kafka killed, away for {KAFKA_AWAY_S:.0f} s")
        await asyncio.sleep(KAFKA_AWAY_S)
        await asyncio.to_thread(self._kafka.start)
        self._say("Kafka started again")
        await asyncio.sleep(max(0.0, BILLING_AWAY_S - KAFKA_AWAY_AFTER_S - KAFKA_AWAY_S))
        self._start_billing()

    async def _until_billed(self) -> None:
        deadline = time.monotonic() + _DEADLINE_S
        while self._count("SELECT count(*) FROM invoice") < self._orders or self._unsent():
            if time.monotonic() > deadline:
                return  # the figures tell
            await asyncio.sleep(_LOOK_S)

    async def _watch(self) -> None:
        """Look at backlog and memory, and tell each second."""
        told = 0.0
        while True:
            unsent, billed = self._unsent(), self._count("SELECT count(*) FROM invoice")
            taken = self._count("SELECT count(*) FROM shop_order")
            measured = self.measured
            measured.unsent_max = max(measured.unsent_max, unsent)
            measured.backlog_max = max(measured.backlog_max, taken - billed)
            self._look_at_memory()
            if time.monotonic() - told >= 1:
                told = time.monotonic()
                self._say(f"taken {taken}  in the outbox {unsent}  billed {billed}")
            await asyncio.sleep(_LOOK_S)

    def _look_at_memory(self) -> None:
        """Growth is told against what the process has once it is warm."""
        if self.measured.is_billing_away or time.monotonic() - self._billing_since < _WARM_S:
            return
        resident_mb = _resident_mb(self._billing.pid)
        if resident_mb is not None:
            self._billing_mb = self._billing_mb or resident_mb
            self.measured.growth_mb = max(self.measured.growth_mb, resident_mb - self._billing_mb)

    def _unsent(self) -> int:
        return self._count("SELECT count(*) FROM ottla.outbox")

    def _count(self, query: Any) -> int:
        return int((self._sql.execute(query).fetchone() or [0])[0])

    def figures(self) -> tuple[int, int, int, int]:
        """Orders, billed orders, orders without invoice, invoices too many."""
        taken = self._count("SELECT count(*) FROM shop_order")
        billed = self._count("SELECT count(DISTINCT order_id) FROM invoice")
        doubled = self._count("SELECT count(*) - count(DISTINCT order_id) FROM invoice")
        lost = self._count(
            "SELECT count(*) FROM shop_order WHERE order_id NOT IN (SELECT order_id FROM invoice)"
        )
        return taken, billed, lost, doubled

    def _say(self, text: str) -> None:
        print(f"spike: {time.monotonic() - self._begun:4.0f} s  {text}", flush=True)


_SETTINGS = ("KAFKA_", "TOPICS__", "OTTLA_", "DATABASE_")


def _resident_mb(pid: int) -> float | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    line = next((line for line in status.splitlines() if line.startswith("VmRSS:")), None)
    return None if line is None else int(line.split()[1]) / 1024


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98] if len(values) > 1 else float("nan")


def main() -> int:
    """Run it; 0 when every order was billed once and memory stayed bounded."""
    orders = int(os.environ.get("ORDERS") or 20_000)
    with ExitStack() as exits:
        try:
            kafka = exits.enter_context(KafkaServer())
        except KafkaMissing as error:
            print(f"spike: FAILED {error}")
            return 1
        for topic in (ORDERS.name, f"{ORDERS.name}-billing-dlt", INVOICES.name):
            kafka.create_topic(topic, PARTITIONS)
        url = exits.enter_context(EmbeddedPostgres()).url
        upgrade(url)
        create_orders(url)
        create_invoices(url)
        spike = Spike(orders, kafka, url, exits)
        measured = asyncio.run(spike.run())
        taken, billed, lost, doubled = spike.figures()
    problems = [
        problem
        for is_wrong, problem in (
            (measured.posted != orders or taken != orders, f"{taken} of {orders} orders are stored"),
            (lost > 0, f"{lost} orders were never billed"),
            (doubled > 0, f"{doubled} invoices too many"),
            (measured.growth_mb > MOST_GROWTH_MB, f"billing grew by more than {MOST_GROWTH_MB:.0f} MB"),
            (not measured.spike_ms, "proves nothing: no order was posted while billing was away"),
        )
        if is_wrong
    ]
    print(f"spike: in the outbox at most {measured.unsent_max}, refused and asked again {measured.refused}")
    figures = (
        f"posted={measured.posted} billed={billed} lost={lost} doubled={doubled} "
        f"backlog_max={measured.backlog_max} post_p99_ms_calm={_p99(measured.calm_ms):.0f} "
        f"post_p99_ms_spike={_p99(measured.spike_ms):.0f} billing_rss_growth_mb={measured.growth_mb:.0f}"
    )
    print(f"spike: ok {figures}" if not problems else f"spike: FAILED {'; '.join(problems)}: {figures}")
    return 1 if problems else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
