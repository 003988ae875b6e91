"""What a database tells of itself to one user; nothing is made or changed there."""

from __future__ import annotations

import time
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ottla.core.diagnosis.here import SeenDatabase
from ottla.postgres.database import (
    SCHEMA_VERSION,
    Database,
    DatabaseSettings,
    our_own,
    parse_url,
    schema_version,
)

_RIGHTS = {"inbox": ("SELECT", "INSERT", "UPDATE", "DELETE"), "outbox": ("SELECT", "INSERT", "DELETE")}
_LIMITS = ("statement_timeout", "transaction_timeout")


class Inspected(NamedTuple):
    """The database, and how far this machine's clock is ahead of its, known within `uncertain_s`."""

    database: SeenDatabase
    ahead_s: float
    uncertain_s: float


def place(url: str) -> str:
    """`host:port/name` of a database, without user and password."""
    parsed = parse_url(url)
    port = "" if parsed.port is None else f":{parsed.port}"
    return f"{parsed.host or 'local socket'}{port}/{parsed.database or ''}"


async def inspect(url: str, schema: str, *, connect_timeout_s: int) -> Inspected:
    """Look at the database by one connection.

    Raises `DatabaseUnavailable`, `AuthenticationFailed` or `NotAuthorized`.
    """
    settings = DatabaseSettings(schema=schema, connections=1, connect_timeout_s=connect_timeout_s)
    database = Database(url, settings)
    await database.open()
    try:
        async with database.connection() as connection:
            with our_own("asking PostgreSQL"):
                return await _inspected(connection, place(url), schema)
    finally:
        await database.close()


async def _inspected(connection: AsyncConnection, where: str, schema: str) -> Inspected:
    # Once before it counts: the first statement also begins the transaction.
    await connection.execute(text("SELECT 1"))
    before = time.time()
    there = (await connection.execute(text("SELECT extract(epoch FROM clock_timestamp())"))).scalar_one()
    after = time.time()
    version = await connection.run_sync(schema_version, schema)
    row = (
        await connection.execute(
            text(
                "SELECT current_setting('server_version_num')::int / 10000, pg_is_in_recovery(), "
                "current_setting('max_connections')::int "
                "- current_setting('superuser_reserved_connections')::int "
                "- (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
            )
        )
    ).one()
    limits = await _limits(connection)
    seen = SeenDatabase(
        where=where,
        server_version=row[0],
        tables_version=version,
        needed_version=SCHEMA_VERSION,
        schema=schema,
        lacking=await _lacking(connection, schema) if version >= SCHEMA_VERSION else (),
        is_standby=row[1],
        statement_timeout_ms=limits["statement_timeout"],
        transaction_timeout_ms=limits["transaction_timeout"],
        connections_free=row[2],
    )
    return Inspected(seen, (before + after) / 2 - float(there), (after - before) / 2)


async def _limits(connection: AsyncConnection) -> dict[str, int]:
    """Limits in milliseconds; 0 where there is none, and where this version does not know it."""
    rows = await connection.execute(
        text("SELECT name, setting::bigint AS setting FROM pg_settings WHERE name = ANY(:names)"),
        {"names": list(_LIMITS)},
    )
    return dict.fromkeys(_LIMITS, 0) | {str(row.name): int(row.setting) for row in rows}


async def _lacking(connection: AsyncConnection, schema: str) -> tuple[str, ...]:
    lacking = []
    for table, rights in _RIGHTS.items():
        for right in rights:
            name = f"{schema}.{table}"
            has = await connection.execute(
                text("SELECT has_table_privilege(:table, :right)"), {"table": name, "right": right}
            )
            if not has.scalar_one():
                lacking.append(f"{right} on {name}")
    return tuple(lacking)
