"""Services as processes of their own: started by `ottla run`, ended by signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.apps import DEADLINE_S, until
from tests.support.kafka_server import Kafka

ROOT = Path(__file__).parents[2]


def inherited_environment() -> dict[str, str]:
    """This process's environment without anything that would be a setting of Ottla's."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KAFKA_", "OTTLA_", "DATABASE_", "TOPICS__"))
    }


class Service:
    """A running process, and what it has said."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    def output(self) -> str:
        """Everything on its stdout and stderr so far."""
        return self._log.read_text()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def has_ended(self) -> bool:
        """Whether the process is over."""
        return self._process.poll() is not None

    async def code(self, within_s: float = DEADLINE_S) -> int:
        """Its exit code, once it has one."""
        await until(self.has_ended, what=f"the service ends; it said:\n{self.output()}", within_s=within_s)
        code = self._process.returncode
        assert code is not None
        return code

    async def says(self, text: str) -> None:
        """Wait until it has said `text`."""
        await until(
            lambda: text in self.output() or self.has_ended(), what=f"{text!r}; it said:\n{self.output()}"
        )
        assert text in self.output()


@contextmanager
def service(
    app: str, folder: Path, *arguments: str, environment: Mapping[str, str | None]
) -> Iterator[Service]:
    """`ottla run app` in a process of its own, killed at the end if it still runs."""
    command = ["-c", "from ottla.cli.main import main; main()", "run", app, *arguments]
    with _python(command, app.replace(":", "-"), folder, environment) as process:
        yield process


@contextmanager
def program(
    module: str, folder: Path, *arguments: str, environment: Mapping[str, str | None]
) -> Iterator[Service]:
    """`python -m module` in a process of its own, killed at the end if it still runs."""
    with _python(["-m", module, *arguments], module, folder, environment) as process:
        yield process


@contextmanager
def _python(
    command: list[str], name: str, folder: Path, environment: Mapping[str, str | None]
) -> Iterator[Service]:
    log = folder / f"{name}-{len(list(folder.iterdir()))}.log"
    given = {name: value for name, value in environment.items() if value is not None}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**inherited_environment(), "OTTLA_CONFIG": "/dev/null", **given},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Service(process, log)
    finally:
        process.kill()
        process.wait()


def noting(kafka: Kafka, topic: str, notes: Path, **more: str) -> dict[str, str]:
    """The environment of `tests.support.services.noting`."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_GROUP_ID": topic,
        "KAFKA_SESSION_TIMEOUT_S": "1",
        "TOPIC": topic,
        "NOTES": str(notes),
        **more,
    }


def noted(notes: Path, what: str) -> list[tuple[int, int, str]]:
    """What a service has noted as `begun` or `ended`: partition, offset, value, oldest first."""
    lines = notes.read_text().splitlines() if notes.exists() else []
    found = [line.split(" ", 3) for line in lines]
    return [(int(line[1]), int(line[2]), line[3]) for line in found if line[0] == what]
