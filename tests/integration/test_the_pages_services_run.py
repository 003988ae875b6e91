"""The services of the how-to pages, taken from them as they stand, do what the pages say.

Topics come by `ottla topics apply`, tables by `ottla db upgrade`, names from the environment.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest

from ottla.embedded.guarded import free_port
from tests.support.apps import produce, read_all, until
from tests.support.dev import ottla, write_files
from tests.support.kafka_server import Kafka
from tests.support.pages import ROOT
from tests.support.processes import program, service

HOWTO = ROOT / "docs" / "howto"

Environment = dict[str, str]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(kafka: Kafka, database_url: str, tmp_path: Path, unique: str) -> Environment:
    """What a deployment sets, with names of the test's own for topics and group."""
    declared = ("orders", "invoices", "payments", "receipts", "placed")
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_SESSION_TIMEOUT_S": "6",
        "KAFKA_GROUP_ID": unique,
        "DATABASE_URL": database_url,
        "OTTLA_CONFIG": "/dev/null",
        "PYTHONPATH": str(tmp_path),
        **{f"TOPICS__{name.upper()}": f"{unique}-{name}" for name in declared},
    }


@pytest.fixture
def run(environment: Environment, tmp_path: Path) -> Run:
    """Runs a program to its end in the folder of the page's files."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


async def test_a_service_of_your_own_from_the_contract_to_its_stop(
    kafka: Kafka,
    environment: Environment,
    run: Run,
    tmp_path: Path,
    unique: str,
) -> None:
    write_files(HOWTO / "own-service.md", tmp_path)
    for command in (
        ottla("topics", "apply", "invoicing:app"),
        ottla("topics", "apply", "accounting:app"),
        ottla("db", "upgrade"),
        ("tables.py",),
        ottla("topics", "plan", "invoicing:app"),
    ):
        done = run(*command)
        assert done.returncode == 0, done.stderr
    order = [("o-1", '{"order_id": "o-1", "cents": 999}')] * 2

    with (
        service("invoicing:app", tmp_path, environment=environment) as invoicing,
        service("accounting:app", tmp_path, environment=environment) as accounting,
    ):
        produce(kafka, f"{unique}-orders", order, headers=[("ottla-event-id", b"e-1")])
        await accounting.says("booked o-1: 999 cents")
        for process in (invoicing, accounting):
            process.send(signal.SIGTERM)
        codes = [await process.code() for process in (invoicing, accounting)]

    assert codes == [0, 0]
    assert len(read_all(kafka, f"{unique}-invoices")) == 1
    with psycopg.connect(environment["DATABASE_URL"]) as database:
        assert database.execute("SELECT order_id, cents FROM invoice").fetchall() == [("o-1", 999)]


async def test_a_handler_without_async_writes_and_sends_through_its_transaction(
    kafka: Kafka,
    environment: Environment,
    run: Run,
    tmp_path: Path,
    unique: str,
) -> None:
    write_files(HOWTO / "sync-code.md", tmp_path)
    kafka.create_topic(f"{unique}-receipts")
    with psycopg.connect(environment["DATABASE_URL"], autocommit=True) as database:
        database.execute("CREATE TABLE receipt (order_id text, cents integer)")
    for command in (ottla("topics", "apply", "sync_billing:app"), ottla("db", "upgrade")):
        assert run(*command).returncode == 0

    with service("sync_billing:app", tmp_path, environment=environment) as receipts:
        produce(kafka, f"{unique}-payments", [("o-1", '{"order_id": "o-1", "cents": 5}')])
        await until(lambda: read_all(kafka, f"{unique}-receipts"), what="the receipt is sent")
        receipts.send(signal.SIGTERM)
        code = await receipts.code()

    assert code == 0
    with psycopg.connect(environment["DATABASE_URL"]) as database:
        assert database.execute("SELECT order_id, cents FROM receipt").fetchall() == [("o-1", 5)]


async def test_a_web_service_takes_an_order_once_and_tells_of_it_once(
    kafka: Kafka, environment: Environment, run: Run, tmp_path: Path, unique: str
) -> None:
    write_files(HOWTO / "web-services.md", tmp_path)
    kafka.create_topic(f"{unique}-placed")
    assert run(*ottla("db", "upgrade")).returncode == 0
    with psycopg.connect(environment["DATABASE_URL"], autocommit=True) as database:
        database.execute("CREATE TABLE web_order (order_id text PRIMARY KEY, cents integer NOT NULL)")
    port, codes = free_port(), list[int]()

    with program("uvicorn", tmp_path, "web_orders:api", "--port", str(port), environment=environment) as web:
        await web.says("running on")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:

            async def is_ready() -> bool:
                return (await client.get("/readyz")).is_success

            await until(is_ready, what="the service is ready")
            for cents in (5, 5, 6):
                answer = await client.post("/orders", json={"order_id": "o-1", "cents": cents})
                codes.append(answer.status_code)
        await until(lambda: read_all(kafka, f"{unique}-placed"), what="the event is sent")
        web.send(signal.SIGTERM)
        await web.code()

    assert codes == [201, 200, 409]
    assert len(read_all(kafka, f"{unique}-placed")) == 1
