"""Whose failure is it: the table of rules."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors
from psycopg.pq import DiagnosticField
from sqlalchemy.exc import DBAPIError

from ottla.errors import (
    AuthenticationFailed,
    DatabaseNotMigrated,
    DatabaseUnavailable,
    NotAuthorized,
    TransactionConflict,
    Unavailable,
)
from ottla.postgres.failures import causes, not_now, of_our_own


def lock_not_available(source_function: bytes) -> psycopg.Error:
    return errors.LockNotAvailable(
        "locked",
        info={DiagnosticField.SQLSTATE: b"55P03", DiagnosticField.SOURCE_FUNCTION: source_function},
    )


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("the connection is closed"),
        errors.lookup("08006")(),
        errors.lookup("25006")(),
        errors.lookup("25P03")(),
        errors.lookup("40003")(),
        errors.lookup("53100")(),
        errors.lookup("53200")(),
        errors.lookup("53300")(),
        errors.lookup("57P01")(),
        errors.lookup("57P02")(),
        errors.lookup("57P03")(),
        errors.lookup("57P05")(),
        errors.lookup("58030")(),
    ],
    ids=lambda error: f"{type(error).__name__} {error.sqlstate}",
)
def test_a_database_that_cannot_now_is_unavailable(error: psycopg.Error) -> None:
    assert not_now(error) is DatabaseUnavailable


@pytest.mark.parametrize(
    "error",
    [errors.lookup("40001")(), errors.lookup("40P01")(), lock_not_available(b"ProcessInterrupts")],
    ids=lambda error: f"{type(error).__name__} {error.sqlstate}",
)
def test_another_transaction_in_the_way_is_a_conflict(error: psycopg.Error) -> None:
    assert not_now(error) is TransactionConflict


@pytest.mark.parametrize(
    "error",
    [
        psycopg.InterfaceError("cursor already closed"),
        psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"),
        errors.lookup("22012")(),
        errors.lookup("23505")(),
        errors.lookup("23514")(),
        errors.lookup("25P02")(),
        errors.lookup("42P01")(),
        errors.lookup("42501")(),
        errors.lookup("54000")(),
        errors.lookup("57014")(),
        errors.lookup("P0001")(),
        errors.lookup("XX000")(),
        lock_not_available(b"heap_lock_tuple"),
        ValueError("of the handler"),
        OSError("of another service"),
    ],
    ids=lambda error: f"{type(error).__name__} {getattr(error, 'sqlstate', '')}",
)
def test_what_stays_wrong_is_not_transient(error: Exception) -> None:
    assert not_now(error) is None


def raised(
    error: Exception, *, cause: Exception | None = None, context: Exception | None = None
) -> Exception:
    error.__cause__, error.__context__ = cause, context
    return error


DEADLOCK = errors.DeadlockDetected("deadlock")


@pytest.mark.parametrize(
    "error",
    [
        raised(ValueError(), cause=DEADLOCK),
        raised(ValueError(), context=DEADLOCK),
        raised(ValueError(), cause=raised(KeyError(), context=DEADLOCK)),
        raised(ValueError(), cause=KeyError(), context=DEADLOCK),
        ExceptionGroup("tasks", [ValueError(), raised(KeyError(), cause=DEADLOCK)]),
        raised(DBAPIError("SELECT 1", {}, DEADLOCK), cause=DEADLOCK),
    ],
)
def test_a_transient_error_is_found_behind_others(error: Exception) -> None:
    assert not_now(error) is TransactionConflict


def test_errors_that_stand_behind_each_other_end() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first

    assert set(causes(first)) == {first, second}


def test_no_error_is_not_transient() -> None:
    assert not_now(None) is None


@pytest.mark.parametrize(
    ("error", "kind", "cure"),
    [
        (errors.lookup("42P01")("no table"), DatabaseNotMigrated, "ottla db upgrade"),
        (errors.lookup("3F000")("no schema"), DatabaseNotMigrated, "ottla db upgrade"),
        (errors.lookup("42703")("no column"), DatabaseNotMigrated, "ottla db upgrade"),
        (errors.lookup("42501")("permission denied"), NotAuthorized, "grant"),
        (errors.lookup("28P01")("no"), AuthenticationFailed, "DATABASE_URL"),
        (
            psycopg.OperationalError('FATAL:  password authentication failed for user "x"'),
            AuthenticationFailed,
            "DATABASE_URL",
        ),
        (psycopg.OperationalError("no password supplied"), AuthenticationFailed, "DATABASE_URL"),
        (psycopg.OperationalError("Connection refused"), DatabaseUnavailable, "Connection refused"),
        (errors.lookup("40001")("serialization"), TransactionConflict, "serialization"),
        (errors.lookup("23514")("check"), DatabaseUnavailable, "check"),
    ],
)
def test_our_own_failures_are_the_worlds_and_name_the_cure(
    error: psycopg.Error, kind: type[Unavailable], cure: str
) -> None:
    meant = of_our_own(raised(DBAPIError("SELECT 1", {}, error), cause=error), "claiming")

    assert type(meant) is kind
    assert str(meant).startswith("claiming: ")
    assert cure in str(meant)
    assert "\n" not in str(meant)
