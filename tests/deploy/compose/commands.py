"""Commands of other programs: bounded in time, quiet, and with their last words where they fail."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_TOLD = 3000
"""How much of what a command has written is told when it fails."""


class Failed(Exception):
    """Something went otherwise than it must."""


class Missing(Exception):
    """This machine lacks something; the message says how to get it."""


def run(
    *command: str | Path,
    within_s: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    merged: bool = False,
) -> str:
    """What `command` writes to stdout, with `merged` to stderr too; raises Failed with the end of both."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            env=env,
            cwd=cwd,
            input="" if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=within_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{_short(words)} took more than {within_s:.0f} s\n{_end(error.output)}") from error
    if done.returncode != 0:
        raise Failed(
            f"{_short(words)} ended with {done.returncode}\n{_end(done.stdout + (done.stderr or ''))}"
        )
    return done.stdout


def _short(words: Sequence[str]) -> str:
    text = " ".join(words)
    return text if len(text) <= 160 else f"{text[:160]}…"


def _end(output: bytes | str | None) -> str:
    text = output.decode(errors="replace") if isinstance(output, bytes) else output or ""
    return text[-_TOLD:].strip()
