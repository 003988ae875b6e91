"""`make chaos`: faults on three brokers, a database and every process, then each record is looked for.

SECONDS=… (how long faults go on, 60 for a look) SEED=… RATE=… (records a second).
`--seeds` replays what was red.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from pathlib import Path

from tests.chaos.checkers import Bounds, findings
from tests.chaos.conductor import Conductor
from tests.chaos.evidence import gather
from tests.chaos.layout import Layout
from tests.chaos.report import figures, last_line, lines
from tests.chaos.schedule import plan
from tests.chaos.servers import running_servers
from tests.chaos.world import ROOT, World

RUNS = ROOT / ".chaos"
SEEDS = Path(__file__).parent / "seeds"
RATE = 40.0


def bounds(seconds: int) -> Bounds:
    """What a run of so many seconds has to show; ten minutes: 12 kinds, 60 kills, 10 windows."""
    return Bounds(
        kinds=min(12, 5 + seconds // 30),
        kills=seconds // 10,
        windows=max(1, seconds // 60),
        events=20 * seconds,
        faults=max(4, seconds // 8),
    )


def run(seed: int, seconds: int, rate: float = RATE) -> bool:
    """Whether nothing was found; prints what was, and keeps it."""
    folder = RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}-{seed}"
    folder.mkdir(parents=True)
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"chaos {time.monotonic() - began:5.0f} s: {line}", flush=True)

    drawn = plan(seed, seconds)
    print(
        f"chaos: SEED={seed} SECONDS={seconds} RATE={rate:g}, {drawn.kills} kills drawn; {folder}", flush=True
    )
    with running_servers() as servers:
        world = World(servers, folder, drawn.protocols, seed, rate)
        try:
            world.prepare()
            conductor = Conductor(world, drawn, say)
            conductor.run()
            say("reading histories, topics and tables")
            evidence = gather(world, conductor.recoveries, conductor.late)
            of_layout = Layout(world, say).run()
        finally:
            for number, broker in enumerate(servers.kafka.brokers, 1):
                broker.copy_log(folder / f"broker-{number}.log")
            world.close()
    told = figures(drawn, evidence, [*findings(evidence, bounds(seconds)), *of_layout])
    told["took_s"] = round(time.monotonic() - began)
    (folder / "report.json").write_text(json.dumps(told, indent=1))
    for line in lines(told):
        print(line)
    if told["findings"]:
        SEEDS.mkdir(exist_ok=True)
        kept = {name: told[name] for name in ("seed", "seconds")} | {"found": told["findings"][:10]}
        (SEEDS / f"{seed}-{seconds}.json").write_text(json.dumps(kept, indent=1) + "\n")
    print(last_line(told))
    return not told["findings"]


def replay() -> bool:
    """Every seed that once was red."""
    kept = [json.loads(path.read_text()) for path in sorted(SEEDS.glob("*.json"))]
    results = [run(each["seed"], each["seconds"]) for each in kept]
    print(f"chaos-seeds: {sum(results)} of {len(results)}")
    return all(results)


def main() -> int:
    if "--seeds" in sys.argv:
        return 0 if replay() else 1
    seed = int(os.environ.get("SEED") or secrets.randbelow(2**32))
    seconds = int(os.environ.get("SECONDS") or 600)
    return 0 if run(seed, seconds, float(os.environ.get("RATE") or RATE)) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("chaos: interrupted; all processes are ended", file=sys.stderr)
        sys.exit(130)
