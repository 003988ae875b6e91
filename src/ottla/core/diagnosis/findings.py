"""Findings: what was looked at, whether it is well, and what to do; and what follows from all of them.

The rules:

1. A check is pointless when one that it stands on has found nothing well; it is then skipped, and
   says which. Of several brokers one that is well is enough to go on.
2. What warns does not fail: the service runs, and something is at risk.
3. What only an edit cures (settings, wiring) decides the exit code, whatever else fails.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CONFIGURATION_EXIT = 78
"""EX_CONFIG of sysexits.h: starting again without an edit is of no use."""


class Verdict(enum.Enum):
    """How a check ended; the value is the word by which it is told."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"
    SKIPPED = "skipped"


class Check(enum.Enum):
    """What is looked at, in the order in which it is told."""

    SETTINGS = "settings"
    WIRING = "wiring"
    NAME = "name"
    CONNECTION = "connection"
    CERTIFICATE = "certificate"
    LOGIN = "login"
    ADVERTISED = "advertised"
    TOPIC = "topic"
    REPLICATION = "replication"
    RIGHTS = "rights"
    GROUP = "group"
    REGISTRY = "registry"
    DATABASE = "database"
    CLOCK = "clock"
    ADMIN_PORT = "admin port"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: a check of `subject`, what was seen (`said`), and what to do about it (`cure`)."""

    check: Check
    subject: str
    verdict: Verdict
    said: str
    cure: str = ""

    @property
    def text(self) -> str:
        """What was seen and what to do."""
        return f"{self.said}; {self.cure}" if self.cure else self.said

    @property
    def is_well(self) -> bool:
        """Whether what stands on it can be looked at."""
        return self.verdict in {Verdict.OK, Verdict.WARN}


def ok(check: Check, subject: str, said: str) -> Finding:
    """All is well."""
    return Finding(check, subject, Verdict.OK, said)


def warn(check: Check, subject: str, said: str, cure: str) -> Finding:
    """The service runs, and something is at risk."""
    return Finding(check, subject, Verdict.WARN, said, cure)


def fail(check: Check, subject: str, said: str, cure: str) -> Finding:
    """The service cannot do its work like this."""
    return Finding(check, subject, Verdict.FAIL, said, cure)


def skipped(check: Check, subject: str, why: str) -> Finding:
    """It was not looked at."""
    return Finding(check, subject, Verdict.SKIPPED, why)


def pointless(
    check: Check, after: Sequence[Check], found: Mapping[Check, Sequence[Finding]]
) -> Finding | None:
    """Why `check`, which stands on those of `after`, is not worth a look; None when it is.

    One that found nothing at all was not meant to be made, as a certificate without TLS.
    """
    for earlier in after:
        findings = found.get(earlier, ())
        if findings and not any(finding.is_well for finding in findings):
            return skipped(check, "-", f"not looked at: it needs {earlier.value}")
    return None


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """As they are told: by check; those of one check as they came."""
    places = {check: place for place, check in enumerate(Check)}
    return sorted(findings, key=lambda finding: places[finding.check])


def exit_code(findings: Iterable[Finding]) -> int:
    """0 when nothing fails, 78 when settings or wiring must be edited, 1 when anything else fails."""
    failed = {finding.check for finding in findings if finding.verdict is Verdict.FAIL}
    if failed & {Check.SETTINGS, Check.WIRING}:
        return CONFIGURATION_EXIT
    return 1 if failed else 0


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """How many findings there are of each verdict, under the names of the closing line."""
    found = Counter(finding.verdict for finding in findings)
    names = {Verdict.OK: "ok", Verdict.WARN: "warn", Verdict.FAIL: "failed", Verdict.SKIPPED: "skipped"}
    return {name: found[verdict] for verdict, name in names.items()}


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """For machines: the findings, their counts, and the exit code."""
    return {
        "findings": [
            {
                "check": finding.check.value,
                "subject": finding.subject,
                "verdict": finding.verdict.value.lower(),
                "said": finding.said,
                "cure": finding.cure or None,
            }
            for finding in findings
        ],
        "counts": counts(findings),
        "exit_code": exit_code(findings),
    }
