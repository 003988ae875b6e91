"""Whose failure is it: which errors of the driver are the world's, and which the handler's own.

The rules, all of them in this file:

1. What a statement of Ottla's own raises is never the handler's (`of_our_own`).
2. A connection that is dead when the handler's body ends makes the outcome the world's,
   whatever was raised, signals included: a handler that meets a dead connection says
   things it would not say over a sound one, and will say them again if it means them.
3. A transaction that PostgreSQL aborted is the world's when the error that aborted it
   says "not now" (`not_now`); else the handler's, as constraint violations are.
4. "Not now" because of another transaction is a `TransactionConflict`: the database is
   well, and only what met the conflict has to be done again.
5. Everything else a handler raises is its own, also errors of other databases it uses.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from ottla.errors import (
    AuthenticationFailed,
    DatabaseNotMigrated,
    DatabaseUnavailable,
    NotAuthorized,
    TransactionConflict,
    Unavailable,
)

# Source: PostgreSQL documentation, appendix A, "PostgreSQL Error Codes".
_TRANSIENT_CLASSES = frozenset(
    {
        "08",  # connection exceptions
        "53",  # insufficient resources: disk full, out of memory, too many connections
        "58",  # system errors, outside PostgreSQL itself
    }
)
_TRANSIENT = frozenset(
    {
        "25006",  # read-only: a standby, or a primary that has been demoted
        "25P03",  # idle_in_transaction_session_timeout: this process stood still
        "25P04",  # transaction_timeout
        "40003",  # statement completion unknown
        "57P01",  # admin shutdown
        "57P02",  # crash shutdown
        "57P03",  # cannot connect now
        "57P04",  # database dropped
        "57P05",  # idle session timeout
    }
)
_CONFLICTS = frozenset({"40001", "40P01"})  # serialization failure, deadlock
_LOCK_NOT_AVAILABLE = "55P03"
_NOT_MIGRATED = frozenset({"42P01", "42703", "3F000"})  # no such table, column, schema
_NOT_AUTHORIZED = "42501"
# libpq gives failures of connecting no SQLSTATE, only the server's words.
_REFUSALS = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "is not permitted to log in",
)


def causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and all that stands behind it: causes, contexts (suppressed ones too), members of groups."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += (current.__context__, current.__cause__)
        if isinstance(current, BaseExceptionGroup):
            waiting += current.exceptions


def not_now(error: BaseException | None) -> type[TransactionConflict | DatabaseUnavailable] | None:
    """What a driver error in or behind `error` is if it says "not now" rather than "not this"."""
    for each in () if error is None else causes(error):
        if isinstance(each, psycopg.Error) and (kind := _kind(each)) is not None:
            return kind
    return None


def of_our_own(error: BaseException, doing: str) -> Unavailable:
    """What an error of one of Ottla's own statements means; `doing` says what was tried."""
    driver = next((each for each in causes(error) if isinstance(each, psycopg.Error)), error)
    said = " ".join(str(driver).split())
    sqlstate = driver.sqlstate if isinstance(driver, psycopg.Error) else None
    if sqlstate in _NOT_MIGRATED:
        return DatabaseNotMigrated(f"{doing}: {said}; run `ottla db upgrade`")
    if sqlstate == _NOT_AUTHORIZED:
        return NotAuthorized(f"{doing}: {said}; grant it to the user of DATABASE_URL")
    if (sqlstate or "").startswith("28") or any(refusal in said for refusal in _REFUSALS):
        return AuthenticationFailed(f"{doing}: {said}; check user and password in DATABASE_URL")
    kind = _kind(driver) if isinstance(driver, psycopg.Error) else None
    return (kind or DatabaseUnavailable)(f"{doing}: {said}")


def _kind(error: psycopg.Error) -> type[TransactionConflict | DatabaseUnavailable] | None:
    sqlstate = error.sqlstate
    if sqlstate is None:  # no answer of the server: the connection is closed, lost, or was never made
        return DatabaseUnavailable if isinstance(error, psycopg.OperationalError) else None
    if sqlstate == _LOCK_NOT_AVAILABLE:
        # `lock_timeout` is ours and means "not now"; NOWAIT is the handler's own question, answered.
        # Both share a SQLSTATE and their words are translated; only the first comes from an interrupt.
        return TransactionConflict if error.diag.source_function == "ProcessInterrupts" else None
    if sqlstate in _CONFLICTS:
        return TransactionConflict
    is_transient = sqlstate in _TRANSIENT or sqlstate[:2] in _TRANSIENT_CLASSES
    return DatabaseUnavailable if is_transient else None
