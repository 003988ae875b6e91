"""`make chaos-mutants`: deliberate bugs, each of which a checker must find: so much are the checkers worth.

One set of servers, and on it one run a bug: topics, groups and a database of its own, a storm of the
nemeses that bring the bug to light. The first row is the library as it is, under all of these nemeses:
it must come out clean.
`python -m tests.chaos.mutant_table NAME …` runs single rows. SEED=…
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections import Counter
from pathlib import Path

from tests.chaos.checkers import NO_BOUNDS, Finding, findings
from tests.chaos.conductor import Conductor
from tests.chaos.evidence import gather
from tests.chaos.mutants import MUTANTS
from tests.chaos.schedule import FAILPOINTS, STORM_S, plan
from tests.chaos.servers import Servers, running_servers
from tests.chaos.world import ROOT, World

RUNS = ROOT / ".chaos"
RATE = 40.0
NONE = "none"
_SETTLE_S = 45.0
_QUIET_S = 3.0
_TRIES = 2
"""Storms with different seeds before a bug counts as not found: some need two things to meet."""
_LATE = {"C7", "C8", "C10"}
"""Checkers whose word does not count here: a busy machine is no bug found."""


def row(name: str, servers: Servers, folder: Path, seed: int) -> list[Finding]:
    """What the checkers say of one storm with the bug `name`."""
    mutant = MUTANTS.get(name)
    kinds = (
        frozenset(kind for each in MUTANTS.values() for kind in each.kinds)
        if mutant is None
        else mutant.kinds
    )
    points = FAILPOINTS if mutant is None else mutant.points
    drawn = plan(seed, int(STORM_S), kinds=kinds, points=points)
    here = folder / f"{name}-{seed}"
    here.mkdir(parents=True)
    world = World(
        servers,
        here,
        drawn.protocols,
        seed,
        RATE,
        suffix=f"-{name}-{seed}",
        mutant="" if mutant is None else name,
    )

    def say(line: str) -> None:
        with (here / "said.txt").open("a") as said:
            said.write(f"{line}\n")

    try:
        world.prepare()
        conductor = Conductor(world, drawn, say, quiet_s=_QUIET_S)
        conductor.run(settle_s=_SETTLE_S)
        evidence = gather(world, conductor.recoveries, conductor.late)
    finally:
        world.close()
    found = findings(evidence, NO_BOUNDS)
    (here / "findings.txt").write_text("".join(f"{' '.join(finding)}\n" for finding in found))
    return found


def main(names: list[str]) -> int:
    """Print a row for each, and how many were found."""
    seed = int(os.environ.get("SEED") or secrets.randbelow(10_000))
    folder = RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}-mutants"
    print(f"mutants: SEED={seed}; {folder}", flush=True)
    caught, is_sound = 0, True
    with running_servers() as servers:
        for name in names:
            began = time.monotonic()
            counts: Counter[str] = Counter()
            is_right = False
            for attempt in range(1 if name == NONE else _TRIES):
                found = row(name, servers, folder, seed + attempt)
                counts = Counter(finding.checker for finding in found if finding.checker not in _LATE)
                is_right = not counts if name == NONE else bool(set(MUTANTS[name].checkers) & set(counts))
                if is_right:
                    break
            if name == NONE:
                is_sound = is_right
            caught += is_right and name != NONE
            told = ", ".join(f"{checker} {count}" for checker, count in sorted(counts.items())) or "nothing"
            mark = "as it should" if is_right else "NOT FOUND" if name != NONE else "RED"
            print(f"{name:<24} {mark:<13} {told}  ({time.monotonic() - began:.0f} s)", flush=True)
    mutants = [name for name in names if name != NONE]
    print(f"mutants: caught {caught} of {len(mutants)}" + ("" if is_sound else ", and something without any"))
    return 0 if is_sound and caught == len(mutants) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:] or [NONE, *MUTANTS]))
    except KeyboardInterrupt:
        print("mutants: interrupted; all processes are ended", file=sys.stderr)
        sys.exit(130)
