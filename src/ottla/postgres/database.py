"""Connections to PostgreSQL: how they are made, kept, checked and ended."""

from __future__ import annotations

import os
import re
import select
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import ArgumentError, DisconnectionError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from ottla.errors import DatabaseNotMigrated, DatabaseUnavailable, SettingsError, WiringError
from ottla.postgres.failures import of_our_own

SCHEMA_VERSION = 4
"""The version of the tables that this code needs; later versions only add to them."""

VERSION_TABLE = "schema_version"

_SHORTEST_RELAY_IDLE_S = 1.0
"""Twice as long as a relay without a shard is silent."""

_IN_THE_ORDER_OF_AN_INDEX = (
    "-c enable_seqscan=off -c enable_bitmapscan=off -c enable_sort=off -c random_page_cost=0.1"
)
"""How a relay reads, whatever statistics say: those of a table that fills and empties all the time are wrong.

With 100,000 rows waiting PostgreSQL took 20 ms a shard that was empty, and 40 ms a read of
eight shards; so it takes 0.2 and 5 ms.
"""

FAILURE = "ottla_failure"
"""Where a connection's `info` keeps the last error that a statement on it met."""

Driver = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """How Ottla uses its database.

    `connections` bounds the whole process; `threads` of them serve `def` handlers, one
    the relay of the outbox where there is one (`relay`), the rest everything else.
    `lock_timeout_s` and `idle_in_transaction_s` end what waits for, or holds, the row of
    a process that stands still: a group gives its records to others after the session
    time-out (45 s), and they wait behind it. `unanswered_s` ends a connection whose peer
    acknowledges nothing.
    """

    schema: str = "ottla"
    connections: int = 8
    threads: int = 0
    relay: bool = False
    connect_timeout_s: int = 5
    lock_timeout_s: float = 30
    idle_in_transaction_s: float = 60
    unanswered_s: float = 15
    relay_idle_s: float = 10
    """How long a relay may stand still before PostgreSQL ends its session, and its lead."""

    @property
    def shared(self) -> int:
        """The connections of the event loop's pool."""
        return self.connections - self.threads - self.relay

    def __post_init__(self) -> None:
        problems = []
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", self.schema):
            problems.append(f"database schema {self.schema!r} is not a plain lower-case PostgreSQL name")
        if self.relay_idle_s < _SHORTEST_RELAY_IDLE_S:
            problems.append(
                f"relay_idle_s={self.relay_idle_s:g} must be at least {_SHORTEST_RELAY_IDLE_S:g}: "
                "a relay without a shard would be taken for one that stands still"
            )
        if self.threads < 0 or self.shared < 1:
            relay = " and one for the outbox" if self.relay else ""
            problems.append(
                f"{self.connections} database connections leave none beside {self.threads} for `def` handlers"
                f"{relay}: raise DATABASE_CONNECTIONS"
            )
        if problems:
            raise SettingsError(tuple(problems))


class Database:
    """The connections of one process, bounded; nothing connects before the first use.

    Safe to share between the tasks of one loop; `connection_in_thread` between threads.
    """

    def __init__(self, url: str, settings: DatabaseSettings | None = None) -> None:
        self.settings = settings or DatabaseSettings()
        self._url = parse_url(url)
        self._engine: AsyncEngine | None = None
        self._thread_engine: Engine | None = None
        self._busy: set[Driver] = set()

    async def open(self) -> None:
        """Make room for connections; none is made yet."""
        threads = self.settings.threads
        options = _pool_options(self.settings)
        self._engine = create_async_engine(self._url, pool_size=self.settings.shared, **options)
        _watch(self._engine.sync_engine)
        if threads:
            self._thread_engine = create_engine(self._url, pool_size=threads, **options)
            _watch(self._thread_engine)

    async def close(self) -> None:
        """End every connection at once; transactions still open end with `DatabaseUnavailable`.

        Waits for no answer of PostgreSQL, so it is quick also when that hangs.
        """
        engine, self._engine = self._engine, None
        thread_engine, self._thread_engine = self._thread_engine, None
        for driver in tuple(self._busy):
            _hang_up(driver)
        if thread_engine is not None:
            thread_engine.dispose()
        if engine is not None:
            await engine.dispose()

    async def check(self) -> None:
        """Return when the database answers and its tables are those of this version, or newer ones.

        Raises `DatabaseUnavailable`, `AuthenticationFailed`, `NotAuthorized` or `DatabaseNotMigrated`.
        """
        schema = self.settings.schema
        async with self.connection() as connection:
            with our_own(f"reading the version of schema {schema!r}"):
                version = await connection.run_sync(schema_version, schema)
        if version < SCHEMA_VERSION:
            raise DatabaseNotMigrated(
                f"the tables in schema {schema!r} have version {version}, needed is {SCHEMA_VERSION}: "
                "run `ottla db upgrade`"
            )

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection of its own until the block ends; waits for one as long as it takes.

        Who uses it ends the transactions that it begins, or invalidates it.
        """
        if self._engine is None:
            raise DatabaseUnavailable("the connections to PostgreSQL are closed")
        with our_own("connecting to PostgreSQL"):
            connection = await self._engine.connect()
        try:
            with self._in_use(connection.sync_connection):
                yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def relay_connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection outside the pool, whose session ends when it is idle for `relay_idle_s`.

        Every statement on it commits by itself. The session's locks end with the block.
        """
        if self._engine is None:
            raise DatabaseUnavailable("the connections to PostgreSQL are closed")
        idle_ms = f"{self.settings.relay_idle_s * 1000:.0f}"
        more = f"-c idle_session_timeout={idle_ms} {_IN_THE_ORDER_OF_AN_INDEX}"
        options = _engine_options(self.settings, more)
        engine = create_async_engine(
            self._url, poolclass=NullPool, **{**options, "isolation_level": "AUTOCOMMIT"}
        )
        with our_own("connecting to PostgreSQL"):
            connection = await engine.connect()
        try:
            with self._in_use(connection.sync_connection):
                yield connection
        finally:
            await connection.invalidate()  # says goodbye to nobody: quick also when PostgreSQL hangs
            await connection.close()

    @contextmanager
    def connection_in_thread(self) -> Iterator[Connection]:
        """The same for a thread, which it blocks."""
        if self._thread_engine is None:
            if not self.settings.threads:
                raise WiringError("no database connections are set aside for `def` handlers (`threads`)")
            raise DatabaseUnavailable("the connections to PostgreSQL are closed")
        with our_own("connecting to PostgreSQL"):
            connection = self._thread_engine.connect()
        with connection, self._in_use(connection):
            yield connection

    @contextmanager
    def _in_use(self, connection: Connection | None) -> Iterator[None]:
        driver = driver_of(connection)
        self._busy.add(driver)
        try:
            yield
        finally:
            self._busy.discard(driver)


