"""What a run prints at its end, and keeps as JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.chaos.checkers import Finding, events, kinds, overlapping, redelivered, sent_again
from tests.chaos.evidence import Evidence
from tests.chaos.schedule import Plan

LAYOUT = ("partitions-added", "out-of-range")
"""Of the phase of its own, which is red itself when they did not take place."""
MOST_TOLD = 12
"""Findings of one checker."""


def figures(plan: Plan, evidence: Evidence, findings: list[Finding]) -> dict[str, Any]:
    """The run in numbers."""
    counts = Counter(finding.kind for finding in findings)
    by_kind = Counter(fault.kind for fault in overlapping(evidence)) | Counter(LAYOUT)
    return {
        "seed": plan.seed,
        "seconds": plan.seconds,
        "protocols": {role: protocol.value for role, protocol in plan.protocols.items()},
        "events": events(evidence),
        "faults": by_kind.total(),
        "faults_by_kind": dict(by_kind),
        "faults_without_effect": dict(Counter(f.kind for f in evidence.faults if not f.took_effect)),
        "deeds": evidence.deeds,
        "kinds": len(kinds(evidence) | set(LAYOUT)),
        "kills": evidence.kills,
        "killed_at": dict(evidence.killed_at),
        "calls": len(evidence.calls),
        "redelivered": redelivered(evidence),
        "sent_again": sent_again(evidence),
        "letters": {f"{group} {topic}": len(found) for (group, topic), found in evidence.letters.items()},
        "effects": {f"{group} {topic}": len(found) for (group, topic), found in evidence.effects.items()},
        "recoveries_s": [round(seconds, 1) for seconds in evidence.recoveries],
        "lost": counts["lost"],
        "doubled": counts["doubled"],
        "inverted": counts["inverted"],
        "money": "conserved" if evidence.money == evidence.money_at_first else str(evidence.money),
        "vacuous": counts["vacuous"],
        "findings": [list(finding) for finding in findings],
    }


def lines(told: dict[str, Any]) -> list[str]:
    """All but the last line."""
    found = [
        f"protocols: {_pairs(told['protocols'])}",
        f"faults: {_pairs(told['faults_by_kind'])}",
        f"without effect: {_pairs(told['faults_without_effect']) or 'none'}",
        f"killed at: {_pairs(told['killed_at'])}",
        f"records that trouble: {_pairs(told['deeds'])}",
        f"effects: {_pairs(told['effects'])}; letters: {_pairs(told['letters'])}",
        f"calls: {told['calls']}; redelivered: {told['redelivered']}; sent again: {told['sent_again']}",
        f"recovery, s: {', '.join(map(str, told['recoveries_s']))}",
    ]
    shown: Counter[str] = Counter()
    for checker, kind, what in told["findings"]:
        shown[checker] += 1
        if shown[checker] <= MOST_TOLD:
            found.append(f"{checker} {kind}: {what}")
        elif shown[checker] == MOST_TOLD + 1:
            found.append(f"{checker}: and more, all in the JSON")
    return found


def last_line(told: dict[str, Any]) -> str:
    """The verdict."""
    verdict = "FAILED" if told["findings"] else "ok"
    recovery = max(told["recoveries_s"], default=0)
    return (
        f"chaos: {verdict} events={told['events']} faults={told['faults']} kinds={told['kinds']} "
        f"kills={told['kills']} lost={told['lost']} doubled={told['doubled']} inverted={told['inverted']} "
        f"money={told['money']} recovery_max_s={recovery:.0f} vacuous={told['vacuous']}"
        + (f" SEED={told['seed']} SECONDS={told['seconds']}" if told["findings"] else "")
    )


def _pairs(counts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
