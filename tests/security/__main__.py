"""Every way to be let in by a broker, and to be refused, on Apache Kafka itself: `make msk-iam-test`.

`python -m tests.security [WORD …]` for the checks whose names hold one of the words. Takes two
minutes, more on a busy machine, and ends within five with all that it started. Needs a JDK 17
and Kafka's jars.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable

from ottla.errors import OttlaError
from tests.security import iam_checks, other_checks, rights_checks
from tests.security.world import World, secured

Check = Callable[[World], Awaitable[None]]

_CHECK_S = 60.0
_WHOLE_S = 280.0
_KILLED_S = 300
"""Beyond it the process is killed, which ends the broker too; nothing but a fault of ours comes so far."""

CHECKS: list[Check] = [
    check
    for module in (iam_checks, rights_checks, other_checks)
    for name, check in vars(module).items()
    if name.startswith("check_")
]


async def _run(checks: list[Check], world: World) -> list[str]:
    """The names of those that failed."""
    failed = []
    deadline = time.monotonic() + _WHOLE_S
    for check in checks:
        what, began = check.__name__.removeprefix("check_").replace("_", " "), time.monotonic()
        try:
            async with asyncio.timeout(min(_CHECK_S, deadline - began)):
                await check(world)
        except (AssertionError, OttlaError, TimeoutError, ValueError, LookupError) as error:
            failed.append(what)
            print(f"msk-iam-test: FAILED {what}: {type(error).__name__}: {error}", flush=True)
            print("\n".join(world.said[-20:]), flush=True)
        else:
            print(f"msk-iam-test: ok {what} ({time.monotonic() - began:.1f} s)", flush=True)
    return failed


def main(words: list[str]) -> int:
    """Print a line per check, and how many passed; 0 when all did."""
    signal.alarm(_KILLED_S)
    checks = [check for check in CHECKS if not words or any(word in check.__name__ for word in words)]
    with secured() as world:
        failed = asyncio.run(_run(checks, world))
        what = "no secret, password or token in what was said"
        seen = world.seen_secrets()
        if seen:
            failed.append(what)
        print(f"msk-iam-test: {f'FAILED {what}: {len(seen)} lines' if seen else f'ok {what}'}")
    total = len(checks) + 1
    print(f"msk-iam-test: {total - len(failed)} passed, {len(failed)} failed")
    return 1 if failed or not checks else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
