"""What is known to be wrong with a database before it is asked."""

from __future__ import annotations

import pytest
from alembic.script import ScriptDirectory

from ottla.errors import SettingsError
from ottla.postgres import migrations
from ottla.postgres.database import SCHEMA_VERSION, Database, DatabaseSettings, parse_url


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_a_postgresql_url_means_psycopg(scheme: str) -> None:
    url = parse_url(f"{scheme}://user:p%40ss@db:5433/orders?sslmode=require")

    assert url.drivername == "postgresql+psycopg"
    assert (url.username, url.password, url.host, url.port, url.database) == (
        "user",
        "p@ss",
        "db",
        5433,
        "orders",
    )
    assert url.query == {"sslmode": "require"}


@pytest.mark.parametrize(
    "url",
    ["", "c4nary", "mysql://u:c4nary@h/d", "postgresql+asyncpg://u:c4nary@h/d", "postgresql://h:c4nary/d"],
)
def test_what_is_no_postgresql_url_is_told_without_being_repeated(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_url(url)

    assert "DATABASE_URL" in str(caught.value)
    assert "c4nary" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "schema", ["", "Ottla", "a-b", "a.b", 'a"b', "1a", "x" * 64, "ottla; drop table orders"]
)
def test_a_schema_must_have_a_plain_name(schema: str) -> None:
    with pytest.raises(SettingsError, match="schema"):
        DatabaseSettings(schema=schema)


@pytest.mark.parametrize(("connections", "threads"), [(0, 0), (1, 1), (8, 8), (8, 9), (8, -1)])
def test_handlers_in_threads_leave_a_connection_for_the_rest(connections: int, threads: int) -> None:
    with pytest.raises(SettingsError, match="connections"):
        DatabaseSettings(connections=connections, threads=threads)


async def test_making_and_opening_a_database_connects_to_nothing() -> None:
    database = Database("postgresql://user:pw@nowhere.invalid/db")

    await database.open()
    await database.close()


async def test_closing_twice_or_unopened_is_harmless() -> None:
    database = Database("postgresql://user:pw@nowhere.invalid/db")

    await database.close()
    await database.open()
    await database.close()
    await database.close()


def test_the_version_that_the_code_needs_is_that_of_the_last_migration() -> None:
    scripts = ScriptDirectory(str(migrations.FOLDER))

    assert scripts.get_heads() == [f"{SCHEMA_VERSION:04}"]
