"""The fixtures as a project has them that only installed Ottla: in a run of pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CONFIGURATION = "[pytest]\nasyncio_mode = auto\n"

USES_BOTH = """
import psycopg
import pytest

@pytest.mark.parametrize("number", [1, 2])
async def test_each_test_has_a_broker_and_a_database_of_its_own(broker, database, number):
    with psycopg.connect(database, autocommit=True) as sql:
        sql.execute("CREATE TABLE effect ()")
        assert sql.execute("SELECT count(*) FROM ottla.inbox").fetchone() == (0,)
        (where,) = sql.execute("SELECT current_setting('port') || ' ' || current_database()").fetchall()
        print("server", *where)
    assert (await broker.send("orders", b"v")).offset == 0
"""

USES_ITS_OWN = """
import pytest

@pytest.fixture
def database():
    return "our own"

def test_a_projects_own_fixture_stands_before(database):
    assert database == "our own"
"""

USES_A_DATABASE = """
import sys
sys.modules["psycopg"] = None  # as if ottla[postgres] were not installed

def test_it(database):
    pass
"""


def pytest_in(folder: Path, test: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    (folder / "pytest.ini").write_text(CONFIGURATION)
    (folder / "test_theirs.py").write_text(test)
    ours = {name: value for name, value in os.environ.items() if name not in {"CI", "PYTEST_ADDOPTS"}}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=ours | environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_each_test_has_its_own_broker_and_database_on_one_server(tmp_path: Path) -> None:
    done = pytest_in(tmp_path, USES_BOTH, "-s")

    servers = [line.split()[1:] for line in done.stdout.splitlines() if "server " in line]
    assert "2 passed" in done.stdout, done.stdout
    assert servers[0][0] == servers[1][0]
    assert servers[0][1] != servers[1][1]


def test_a_projects_own_fixture_of_the_same_name_stands_before_ours(tmp_path: Path) -> None:
    done = pytest_in(tmp_path, USES_ITS_OWN)

    assert "1 passed" in done.stdout, done.stdout


def test_without_the_extras_a_test_that_needs_the_database_is_skipped_with_the_reason(tmp_path: Path) -> None:
    done = pytest_in(tmp_path, USES_A_DATABASE)

    assert "1 skipped" in done.stdout, done.stdout
    assert "needs ottla[postgres,demo]" in done.stdout


def test_where_nobody_would_notice_it_fails(tmp_path: Path) -> None:
    done = pytest_in(tmp_path, USES_A_DATABASE, CI="true")

    assert "1 error" in done.stdout, done.stdout
    assert "needs ottla[postgres,demo]" in done.stdout
