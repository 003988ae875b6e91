"""What each process did, one JSON object a line, in single `write` calls: they survive SIGKILL.

Times are of the monotonic clock, which the processes of one machine share.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class History:
    """Appends to one file. Threads may share it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, what: str, **facts: Any) -> None:
        """One line: what happened, when, and its facts."""
        line = json.dumps({"at": round(time.monotonic(), 4), "what": what, **facts}) + "\n"
        os.write(self._file, line.encode())


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of one process; a last line that a kill cut off is left out."""
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield json.loads(line)


class Tail:
    """What is new in histories since it was made, or last asked."""

    def __init__(self, folder: Path, pattern: str) -> None:
        self._folder = folder
        self._pattern = pattern
        self._read = {path: path.stat().st_size for path in folder.glob(pattern)}

    def new(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The process's name and each of its lines, per process in order."""
        for path in sorted(self._folder.glob(self._pattern)):
            with path.open("rb") as lines:
                lines.seek(self._read.get(path, 0))
                while (line := lines.readline()).endswith(b"\n"):
                    self._read[path] = lines.tell()
                    yield path.stem, json.loads(line)