def parse_url(url: str) -> URL:
    """The SQLAlchemy URL of a PostgreSQL URL, always with the psycopg driver."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername not in {"postgres", "postgresql", "postgresql+psycopg"}:
        # What was given is not repeated, nor chained: a password may stand anywhere in it.
        problem = (
            "DATABASE_URL is not of the form postgresql://user:password@host:port/database "
            "(write special characters of the password as %XX)"
        )
        raise SettingsError((problem,))
    return parsed.set(drivername="postgresql+psycopg")


@contextmanager
def our_own(doing: str) -> Iterator[None]:
    """Turn database errors of Ottla's own statements into `Unavailable`."""
    try:
        yield
    except (psycopg.Error, SQLAlchemyError) as error:
        raise of_our_own(error, doing) from error


def driver_of(connection: Connection | None) -> Driver:
    """The psycopg connection under `connection`."""
    if connection is None or connection.connection.driver_connection is None:
        raise DatabaseUnavailable("the connection to PostgreSQL is closed")
    driver: Driver = connection.connection.driver_connection
    return driver


def schema_version(connection: Connection, schema: str) -> int:
    """The version of Ottla's tables; 0 when there are none."""
    known = connection.execute(text("SELECT to_regclass(:table)"), {"table": f"{schema}.{VERSION_TABLE}"})
    version = 0
    if known.scalar_one() is not None:
        rows = connection.execute(text(f"SELECT version_num FROM {schema}.{VERSION_TABLE}"))  # noqa: S608  checked name
        version = int(rows.scalar() or 0)
    return version


def _pool_options(settings: DatabaseSettings) -> dict[str, Any]:
    return {
        **_engine_options(settings),
        "max_overflow": 0,
        "pool_timeout": None,  # the listener holds a place for who waits: no error for waiting
    }


def _engine_options(settings: DatabaseSettings, more: str = "") -> dict[str, Any]:
    idle_ms = f"{settings.idle_in_transaction_s * 1000:.0f}"
    return {
        "pool_reset_on_return": None,  # every transaction is ended by who began it
        "isolation_level": "READ COMMITTED",
        "hide_parameters": True,  # errors carry no payload
        "connect_args": {
            "application_name": "ottla",
            "connect_timeout": settings.connect_timeout_s,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": int(settings.unanswered_s * 1000),
            # Sent with the start of the connection: no round trip.
            "options": f"-c lock_timeout={settings.lock_timeout_s * 1000:.0f} "
            f"-c idle_in_transaction_session_timeout={idle_ms} "
            # Of the server: one that sends rows to a process that stands still is not idle, it waits.
            f"-c tcp_user_timeout={idle_ms} {more}",
        },
    }


def _watch(engine: Engine) -> None:
    event.listen(engine, "checkin", _note_idle)
    event.listen(engine, "checkout", _refuse_dead)
    event.listen(engine, "handle_error", _note_failure)


def _note_idle(_dbapi_connection: Any, record: Any) -> None:
    record.info["idle"] = True


def _refuse_dead(_dbapi_connection: Any, record: Any, _proxy: Any) -> None:
    """Leave a connection that died while it lay idle; the pool makes another.

    PostgreSQL sends nothing to an idle connection but its end (or a notice of small
    worth), so looking at the socket tells without the round trip of a ping.
    """
    if record.info.pop("idle", False):
        poll = select.poll()
        poll.register(record.driver_connection.fileno(), select.POLLIN)
        if poll.poll(0):
            raise DisconnectionError("PostgreSQL ended the connection while it lay idle")


def _note_failure(context: ExceptionContext) -> None:
    if context.connection is not None and not context.connection.invalidated:
        context.connection.info[FAILURE] = context.original_exception


def _hang_up(driver: Driver) -> None:
    """Shut the socket under a connection in use: whoever waits on it gets an error at once.

    Closing it from here would free a descriptor that another thread may be polling.
    """
    if not driver.closed:
        with socket.socket(fileno=os.dup(driver.fileno())) as twin:
            twin.shutdown(socket.SHUT_RDWR)
