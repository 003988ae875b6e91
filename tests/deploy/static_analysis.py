"""What checkov finds in deploy/, and that everything it is told to leave out has its reason beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.deploy.findings import ROOT, Findings, failed, run, tool

FOLDER = "deploy"
_FRAMEWORKS = ("terraform", "dockerfile")
_SKIP = re.compile(r"checkov:skip=(?P<id>[A-Z0-9_]+)(?P<reason>:[^\n]*)?")
_LEAST_REASON = 20
"""Characters; an id alone, or "n/a", is no reason."""


def check() -> Findings:
    """Nothing is asked of the network: no platform, no modules, no policies from outside."""
    ended = run(
        *(tool("checkov"), "--directory", FOLDER, "--framework", *_FRAMEWORKS),
        *("--skip-download", "--compact", "--quiet", "--output", "json"),
        env={"LOG_LEVEL": "ERROR", "ANSI_COLORS_DISABLED": "1"},
    )
    found = Findings("checkov", failures=failed("checkov", ended, "see what it names", codes=(0, 1)))
    if not found.failures:
        reports = _reports(ended.output)
        found.failures += complaints(reports)
        passed = sum(report["summary"]["passed"] for report in reports)
        skipped = sum(report["summary"]["skipped"] for report in reports)
        found.said = f"{passed} passed, {skipped} left out, each with its reason"
        if passed == 0:
            found.failures.append("checkov: it has checked nothing")
    found.failures += unreasoned((ROOT / FOLDER).rglob("*"))
    return found


def complaints(reports: Iterable[dict[str, Any]]) -> list[str]:
    """What failed, and what checkov could not read."""
    problems = []
    for report in reports:
        problems += [
            f"checkov: {each['check_id']} {each['resource']} ({FOLDER}{each['file_path']}): "
            f"{each['check_name']}; mend it, or leave it out in place with the reason: "
            f"#checkov:skip={each['check_id']}:reason"
            for each in report["results"]["failed_checks"]
        ]
        problems += [
            f"checkov: {each} cannot be read" for each in report["results"].get("parsing_errors", [])
        ]
    return problems


def unreasoned(paths: Iterable[Path]) -> list[str]:
    """Where something is left out and nobody says why."""
    return [
        f"{path}: checkov:skip={match['id']} has no reason: write #checkov:skip={match['id']}:why"
        for path in sorted(paths)
        if path.is_file() and path.suffix in {".tf", ".yaml", ".yml", ".tpl", ""}
        for match in _SKIP.finditer(path.read_text(errors="replace"))
        if len((match["reason"] or "").strip(": ")) < _LEAST_REASON
    ]


def _reports(output: str) -> list[dict[str, Any]]:
    told = json.loads(output)
    reports = told if isinstance(told, list) else [told]
    return [report for report in reports if "results" in report]
