"""`make deploy-check`: all of deploy/ without an account, a cluster or an engine, in under three minutes.

Chart, Terraform, IAM policies beside what the services do, Dockerfile, Compose, and what checkov finds.
Everything is looked at even when something fails, and each failure says what to do. Last line:
`deploy-check: manifests=N terraform_assertions=N policies=N failed=0`.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from importlib.util import find_spec
from pathlib import Path

from tests.deploy import images, policies, static_analysis, terraform
from tests.deploy.findings import Findings, Missing

_AT_ONCE = 3
"""The machine has two cores, and one of the steps waits for a disk now and then."""


def main() -> int:
    began = time.monotonic()
    print("deploy-check: chart, Terraform, policies, images, checkov", flush=True)
    with tempfile.TemporaryDirectory(prefix="deploy-check-") as folder, ThreadPoolExecutor(_AT_ONCE) as pool:
        parts = {pool.submit(_guarded, name, step): name for name, step in _steps(Path(folder)).items()}
        found = [finding for part in _in_order_of_ending(parts) for finding in part]
    counts = {
        what: sum(each.counts.get(what, 0) for each in found)
        for what in ("manifests", "terraform_assertions", "policies")
    }
    failures = [failure for each in found for failure in each.failures]
    # A step that found nothing to check has checked nothing.
    failures += [f"{what}: none was checked" for what, count in counts.items() if count == 0]
    for failure in failures:
        print(f"deploy-check: FAILED: {failure}", file=sys.stderr)
    took = time.monotonic() - began
    print(f"deploy-check: took {took:.0f} s")
    figures = " ".join(f"{what}={count}" for what, count in counts.items())
    print(f"deploy-check: {figures} failed={len(failures)}", flush=True)
    return 1 if failures else 0


def _steps(folder: Path) -> dict[str, Callable[[], list[Findings]]]:
    """What is done side by side; each step is done with its own parts in turn."""
    return {
        "checkov": lambda: [static_analysis.check()],
        "terraform": lambda: _terraform(folder),
        "chart": lambda: [_chart()],
        "images": images.check,
    }


def _terraform(folder: Path) -> list[Findings]:
    tested = terraform.check(folder)
    return [*tested.findings, policies.check(tested.resources)]


def _chart() -> Findings:
    """The chart has its own check; that it cannot be found is a failure, and no reason to pass."""
    if find_spec("tests.deploy.chart") is None:
        raise Missing("tests/deploy/chart.py is not there, so nothing checks deploy/kubernetes")
    chart = importlib.import_module("tests.deploy.chart")
    found: Findings = chart.check()
    return found


def _guarded(name: str, step: Callable[[], list[Findings]]) -> list[Findings]:
    try:
        return step()
    except Missing as missing:
        return [Findings(name, failures=[str(missing)])]
    except subprocess.TimeoutExpired as late:
        command = " ".join(str(word) for word in late.cmd)
        return [
            Findings(name, failures=[f"{command} took more than {late.timeout:.0f} s: is the machine busy?"])
        ]


def _in_order_of_ending(parts: dict[Future[list[Findings]], str]) -> Iterator[list[Findings]]:
    for future in as_completed(parts):
        found = future.result()
        for each in found:
            print(each, flush=True)
        yield found


if __name__ == "__main__":
    sys.exit(main())
