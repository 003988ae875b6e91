"""A process is killed, or freezes, between the statements of its transaction: all of it remains, or nothing.

The next owner of the record must not have to wait for the dead one, either.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import text

from ottla.ports import Claim, InboxKey
from ottla.postgres.database import Database
from ottla.postgres.inbox import PostgresInbox
from tests.support.apps import until
from tests.support.deliver_once import IDLE_S

KEY = InboxKey("billing", "order-1", b"d" * 32)
WAITS_TO_SEND = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'ClientWrite'"
)
EFFECT = text("INSERT INTO effect VALUES ('order-1', 1)")


def kill_after(step: str, url: str) -> None:
    command = [sys.executable, "-m", "tests.support.deliver_once", url, step]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        child.kill()
    assert line == "reached\n"


async def test_one_that_freezes_while_it_reads_holds_its_row_no_longer_than_an_idle_one(
    migrated: str, sql: psycopg.Connection
) -> None:
    with one_that_freezes(migrated):
        await until(lambda: sql.execute(WAITS_TO_SEND).fetchone(), what="the server waits for the reader")
        began = time.monotonic()
        claim = await deliver(migrated)
        took_s = time.monotonic() - began

    assert claim is Claim.FRESH
    assert took_s < IDLE_S + 8
    assert sql.execute("SELECT * FROM effect").fetchall() == [("order-1", 1)]


@contextmanager
def one_that_freezes(url: str) -> Iterator[None]:
    """A process that stands still inside its transaction, or is about to."""
    command = [sys.executable, "-m", "tests.support.deliver_once", url, "read"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "reached\n"
        try:
            yield
        finally:
            child.kill()


async def deliver(url: str) -> Claim:
    database = Database(url)
    await database.open()
    try:
        return await PostgresInbox(database).once(KEY, lambda tx: tx.session.execute(EFFECT))
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("step", "remaining", "next_delivery"),
    [("insert", [], Claim.FRESH), ("effect", [], Claim.FRESH), ("commit", [("order-1", 1)], Claim.DONE)],
)
async def test_a_killed_process_leaves_all_of_its_transaction_or_nothing(
    migrated: str, sql: psycopg.Connection, step: str, remaining: list[tuple[str, int]], next_delivery: Claim
) -> None:
    kill_after(step, migrated)

    assert sql.execute("SELECT * FROM effect").fetchall() == remaining
    assert await deliver(migrated) is next_delivery
    assert sql.execute("SELECT * FROM effect").fetchall() == [("order-1", 1)]
