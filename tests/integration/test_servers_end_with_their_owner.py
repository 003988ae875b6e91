"""Whatever ends the owner ends its servers and removes their folders: a user's machine stays clean."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
OWNER = """
import signal, sys
from ottla.embedded import EmbeddedKafka, EmbeddedPostgres
with EmbeddedKafka({"orders": 1}) as kafka, EmbeddedPostgres(durable=False) as postgres:
    print(kafka.pid, postgres.pid, flush=True)
    how = sys.stdin.readline().strip()
    if how == "raise":
        raise RuntimeError("a failure of the owner")
"""


class Owner(NamedTuple):
    process: subprocess.Popen[str]
    servers: list[int]


@contextmanager
def owner(folder: Path) -> Iterator[Owner]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    assert process.stdout is not None
    try:
        yield Owner(process, [int(pid) for pid in process.stdout.readline().split()])
    finally:
        process.kill()
        process.communicate()


def runs(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(servers: list[int], folder: Path) -> None:
    deadline = time.monotonic() + 15
    while any(runs(pid) for pid in servers) or any(folder.iterdir()):
        assert time.monotonic() < deadline, f"{servers} run, or {list(folder.iterdir())} is left"
        time.sleep(0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for temporary files that the database's user may enter too."""
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o011)
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_owner_ends_its_servers(end: signal.Signals, folder: Path) -> None:
    with owner(folder) as (process, servers):
        assert [runs(pid) for pid in servers] == [True, True]

        process.send_signal(end)

        wait_until_gone(servers, folder)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize("how", ["return", "raise"])
def test_the_end_of_the_owners_program_ends_its_servers(how: str, folder: Path) -> None:
    with owner(folder) as (process, servers):
        assert [runs(pid) for pid in servers] == [True, True]

        process.communicate(f"{how}\n")

        wait_until_gone(servers, folder)
