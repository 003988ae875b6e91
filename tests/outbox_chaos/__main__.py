"""`make outbox-chaos`: writers commit and roll back while processes that relay are killed, and brokers.

EVENTS=… (committed, 100,000 unless told) KILLS=… (of a relay that leads shards, 50) BROKERS=… (killed, 5)
SEED=…. At the end every committed event must have been published and no other; first records must
stand per key in the order of the commits; and a reader with an inbox must have had each once.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from typing import Any

from tests.outbox_chaos.checks import Verdict, compare
from tests.outbox_chaos.conductor import Conductor, Stalled, Struck
from tests.outbox_chaos.plan import WRITERS, events_of, transactions
from tests.outbox_chaos.world import running_world
from tests.support.kafka_server import ROOT

RUNS = ROOT / ".chaos"
_SHOWN = 10


def main() -> int:
    seed = int(os.environ.get("SEED") or secrets.randbelow(2**32))
    events = int(os.environ.get("EVENTS") or 100_000)
    kills = int(os.environ.get("KILLS") or 50)
    broker_kills = int(os.environ.get("BROKERS") or 5)
    folder = RUNS / f"outbox-{time.strftime('%Y%m%d-%H%M%S')}-{seed}"
    folder.mkdir(parents=True)
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"outbox {time.monotonic() - began:5.0f} s: {line}", flush=True)

    print(f"outbox: SEED={seed} EVENTS={events} KILLS={kills} BROKERS={broker_kills}; {folder}", flush=True)
    with running_world(folder, seed, events) as world:
        conductor = Conductor(world, kills=kills, broker_kills=broker_kills, say=say)
        try:
            conductor.run()
            problems = []
        except (Stalled, RuntimeError) as error:
            problems = [str(error)]
        say("reading ledger and topic")
        verdict = compare(world.committed(), world.published(), world.effects())
    problems += _vacuous(verdict, conductor.struck, events, kills, broker_kills)
    problems += [
        f"{name}: {', '.join(map(str, found[:_SHOWN]))}"
        for name, found in (
            ("not published", verdict.missing),
            ("of no committed transaction", verdict.phantom),
            ("against the order of the commits", verdict.inverted),
        )
        if found
    ]
    told = {"seed": seed, "took_s": round(time.monotonic() - began), **_figures(verdict, conductor.struck)}
    (folder / "report.json").write_text(json.dumps({**told, "problems": problems}, indent=1))
    print(", ".join(f"{name} {value}" for name, value in {**told, **_planned(seed, events)}.items()))
    for problem in problems:
        print(f"outbox: {problem}")
    is_ok = verdict.is_sound and not problems
    print(_last_line(verdict, is_ok=is_ok) + ("" if is_ok else f" SEED={seed} EVENTS={events} KILLS={kills}"))
    return 0 if is_ok else 1


def _vacuous(verdict: Verdict, struck: Struck, events: int, kills: int, broker_kills: int) -> list[str]:
    """What a run did not try."""
    return [
        f"vacuous: {what} {count} of {planned}"
        for what, count, planned in (
            ("committed", verdict.committed, events),
            ("leaders killed at work", struck.leaders, kills),
            ("brokers killed", struck.brokers, broker_kills),
        )
        if count < planned
    ]


def _planned(seed: int, events: int) -> dict[str, int]:
    """What writers did beside committing."""
    every = [
        planned
        for writer in range(WRITERS)
        for planned in transactions(seed, writer, events_of(writer, events))
    ]
    return {
        "transactions": len(every),
        "rolled_back": sum(planned.is_rolled_back for planned in every),
        "slow": sum(planned.pause_s > 0 for planned in every),
        "slow_at_commit": sum(planned.pause_at_commit_s > 0 for planned in every),
    }


def _figures(verdict: Verdict, struck: Struck) -> dict[str, Any]:
    return {
        "committed": verdict.committed,
        "published": verdict.published,
        "missing": len(verdict.missing),
        "phantom": len(verdict.phantom),
        "inverted": len(verdict.inverted),
        "duplicates": verdict.duplicates,
        "after_inbox": verdict.after_inbox,
        "leaders_killed": struck.leaders,
        "brokers_killed": struck.brokers,
        "without_leader_max_s": round(max(struck.without_leader_s, default=0.0), 1),
    }


def _last_line(verdict: Verdict, *, is_ok: bool) -> str:
    return (
        f"outbox: {'ok' if is_ok else 'FAILED'} committed={verdict.committed} published={verdict.published} "
        f"phantom={len(verdict.phantom)} inverted={len(verdict.inverted)} duplicates={verdict.duplicates} "
        f"after_inbox={verdict.after_inbox}"
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("outbox: interrupted; all processes are ended", file=sys.stderr)
        sys.exit(130)
