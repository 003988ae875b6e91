"""The owner's side of `guard.py`: a server process and its folder that cannot outlive their owner."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_POLL_S = 0.02
_PORTS = range(20_000, 32_000)


class ServerFailed(RuntimeError):
    """A server of the embedded stack or of the tests did not start or stop; the end of its log is told."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that no outgoing connection is given.

    A server must find its port free again at a restart. In the range the system
    gives to outgoing connections it may not be, and a client that keeps
    reconnecting there can even meet itself.
    """
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


class GuardedServer:
    """A temporary folder and at most one server process in it, both gone when this process is.

    The guard is a small process of its own that notices the end of its input, so
    SIGKILL of the owner is covered too. Threads may share it. A child made by
    `os.fork` without exec keeps the guard alive as long as itself.
    """

    def __init__(self, prefix: str) -> None:
        guard = Path(__file__).with_name("guard.py")
        self._lock = threading.Lock()
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(guard), prefix],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.folder = Path(self._read()["folder"])
        self.pid: int | None = None

    def start(
        self,
        argv: Sequence[str],
        *,
        log: str,
        env: Mapping[str, str] | None = None,
        user: tuple[int, int] | None = None,
        end_signal: signal.Signals = signal.SIGKILL,
    ) -> int:
        """Start `argv` in the folder with its output appended to `log` there; return its pid.

        `user` is (uid, gid) to run as. `end_signal` is what the guard sends when
        the owner is gone or closes.
        """
        uid, gid = user or (None, None)
        wish = {
            "argv": list(argv),
            "log": str(self.folder / log),
            "env": None if env is None else dict(env),
            "uid": uid,
            "gid": gid,
            "end_signal": int(end_signal),
        }
        answer = self._ask({"start": wish})
        if "error" in answer:
            raise ServerFailed(f"{argv[0]} did not start: {answer['error']}")
        pid = int(answer["pid"])
        self.pid = pid
        return pid

    def exit_code(self) -> int | None:
        """The exit code of the process; None while it runs. A negative one names the signal."""
        code: int | None = self._ask({"poll": True})["exit"]
        if code is not None:
            self.pid = None
        return code

    def wait(self, timeout_s: float) -> int:
        """The exit code, awaited; raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while (code := self.exit_code()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {self.pid} still runs after {timeout_s} s")
            time.sleep(_POLL_S)
        return code

    def wait_until(self, is_ready: Callable[[], bool], *, timeout_s: float, log: str) -> None:
        """Return once `is_ready`; raises ServerFailed when the process ends first, or in time is not."""
        deadline = time.monotonic() + timeout_s
        while not is_ready():
            code = self.exit_code()
            if code is not None:
                raise ServerFailed(f"the server ended with {code} at its start:\n{self.tail(log)}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"the server is not ready after {timeout_s} s:\n{self.tail(log)}")
            time.sleep(_POLL_S)

    def send_signal(self, number: signal.Signals) -> None:
        """Signal the process; nothing when it has ended."""
        if self.exit_code() is None and self.pid is not None:
            os.kill(self.pid, number)  # the guard alone reaps it: the pid is still its own

    def tail(self, log: str, characters: int = 2000) -> str:
        """The end of the log."""
        path = self.folder / log
        return path.read_text(errors="replace")[-characters:] if path.exists() else "(no log)"

    def close(self) -> None:
        """End the process and remove the folder; returns when both are gone. May be called twice."""
        with self._lock:
            if self._guard.stdin is None or self._guard.stdin.closed:
                return
            self._guard.stdin.close()
            self._guard.wait()
            if self._guard.stdout is not None:
                self._guard.stdout.close()
            self.pid = None

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if self._guard.stdin is None or self._guard.stdin.closed:
                raise ServerFailed("the server is closed")
            self._guard.stdin.write(json.dumps(command) + "\n")
            self._guard.stdin.flush()
            return self._read()

    def _read(self) -> dict[str, Any]:
        line = self._guard.stdout.readline() if self._guard.stdout is not None else ""
        if not line:
            raise ServerFailed("the guard of the server has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer
