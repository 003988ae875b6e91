"""Of the database, clocks and this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ottla.core.diagnosis.findings import Check, Finding, fail, ok, skipped, warn

OLDEST_POSTGRESQL = 15
CLOCKS_MAY_DIFFER_S = 3.0


@dataclass(frozen=True, slots=True)
class SeenDatabase:
    """What PostgreSQL tells. Limits are in milliseconds, 0 where there is none."""

    where: str
    server_version: int
    """Its major version."""
    tables_version: int
    needed_version: int
    schema: str
    lacking: tuple[str, ...] = ()
    """Rights on the tables that the user does not have, as `INSERT on ottla.inbox`."""
    is_standby: bool = False
    statement_timeout_ms: int = 0
    transaction_timeout_ms: int = 0
    connections_free: int | None = None


def database(seen: SeenDatabase, *, connections: int) -> Iterator[Finding]:
    """Whether a service with so many `connections` can work with it."""
    check, where = Check.DATABASE, seen.where
    if seen.server_version < OLDEST_POSTGRESQL:
        cure = f"supported is {OLDEST_POSTGRESQL} and later"
        yield warn(check, where, f"PostgreSQL {seen.server_version}", cure)
    else:
        yield ok(check, where, f"PostgreSQL {seen.server_version}")
    if seen.is_standby:
        cure = "name the primary in DATABASE_URL (target_session_attrs=read-write finds it)"
        yield fail(check, where, "a standby, which takes no writes", cure)
    yield _tables(seen)
    if seen.lacking:
        cure = f"grant {', '.join(seen.lacking)} to the user of DATABASE_URL"
        yield fail(check, f"schema {seen.schema}", "this user may not do what inbox and outbox do", cure)
    for name, limit in (
        ("statement_timeout", seen.statement_timeout_ms),
        ("transaction_timeout", seen.transaction_timeout_ms),
    ):
        if limit:
            cure = "raise it for this user above what the slowest handler takes, or leave it off"
            yield warn(check, where, f"{name} ends what takes longer than {limit / 1000:g} s", cure)
    if seen.connections_free is not None and seen.connections_free < connections:
        said = f"{seen.connections_free} connections are free, and each process takes up to {connections}"
        yield warn(check, where, said, "lower DATABASE_CONNECTIONS, or raise max_connections")


def _tables(seen: SeenDatabase) -> Finding:
    subject = f"schema {seen.schema}"
    if seen.tables_version == 0:
        return fail(Check.DATABASE, subject, "Ottla's tables are not there", "run `ottla db upgrade`")
    if seen.tables_version < seen.needed_version:
        said = f"the tables have version {seen.tables_version}, needed is {seen.needed_version}"
        return fail(Check.DATABASE, subject, said, "run `ottla db upgrade`")
    return ok(Check.DATABASE, subject, f"tables of version {seen.tables_version}")


def database_refused(where: str, said: str) -> Finding:
    """No connection, or no answer; `said` is the driver's."""
    cure = "check DATABASE_URL, and that PostgreSQL runs there"
    if "unsupported startup parameter" in said:
        cure = "a pooler (PgBouncer) cannot carry the outbox: name PostgreSQL itself in DATABASE_URL"
    return fail(Check.DATABASE, where, said, cure)


def clock(other: str, difference_s: float, uncertain_s: float) -> Finding:
    """How far this machine's clock is ahead of another's (negative: behind), known within `uncertain_s`.

    When a retry is due, and how old a record is, are told by comparing clocks of several machines.
    """
    direction = "ahead of" if difference_s > 0 else "behind"
    said = f"this machine is {abs(difference_s):.1f} s {direction} {other}"
    if abs(difference_s) - uncertain_s > CLOCKS_MAY_DIFFER_S:
        return warn(Check.CLOCK, other, said, "retries come early or late by it: set both by NTP")
    within = f"(± {max(uncertain_s, 0.05):.2f} s)"
    if abs(difference_s) <= max(uncertain_s, 0.05):
        return ok(Check.CLOCK, other, f"tells the same time as this machine {within}")
    return ok(Check.CLOCK, other, f"{said} {within}")


def admin_port(where: str, *, error: str, answers_as_ottla: bool) -> Finding:
    """Whether OTTLA_ADMIN_PORT can be had; `error` is empty when it can."""
    if not error:
        return ok(Check.ADMIN_PORT, where, "free")
    if answers_as_ottla:
        return ok(Check.ADMIN_PORT, where, "taken by a service of Ottla's that runs")
    cure = "take another OTTLA_ADMIN_PORT, or end what has it"
    return fail(Check.ADMIN_PORT, where, f"cannot be opened ({error})", cure)


def without_app() -> Finding:
    """Nothing says which topics and groups are meant."""
    return skipped(
        Check.TOPIC,
        "-",
        "topics, rights and groups are an app's: name one that is sound, `ottla doctor MODULE:APP`",
    )
