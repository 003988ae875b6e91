"""The program that holds a server and its folder, and removes both when its owner is gone.

Rules of this file
- It is run by path (`python -I -S guard.py prefix`), so it imports the standard library only.
- It makes a temporary folder and says where it is; then it reads one JSON object a line
  and answers each with one: {"start": …}, {"poll": true}.
- It never blocks in a command: the end of its input is the owner's death or wish, and is
  acted upon at once. Nothing else needs to work for the clean-up to happen.
- It has a session of its own: Ctrl-C in a terminal reaches the owner, not the server.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import Any

GRACE_S = 5.0  # what a server gets to end by its own signal


def main() -> None:
    """Serve the owner until its end of the pipe is closed, then clean up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _exit)
    folder = Path(tempfile.mkdtemp(prefix=sys.argv[1]))
    server: subprocess.Popen[bytes] | None = None
    end_signal = signal.SIGKILL
    try:
        _answer({"folder": str(folder)})
        for line in sys.stdin:
            command = json.loads(line)
            if "start" in command:
                end_signal = signal.Signals(command["start"]["end_signal"])
                server, answer = _start(folder, command["start"])
                _answer(answer)
            else:
                _answer({"exit": None if server is None else server.poll(), "running": server is not None})
    finally:
        if server is not None:
            _end(server, end_signal)
        _remove(folder)


def _exit(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit


def _answer(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


def _start(folder: Path, wish: dict[str, Any]) -> tuple[subprocess.Popen[bytes] | None, dict[str, Any]]:
    """Start the server; `uid` is whom to become, for servers that refuse to run as root."""
    identity: dict[str, Any] = {}
    if wish["uid"] is not None:
        os.chown(folder, wish["uid"], wish["gid"])
        identity = {"user": wish["uid"], "group": wish["gid"], "extra_groups": []}
    try:
        with Path(wish["log"]).open("ab") as log:
            server = subprocess.Popen(
                wish["argv"],
                cwd=folder,
                env=wish["env"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **identity,
            )
    except OSError as error:
        return None, {"error": str(error)}
    return server, {"pid": server.pid}


def _end(server: subprocess.Popen[bytes], end_signal: signal.Signals) -> None:
    if server.poll() is not None:
        return
    server.send_signal(end_signal)
    server.send_signal(signal.SIGCONT)  # it may have been stopped by a test
    try:
        server.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _remove(folder: Path) -> None:
    """Remove the folder; children of a killed server may go on writing for a moment."""
    deadline = time.monotonic() + GRACE_S
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            time.sleep(0.05)


if __name__ == "__main__":
    main()
