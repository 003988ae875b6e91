"""What a step of `make deploy-check` has found, and what it needs of the machine."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".venv-deploy" / "bin"
_WITHIN_S = 300.0
_TOLD = 4000


class Missing(Exception):
    """This machine lacks something; the message says how to get it."""


@dataclass(slots=True)
class Findings:
    """Of one step: `said` in a few words, what was counted, and each failure with what to do."""

    name: str
    said: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        outcome = "ok" if not self.failures else f"{len(self.failures)} failed"
        return f"deploy-check: {self.name}: {outcome}{', ' if self.said else ''}{self.said}"


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended."""

    code: int
    output: str
    errors: str
    took_s: float

    @property
    def last_words(self) -> str:
        """What it said at the end, for who has to mend it."""
        return f"{self.output}\n{self.errors}".strip()[-_TOLD:]


def run(*command: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> Ended:
    """`command` to its end, whatever that is. It gets no credentials: nothing here may reach an account."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    began = time.monotonic()
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**inherited, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_WITHIN_S,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


def tool(name: str) -> Path:
    """A program of requirements/deploy.txt."""
    path = TOOLS / name
    if not path.exists():
        raise Missing(f"{name} is missing: run `make deploy-check`, or bash scripts/deploy_venv.sh")
    return path


def failed(name: str, ended: Ended, what_to_do: str, *, codes: Sequence[int] = (0,)) -> list[str]:
    """The failure of a command, if it is one."""
    if ended.code in codes:
        return []
    return [f"{name} ended with {ended.code}: {what_to_do}\n{ended.last_words}"]
