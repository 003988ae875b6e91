"""The tables are made by migrations, and a process that starts says what is wrong with its database."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy import make_url, text
from typer.testing import CliRunner

from ottla.cli.db import app
from ottla.errors import (
    AuthenticationFailed,
    DatabaseNotMigrated,
    DatabaseUnavailable,
    NotAuthorized,
    Unavailable,
)
from ottla.ports import Claim, InboxKey
from ottla.postgres.database import SCHEMA_VERSION, Database, DatabaseSettings, driver_of
from ottla.postgres.inbox import PostgresInbox
from ottla.postgres.migrations import upgrade
from ottla.postgres.outbox import PostgresOutbox

KEY = InboxKey("billing", "order-1", b"d" * 32)


async def check(url: str, schema: str = "ottla") -> Unavailable | None:
    """What is wrong with the database at `url`."""
    database = Database(url, DatabaseSettings(schema=schema, connections=1))
    await database.open()
    try:
        await database.check()
    except Unavailable as error:
        return error
    finally:
        await database.close()
    return None


def with_role(url: str, sql: psycopg.Connection) -> str:
    """The URL for a new user who may connect and nothing more."""
    role = f"role_{sql.info.dbname}"
    sql.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'c4nary'".encode())
    return make_url(url).set(username=role, password="c4nary").render_as_string(hide_password=False)


async def test_an_upgraded_database_is_ready(migrated: str) -> None:
    assert await check(migrated) is None


async def test_a_database_without_tables_names_the_command_that_makes_them(database_url: str) -> None:
    problem = await check(database_url)

    assert isinstance(problem, DatabaseNotMigrated)
    assert "ottla db upgrade" in str(problem)


async def test_a_delivery_before_the_upgrade_names_the_command_too(database_url: str) -> None:
    database = Database(database_url)
    await database.open()

    with pytest.raises(DatabaseNotMigrated, match="ottla db upgrade"):
        await PostgresInbox(database).once(KEY, lambda tx: tx.session.execute(text("SELECT 1")))
    await database.close()


async def test_a_wrong_password_is_told_and_not_shown(migrated: str) -> None:
    url = make_url(migrated).set(password="c4nary").render_as_string(hide_password=False)

    problem = await check(url)

    assert isinstance(problem, AuthenticationFailed)
    assert "c4nary" not in str(problem)


async def test_a_database_that_is_not_there_is_told(migrated: str) -> None:
    url = make_url(migrated)
    elsewhere = [url.set(database="nowhere"), url.set(port=1), url.set(host="nowhere.invalid")]

    problems = [await check(each.render_as_string(hide_password=False)) for each in elsewhere]

    assert [type(problem) for problem in problems] == [DatabaseUnavailable] * 3
    assert all(str(url.password) not in str(problem) for problem in problems)


async def test_missing_grants_are_told(migrated: str, sql: psycopg.Connection) -> None:
    url = with_role(migrated, sql)

    problem = await check(url)
    sql.execute(f"GRANT USAGE ON SCHEMA ottla TO role_{sql.info.dbname}".encode())
    still = await check(url)

    assert isinstance(problem, NotAuthorized)
    assert isinstance(still, NotAuthorized)
    assert "schema_version" in str(still)
    sql.execute(f"DROP OWNED BY role_{sql.info.dbname}; DROP ROLE role_{sql.info.dbname}".encode())


async def test_a_schema_that_was_made_beforehand_needs_no_right_to_make_one(
    database_url: str,
) -> None:
    with psycopg.connect(database_url, autocommit=True) as sql:
        url = with_role(database_url, sql)
        sql.execute(f"CREATE SCHEMA ottla AUTHORIZATION role_{sql.info.dbname}".encode())

        version = upgrade(url)

        assert version == SCHEMA_VERSION
        assert await check(url) is None
        sql.execute(f"DROP OWNED BY role_{sql.info.dbname}; DROP ROLE role_{sql.info.dbname}".encode())


async def test_tables_stand_in_the_schema_of_the_settings(database_url: str) -> None:
    upgrade(database_url, "messaging")
    database = Database(database_url, DatabaseSettings(schema="messaging"))
    await database.open()

    claim = await PostgresInbox(database).once(KEY, lambda tx: tx.session.execute(text("SELECT 1")))
    await database.close()

    assert claim is Claim.FRESH
    assert await check(database_url, "messaging") is None
    assert isinstance(await check(database_url, "ottla"), DatabaseNotMigrated)


async def test_several_processes_may_upgrade_at_once(database_url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        versions = list(threads.map(upgrade, [database_url] * 4))

    assert versions == [SCHEMA_VERSION] * 4
    assert await check(database_url) is None


async def test_an_event_whose_dead_letter_was_not_acknowledged_comes_again_after_the_upgrade(
    migrated: str, sql: psycopg.Connection
) -> None:
    sql.execute("DROP TABLE ottla.outbox")  # back to the tables of version 1
    sql.execute("ALTER TABLE ottla.inbox DROP CONSTRAINT inbox_status_check")
    sql.execute("ALTER TABLE ottla.inbox ADD CHECK (status IN ('done', 'dead_pending', 'dead'))")
    sql.execute("ALTER INDEX ottla.inbox_ended_of_listener RENAME TO inbox_ended")
    sql.execute("UPDATE ottla.schema_version SET version_num = '0001'")
    for status in ("done", "dead_pending", "dead"):
        sql.execute("INSERT INTO ottla.inbox VALUES ('billing', %s, %s, %s)", [status, b"d" * 32, status])

    version = upgrade(migrated)

    assert version == SCHEMA_VERSION
    assert sorted(sql.execute("SELECT event_id FROM ottla.inbox").fetchall()) == [("dead",), ("done",)]
    assert await check(migrated) is None


async def test_tables_of_a_later_version_serve_this_one_and_are_left_alone(
    migrated: str, sql: psycopg.Connection
) -> None:
    sql.execute("UPDATE ottla.schema_version SET version_num = '9999'")

    assert await check(migrated) is None
    assert upgrade(migrated) == 9999


def test_pruning_reads_an_index_and_not_the_table(migrated: str, sql: psycopg.Connection) -> None:
    sql.execute(
        "INSERT INTO ottla.inbox SELECT 'billing', n::text, sha256(n::text::bytea), 'done' "
        "FROM generate_series(1, 5000) AS n"
    )
    sql.execute("ANALYZE ottla.inbox")

    plan = sql.execute(
        "EXPLAIN SELECT ctid FROM ottla.inbox WHERE listener = 'billing' "
        "AND updated_at < now() - interval '7 days' "
        "ORDER BY updated_at LIMIT 1000 FOR UPDATE SKIP LOCKED"
    ).fetchall()

    assert "inbox_ended_of_listener" in str(plan)


async def test_a_relay_of_some_shards_passes_no_rows_of_the_others(
    migrated: str, sql: psycopg.Connection
) -> None:
    """Whatever statistics say: here, that all shards have as many rows."""
    sql.execute(
        "INSERT INTO ottla.outbox (stripe, topic, key, headers) "
        "SELECT n % 1024, 'orders', n::text::bytea, '[]' FROM generate_series(1, 20000) AS n"
    )
    sql.execute("ANALYZE ottla.outbox")
    sql.execute("DELETE FROM ottla.outbox WHERE stripe % 16 IN (5, 6)")
    wanted = {"records": 1000, "bytes": 1_000_000, "takes_any": True}
    nothing: dict[str, list[int]] = {"but": [], "topics": [], "key_topics": [], "keys": []}
    database = Database(migrated, DatabaseSettings(connections=2, relay=True))
    await database.open()

    async with database.relay_connection() as connection:
        driver = driver_of(connection.sync_connection)
        assert isinstance(driver, psycopg.AsyncConnection)
        cursor = await driver.execute(
            "EXPLAIN (ANALYZE) " + PostgresOutbox(database)._sql.read([3, 5, 6]), wanted | nothing
        )
        plan = str(await cursor.fetchall())
    await database.close()

    assert plan.count("outbox_of_shard") == 3
    assert "outbox_pkey" not in plan
    assert "Rows Removed" not in plan


def test_the_commands_upgrade_and_tell_the_state(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)

    before = CliRunner().invoke(app, ["status"])
    upgraded = CliRunner().invoke(app, ["upgrade"])
    after = CliRunner().invoke(app, ["status"])
    with psycopg.connect(database_url, autocommit=True) as sql:
        sql.execute(
            "INSERT INTO ottla.outbox (stripe, topic, headers) "
            "VALUES (1, 'orders', '[]'), (1, 'orders', '[]')"
        )
    waiting = CliRunner().invoke(app, ["outbox"])

    assert (before.exit_code, upgraded.exit_code, after.exit_code) == (1, 0, 0)
    assert "ottla db upgrade" in before.output
    assert f"version {SCHEMA_VERSION}" in upgraded.output
    assert "ready" in after.output
    assert re.fullmatch(
        r"orders: 2 records, the oldest for \d\.\d s\noutbox: backlog=2 oldest_s=\d\.\d\n", waiting.output
    )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://user:c4nary@localhost/x", "postgresql://"),
        ("postgresql://host:c4nary/x", "postgresql://"),
    ],
)
def test_an_unusable_url_is_an_error_of_configuration(
    monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    result = CliRunner().invoke(app, ["upgrade"])

    assert result.exit_code == 78
    assert said in result.output
    assert "c4n" not in result.output


def test_without_a_url_the_commands_name_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)

    result = CliRunner().invoke(app, ["status"])

    assert result.exit_code == 78
    assert "DATABASE_URL" in result.output
