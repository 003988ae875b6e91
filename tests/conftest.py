"""The servers that tests share, and the count of tests per kind."""

from __future__ import annotations

import os
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NoReturn, Protocol
from urllib.parse import urlsplit

import psycopg
import pytest

from ottla.embedded import EmbeddedPostgres
from ottla.errors import ConfigurationError
from tests.support.apicurio import Apicurio, ApicurioMissing
from tests.support.kafka_server import Kafka, KafkaMissing, KafkaServer

pytest_plugins = ["tests.support.databases"]


def missing(what: str) -> NoReturn:
    """A server that cannot be had skips a test on a laptop and fails it where nobody would notice."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


class NewTopic(Protocol):
    """Makes a topic of the test's own and returns its name."""

    def __call__(self, partitions: int = 1, config: Mapping[str, str] | None = None) -> str: ...


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """Apache Kafka, shared by all tests: KAFKA_BOOTSTRAP_SERVERS, else one of our own."""
    running = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if running:
        yield Kafka(running)
        return
    with _own_kafka() as server:
        yield server


@pytest.fixture
def kafka_server() -> Iterator[KafkaServer]:
    """Apache Kafka for one test alone, which may stop, kill or freeze it."""
    with _own_kafka() as server:
        yield server


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    """A name of the test's own, for topics and groups."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())
    return f"{words[:60].strip('-')}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def new_topic(kafka: Kafka, unique: str) -> NewTopic:
    """Makes topics on the shared broker: `new_topic(partitions=6)` returns the name."""
    made: list[str] = []

    def make(partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        made.append(f"{unique}-{len(made)}" if made else unique)
        kafka.create_topic(made[-1], partitions, config)
        return made[-1]

    return make


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of PostgreSQL, shared by all tests: DATABASE_URL, else one of our own."""
    running = os.environ.get("DATABASE_URL")
    if running:
        yield running
        return
    with _own_postgres(durable=False) as server:
        yield server.url


@pytest.fixture
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """PostgreSQL for one test alone, which may stop or kill it."""
    with _own_postgres(durable=True) as server:
        yield server


@pytest.fixture(scope="session")
def apicurio() -> Iterator[Apicurio]:
    """A schema registry, shared by all tests; incompatible versions are refused."""
    with _own_apicurio() as server:
        yield server


@pytest.fixture
def database_url(postgres: str) -> Iterator[str]:
    """The URL of an empty database of the test's own on the shared PostgreSQL."""
    name = f"ottla_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        yield urlsplit(postgres)._replace(path=f"/{name}").geturl()
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _own_kafka() -> KafkaServer:
    server = KafkaServer()
    try:
        server.start()
    except KafkaMissing as error:
        missing(str(error))
    return server


def _own_apicurio() -> Apicurio:
    server = Apicurio()
    try:
        server.start()
    except ApicurioMissing as error:
        missing(str(error))
    return server


def _own_postgres(*, durable: bool) -> EmbeddedPostgres:
    server = EmbeddedPostgres(durable=durable)
    try:
        server.start()
    except ConfigurationError as error:
        missing(str(error))
    return server


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print how many tests of each kind passed and how many did not, and the seed of their order.

    Before them what a test wants to be read also when it passes: `record_property("told", ...)`.
    """
    counts: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            kind = report.nodeid.split("::")[0].split("/")[1:-1]
            counts.setdefault(kind[0] if kind else "other", Counter())[outcome] += 1
            for name, value in getattr(report, "user_properties", ()):
                if name == "told":
                    terminalreporter.write_line(f"tests: {value}")
    for kind, outcomes in sorted(counts.items()):
        told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        terminalreporter.write_line(f"tests: {kind} {told}")
    terminalreporter.write_line(
        f"tests: shuffled, the same again by --randomly-seed={config.getoption('randomly_seed', None)}"
    )
