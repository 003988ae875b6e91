"""Ottla's tables in a database of the test's own, and the inbox on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from ottla.postgres.database import Database, DatabaseSettings
from ottla.postgres.inbox import PostgresInbox
from ottla.postgres.migrations import upgrade


@pytest.fixture
def migrated(database_url: str) -> str:
    """The URL of a database with Ottla's tables and some for effects."""
    upgrade(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE effect (event_id text NOT NULL, amount integer CHECK (amount > 0))")
        connection.execute("CREATE TABLE parent (id integer PRIMARY KEY)")
        connection.execute(
            "CREATE TABLE child (parent integer REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"
        )
    return database_url


@pytest.fixture
async def database(migrated: str) -> AsyncIterator[Database]:
    """An open `Database` with few connections and impatient locks.

    Stands before the fixture of the same name that Ottla gives to its users.
    """
    database = Database(
        migrated,
        DatabaseSettings(connections=4, threads=2, lock_timeout_s=0.5, idle_in_transaction_s=30),
    )
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def inbox(database: Database) -> PostgresInbox:
    return PostgresInbox(database)


@pytest.fixture
def sql(migrated: str) -> Iterator[psycopg.Connection]:
    """A connection that stands beside the one under test and sees what is committed."""
    with psycopg.connect(migrated, autocommit=True) as connection:
        yield connection
