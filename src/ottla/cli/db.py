"""`ottla db upgrade`, `status` and `outbox`: the tables of Ottla in the database of DATABASE_URL."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import typer

from ottla.errors import ConfigurationError, OttlaError
from ottla.settings import Settings, load_settings

if TYPE_CHECKING:  # SQLAlchemy costs 0.3 s of import and belongs to an extra
    from ottla.postgres.database import Database

app = typer.Typer(no_args_is_help=True, help="The tables of Ottla in the database of DATABASE_URL.")


@app.command()
def upgrade() -> None:
    """Make the tables, or bring them to this version; what is there stays. Safe to run from several pods."""
    with _said_in_one_line():
        settings = _settings()
        from ottla.postgres.migrations import upgrade as upgrade_tables

        version = upgrade_tables(_url(settings), settings.database_schema)
        typer.echo(f"ottla: schema {settings.database_schema!r} is at version {version}")


@app.command()
def status() -> None:
    """Say whether the tables are those that this version of Ottla needs; exits with 1 when they are not."""
    with _said_in_one_line():
        settings = _settings()
        asyncio.run(_check(_url(settings), settings.database_schema))
        typer.echo(f"ottla: schema {settings.database_schema!r} is ready")


@app.command()
def outbox() -> None:
    """Tell what waits to be sent to Kafka, per topic, and for how long."""
    with _said_in_one_line():
        settings = _settings()
        asyncio.run(_tell_outbox(_url(settings), settings.database_schema))


async def _check(url: str, schema: str) -> None:
    async with _checked_database(url, schema):
        pass


async def _tell_outbox(url: str, schema: str) -> None:
    from ottla.postgres.outbox import PostgresOutbox

    async with _checked_database(url, schema) as database:
        stored = PostgresOutbox(database)
        for waiting in await stored.topics():
            typer.echo(f"{waiting.topic}: {waiting.records} records, the oldest for {waiting.oldest_s:.1f} s")
        status = await stored.status()
    typer.echo(f"outbox: backlog={status.backlog} oldest_s={status.oldest_s:.1f}")


@asynccontextmanager
async def _checked_database(url: str, schema: str) -> AsyncIterator[Database]:
    from ottla.postgres.database import Database, DatabaseSettings

    database = Database(url, DatabaseSettings(schema=schema, connections=1))
    await database.open()
    try:
        await database.check()
        yield database
    finally:
        await database.close()


def _settings() -> Settings:
    # A job that migrates need not know the brokers, so where they are is not asked of it.
    return load_settings(environ={"KAFKA_BOOTSTRAP_SERVERS": "localhost", **os.environ})


def _url(settings: Settings) -> str:
    if settings.database_url is None:
        raise ConfigurationError("DATABASE_URL is not set: postgresql://user:password@host/name")
    return settings.database_url.get_secret_value()


@contextmanager
def _said_in_one_line() -> Iterator[None]:
    """End the command with what went wrong: 78 where an edit is needed, else 1."""
    try:
        yield
    except ConfigurationError as error:
        for line in str(error).splitlines():
            typer.echo(f"ottla: {line}", err=True)
        raise typer.Exit(os.EX_CONFIG) from error
    except (OttlaError, ImportError) as error:
        missing = "; install ottla[postgres]" if isinstance(error, ImportError) else ""
        typer.echo(f"ottla: {error}{missing}", err=True)
        raise typer.Exit(1) from error
