"""The tables of Ottla, made and changed by Alembic in a schema and with a version table of their own."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from ottla.postgres.database import SCHEMA_VERSION, DatabaseSettings, our_own, parse_url, schema_version

FOLDER = Path(__file__).parent

_LOCK = 0x0074_746C_61  # "ottla": one upgrade at a time per database
_LOCK_TIMEOUT_MS = 60_000


def upgrade(url: str, schema: str = "ottla") -> int:
    """Bring Ottla's tables to this version, in one transaction; returns the version.

    May be run by several processes at once: one does it, the others wait for it.
    Tables that are newer than this code stay as they are. Blocks.
    """
    settings = DatabaseSettings(schema=schema)
    engine = create_engine(
        parse_url(url),
        poolclass=NullPool,
        connect_args={
            "connect_timeout": settings.connect_timeout_s,
            "application_name": "ottla db upgrade",
            "options": f"-c lock_timeout={_LOCK_TIMEOUT_MS}",
        },
    )
    with our_own(f"upgrading schema {schema!r}"), engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        return _upgrade(connection, schema)


def _upgrade(connection: Connection, schema: str) -> int:
    version = schema_version(connection, schema)
    if version >= SCHEMA_VERSION:
        return version
    if connection.execute(text("SELECT to_regnamespace(:schema)"), {"schema": schema}).scalar() is None:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes.update(connection=connection, schema=schema)
    command.upgrade(config, "head")
    return SCHEMA_VERSION
