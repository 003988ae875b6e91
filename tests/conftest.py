"""The servers that tests share, and the count of tests per kind."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NoReturn

import pytest

TESTS = Path(__file__).parent


def kind_of(path: Path) -> str:
    """The kind of a test file is the top folder it stands in: unit, contract, integration and so on."""
    return path.relative_to(TESTS).parts[0]


def missing(what: str) -> NoReturn:
    """A server that cannot be had skips a test on a laptop and fails it where nobody would notice."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print how many tests of each kind passed and how many did not, and the seed of their order."""
    counts: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            kind = report.nodeid.split("::")[0].split("/")[1:-1]
            counts.setdefault(kind[0] if kind else "other", Counter())[outcome] += 1
    for kind, outcomes in sorted(counts.items()):
        told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        terminalreporter.write_line(f"tests: {kind} {told}")
    terminalreporter.write_line(
        f"tests: shuffled, the same again by --randomly-seed={config.getoption('randomly_seed')}"
    )
