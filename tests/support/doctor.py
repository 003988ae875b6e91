"""`ottla doctor` as a process, and what it has found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, NamedTuple

from tests.support.kafka_server import ROOT
from tests.support.processes import inherited_environment

WISHING = "tests.support.services.wishing:app"
"""Listens to TOPIC in the group KAFKA_GROUP_ID."""
TAKING = "tests.support.services.taking:app"
"""The same with a transaction: it needs DATABASE_URL."""


class Diagnosis(NamedTuple):
    """What the doctor has found."""

    code: int
    findings: list[dict[str, Any]]
    errors: str

    def of(self, check: str, subject: str | None = None) -> list[tuple[str, str]]:
        """Verdict, and what is said with its cure, of each finding of a check."""
        return [
            (each["verdict"], "; ".join(filter(None, (each["said"], each["cure"]))))
            for each in self.findings
            if each["check"] == check and subject in {None, each["subject"]}
        ]

    def ill(self) -> list[str]:
        """What fails: each check with its subject, in the order in which it is told."""
        return [f"{each['check']} {each['subject']}" for each in self.findings if each["verdict"] == "fail"]


def doctor_started(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """`ottla doctor …` in a process of its own that knows only `environment`."""
    return subprocess.Popen(
        [sys.executable, "-c", "from ottla.cli.main import main; main()", "doctor", *arguments],
        cwd=ROOT,
        env={**inherited_environment(), "OTTLA_CONFIG": os.devnull, "TOPIC": "orders", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def doctor(*arguments: str, **environment: str) -> Diagnosis:
    """What `ottla doctor` finds."""
    return told_by(doctor_started("--json", *arguments, **environment))


def told_by(process: subprocess.Popen[str]) -> Diagnosis:
    """What a doctor that was started with `--json` has found, waited for."""
    out, err = process.communicate(timeout=60)
    assert out, f"nothing was told, but:\n{err}"
    return Diagnosis(process.returncode, json.loads(out)["findings"], err)
