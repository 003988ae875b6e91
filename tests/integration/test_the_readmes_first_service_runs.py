"""The first thing a newcomer does: the README's service under `ottla dev`, its event sent twice.

The files are taken from the page as they stand, so the page cannot fall behind the code.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from tests.support.apps import committed
from tests.support.kafka_server import Kafka
from tests.support.pages import ROOT, blocks

_DEADLINE_S = 60.0


def _ottla(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from ottla.cli.main import main; main()", *arguments]


def _addresses(log: Path) -> dict[str, str]:
    """What `ottla dev` prints for the second terminal."""
    lines = [
        line.split(": ", 1)[1] for line in log.read_text().splitlines() if line.startswith("ottla dev: ")
    ]
    return dict(line.split("=", 1) for line in lines)


def _wait_until(condition: Callable[[], bool], log: Path, service: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not condition():
        assert service.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_the_first_service_of_the_readme_bills_an_event_that_is_sent_twice_once(tmp_path: Path) -> None:
    for block in blocks(ROOT / "README.md"):
        if block.title:
            (tmp_path / block.title).write_text(block.text)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "DATABASE_"))
    }
    log = tmp_path / "log"
    with log.open("wb") as output:
        service = subprocess.Popen(
            _ottla("dev", "billing:app"), cwd=tmp_path, env=environment, stdout=output, stderr=output
        )
    try:
        _wait_until(lambda: "assigned orders-0@0" in log.read_text(), log, service)
        addresses = _addresses(log)

        for _ in range(2):
            subprocess.run(
                [sys.executable, "place.py"],
                cwd=tmp_path,
                env=environment | addresses,
                check=True,
                timeout=60,
            )

        broker = Kafka(addresses["KAFKA_BOOTSTRAP_SERVERS"])
        _wait_until(lambda: sum(committed(broker, "billing", "orders").values()) == 4, log, service)
        with psycopg.connect(addresses["DATABASE_URL"], autocommit=True) as database:
            rows = database.execute("SELECT order_id, cents FROM invoice").fetchall()
        assert rows == [("o-1", 999)]
    finally:
        service.send_signal(signal.SIGTERM)
        code = service.wait(_DEADLINE_S)
    assert code == 0, log.read_text()
