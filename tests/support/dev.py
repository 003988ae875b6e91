"""`ottla dev` as a newcomer runs it: in a folder with the files of a page, beside a second terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.pages import blocks

_DEADLINE_S = 60.0


def write_files(page: Path, folder: Path) -> None:
    """The files of `page`, as they stand there."""
    for block in blocks(page):
        if block.title:
            (folder / block.title).write_text(block.text)


def ottla(*arguments: str) -> tuple[str, ...]:
    """Arguments of the interpreter that make it the command `ottla`."""
    return "-c", "from ottla.cli.main import main; main()", *arguments


class Dev:
    """A running `ottla dev`, what it says, and a second terminal beside it."""

    def __init__(self, service: subprocess.Popen[bytes], folder: Path, log: Path) -> None:
        self._service = service
        self._folder = folder
        self._log = log

    def output(self) -> str:
        """Everything it has said so far."""
        return self._log.read_text()

    def addresses(self) -> dict[str, str]:
        """What it prints for the second terminal."""
        lines = [
            line.split(": ", 1)[1] for line in self.output().splitlines() if line.startswith("ottla dev: ")
        ]
        return dict(line.split("=", 1) for line in lines)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for `condition`; fails with the log when it does not come, or the service ends."""
        deadline = time.monotonic() + _DEADLINE_S
        while not condition():
            assert self._service.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.05)

    def run(self, *arguments: str) -> str:
        """Run a Python program in the second terminal to its end; what it printed."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self._folder,
            env=_environment() | self.addresses(),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=_DEADLINE_S,
        )
        return done.stdout

    @contextmanager
    def running(self, *arguments: str) -> Iterator[Dev]:
        """A Python program that runs on in a third terminal, until it is told to stop."""
        with _running(arguments, self._folder, _environment() | self.addresses()) as program:
            yield program


@contextmanager
def ottla_dev(app: str, folder: Path) -> Iterator[Dev]:
    """`ottla dev app` in `folder`; it is stopped at the end, and must end well."""
    with _running(ottla("dev", app), folder, _environment()) as program:
        program.wait_until(lambda: "DATABASE_URL=" in program.output())
        yield program


@contextmanager
def _running(arguments: tuple[str, ...], folder: Path, environment: dict[str, str]) -> Iterator[Dev]:
    log = folder / f"log-{len(list(folder.iterdir()))}"
    with log.open("wb") as output:
        service = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, env=environment, stdout=output, stderr=output
        )
    try:
        yield Dev(service, folder, log)
    finally:
        service.send_signal(signal.SIGTERM)
        code = service.wait(_DEADLINE_S)
    assert code == 0, log.read_text()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "DATABASE_"))}
