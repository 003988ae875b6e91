"""Fixtures for pytest, there wherever Ottla is installed: `broker` and `database`.

Every run of pytest imports this file, so whatever costs time is imported by the fixture that
needs it. A project's own fixture of the same name stands before these.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from ottla.embedded import EmbeddedPostgres
    from ottla.testing.broker import InMemoryBroker

_TEMPLATE = "ottla_template"


@pytest.fixture
def broker() -> InMemoryBroker:
    """An empty `InMemoryBroker` of the test's own."""
    from ottla.testing.broker import InMemoryBroker

    return InMemoryBroker()


@pytest.fixture
def database(_ottla_postgres: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a PostgreSQL database of the test's own, with Ottla's tables and nothing in them.

    One embedded server runs per run of pytest, from the first test that asks for it.
    Without `ottla[postgres,demo]` the test is skipped; with CI=true it fails.
    """
    import psycopg

    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(_ottla_postgres.url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}".encode())
        yield _ottla_postgres.url_of(name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="session")
def _ottla_postgres() -> Iterator[EmbeddedPostgres]:
    """One server, and a database with Ottla's tables to copy from."""
    from ottla.embedded import EmbeddedPostgres
    from ottla.errors import ConfigurationError

    try:
        import psycopg

        from ottla.postgres.migrations import upgrade
    except ImportError as error:
        _missing(f"the fixture `database` needs ottla[postgres,demo]: {error}")
    server = EmbeddedPostgres(durable=False)
    try:
        server.start()
    except ConfigurationError as error:
        _missing(f"the fixture `database` needs ottla[postgres,demo]: {error}")
    with server:
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {_TEMPLATE}".encode())
        upgrade(server.url_of(_TEMPLATE))
        yield server


def _missing(what: str) -> NoReturn:
    """A test that cannot run is skipped where somebody sees it, and fails where nobody would."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)
