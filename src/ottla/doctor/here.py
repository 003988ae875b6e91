"""The database of DATABASE_URL, and the admin port of this machine."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
from contextlib import suppress
from importlib import import_module

from ottla.core.diagnosis.findings import Check, Finding, fail
from ottla.core.diagnosis.here import admin_port, clock, database, database_refused
from ottla.errors import Unavailable
from ottla.settings import Settings

_CONNECT_S = 4
_ANSWER_S = 2.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (named by the user; nothing is opened there)


def load_database_driver(settings: Settings) -> None:
    """Import what takes seconds on a busy machine, before the bound of a step runs."""
    if settings.database_url is not None:
        with suppress(ImportError):  # told by `examine_database`
            import_module("ottla.postgres.inspection")


async def examine_database(settings: Settings) -> list[Finding]:
    """Connection, version, tables, rights, limits, and clock; nothing without DATABASE_URL."""
    if settings.database_url is None:
        return []
    try:
        from ottla.postgres.inspection import inspect, place
    except ImportError as error:
        cure = 'pip install "ottla[postgres]", or unset DATABASE_URL'
        return [fail(Check.DATABASE, "DATABASE_URL", f"the driver is not installed ({error})", cure)]
    url = settings.database_url.get_secret_value()
    where = place(url)
    try:
        seen = await inspect(url, settings.database_schema, connect_timeout_s=_CONNECT_S)
    except Unavailable as error:
        return [database_refused(where, str(error))]
    return [
        *database(seen.database, connections=settings.database_connections),
        clock("the database", seen.ahead_s, seen.uncertain_s),
    ]


async def examine_admin_port(settings: Settings) -> list[Finding]:
    """Whether a service could open OTTLA_ADMIN_PORT now; nothing where it is not set, or 0."""
    if not settings.admin_port:
        return []
    host, port = settings.admin_host, settings.admin_port
    error = await asyncio.to_thread(_why_not_opened, host, port)
    answers = bool(error) and await asyncio.to_thread(_answers_as_ottla, _EVERYWHERE.get(host, host), port)
    return [admin_port(f"{host}:{port}", error=error, answers_as_ottla=answers)]


def _why_not_opened(host: str, port: int) -> str:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    return ""


def _answers_as_ottla(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=_ANSWER_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().read().startswith(b'{"ready":')
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
