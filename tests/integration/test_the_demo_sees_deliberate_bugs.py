"""A demo that could not fail would prove nothing: each mutant of the billing processes must be seen.

And how it ends. The demo itself, without a bug, is `make demo`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
NO_SERVERS = {
    name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "DATABASE_"))
}


def _start(folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "examples.shop.demo"],
        cwd=ROOT,
        env={**NO_SERVERS, "ORDERS": "300", "TMPDIR": str(folder), **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def _last_line(demo: subprocess.Popen[str]) -> str:
    output, _ = demo.communicate(timeout=100)
    sys.stdout.write(output)  # pytest shows it where the test fails
    return output.splitlines()[-1]


@pytest.fixture
def enterable() -> Iterator[Path]:
    """A folder that PostgreSQL's unprivileged user may enter; each run of pytest closes pytest's own."""
    with tempfile.TemporaryDirectory(prefix="ottla-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_billing_without_the_inbox_bills_twice(enterable: Path) -> None:
    demo = _start(enterable, {"DEMO_MUTANT": "no-inbox"})

    line = _last_line(demo)

    assert line.startswith("demo: FAILED orders=300 ")
    assert int(re.findall(r"duplicates=(\d+)", line)[0]) >= 50
    assert " lost=0:" in line
    assert demo.returncode == 1


def test_billing_that_commits_before_the_effect_loses_orders(enterable: Path) -> None:
    demo = _start(enterable, {"DEMO_MUTANT": "commit-first"})

    line = _last_line(demo)

    assert line.startswith("demo: FAILED orders=300 ")
    assert " duplicates=0 " in line
    assert int(re.findall(r"lost=(\d+)", line)[0]) >= 1
    assert demo.returncode == 1


def test_ctrl_c_stops_every_process_and_removes_every_folder(enterable: Path) -> None:
    demo = _start(enterable, {})
    assert demo.stdout is not None
    pids: list[int] = []
    while len(pids) < 6:  # all services, then the storefront
        pids += [int(pid) for pid in re.findall(r"started, pid (\d+)", demo.stdout.readline())]

    demo.send_signal(signal.SIGINT)
    line = _last_line(demo)

    assert line == "demo: FAILED interrupted; everything is stopped and removed"
    assert demo.returncode == 130
    assert [pid for pid in pids if _is_running(pid)] == []
    assert list(enterable.iterdir()) == []


def test_a_kept_shop_takes_orders_until_ctrl_c(enterable: Path) -> None:
    demo = _start(enterable, {"ORDERS": "20", "KEEP": "1"})
    assert demo.stdout is not None
    lines: list[str] = []
    while not lines or "kept until Ctrl-C" not in lines[-1]:
        lines.append(demo.stdout.readline())
        assert demo.poll() is None, lines
    (orders,) = re.findall(r"orders +(http://\S+)/docs", "".join(lines))

    status = httpx.get(f"{orders}/readyz").status_code
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=60)

    assert status == 200
    assert any(line.startswith("demo: ok orders=20 ") for line in lines)
    assert demo.returncode == 0
    assert list(enterable.iterdir()) == []


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
