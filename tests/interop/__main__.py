"""Ottla beside a service of Spring Kafka's on one broker of Apache Kafka.

`make interop`, or `python -m tests.interop [WORD …]` for the checks whose names hold one of
the words. Ends within four minutes whatever happens, with all that it started. Needs Java 17
or later, Kafka's jars and the Spring side's jar, which make builds.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

from ottla.errors import SendFailed, Unavailable
from tests.interop.checks import CHECKS
from tests.interop.spring_side import Spring
from tests.interop.world import PARTITIONS, TOPICS, World, both_sides
from tests.support.kafka_server import KafkaServer
from tests.support.spring_records import captured, differing

_CHECK_S = 30.0
_WHOLE_S = 210.0
_KILLED_S = 240
"""Beyond it the process is killed, which ends its servers too; nothing but a fault of ours comes so far."""


class Report:
    """One line per check, and how many came out how."""

    def __init__(self, spring: Spring, deadline: float) -> None:
        self._spring = spring
        self._deadline = deadline
        self.passed = self.failed = 0

    async def run(self, check: Callable[[World], Awaitable[None]], world: World) -> None:
        """Run `check` and print what came of it."""
        what = check.__name__.removeprefix("check_").replace("_", " ")
        try:
            async with asyncio.timeout(min(_CHECK_S, self._deadline - time.monotonic())):
                await check(world)
        except TimeoutError:
            self.fail(what, f"not done in time; it waited for: {world.waits_for}")
        except AssertionError as error:
            self.fail(what, str(error))
        except (SendFailed, ValueError, LookupError) as error:  # what came was not of the form it must have
            self.fail(what, f"{type(error).__name__}: {error}")
        else:
            self.passed += 1
            print(f"interop: ok {what}", flush=True)

    def compare_headers(self, world: World, *, is_whole: bool) -> None:
        """Whether what Spring wrote, then and in this run, is written by us with the same bytes."""
        fresh = world.failed_by_spring()
        records = [
            *(record.headers for record in captured().values()),
            *(headers for written in fresh.values() for headers in written),
        ]
        differ = differing(records)
        print(f"records: {len(records)}, {differ} differ", flush=True)
        if differ:
            self.fail("what Spring writes is written by us with the same bytes", f"{differ} records differ")
        if is_whole and (unused := [topic for topic, written in fresh.items() if not written]):
            self.fail("every topic of Spring's has its records compared", f"there is none on {unused}")

    def fail(self, what: str, why: str) -> None:
        """Print why, and the end of what the Spring side has said."""
        self.failed += 1
        print(f"interop: FAILED {what}: {why}\n--- the Spring side's log ends:", flush=True)
        print(self._spring.log(), end="\n---\n", flush=True)


async def _run(checks: list[Callable[[World], Awaitable[None]]], exits: ExitStack) -> Report:
    deadline = time.monotonic() + _WHOLE_S
    kafka = exits.enter_context(KafkaServer(heap_mb=384))
    for name in TOPICS:
        kafka.create_topic(name, PARTITIONS)
    spring = Spring(kafka)
    exits.callback(spring.close)
    report = Report(spring, deadline)
    try:
        async with both_sides(kafka, spring) as world:
            for check in checks:
                await report.run(check, world)
            report.compare_headers(world, is_whole=checks == CHECKS)
    except (AssertionError, Unavailable) as error:
        report.fail("both sides are ready", str(error))
    return report


def main(words: list[str]) -> int:
    """Print a line per check, and how many passed; 0 when all did."""
    signal.alarm(_KILLED_S)
    logging.basicConfig(level=logging.ERROR)  # dead letters are what this is about
    checks = [check for check in CHECKS if not words or any(word in check.__name__ for word in words)]
    with ExitStack() as exits:
        report = asyncio.run(_run(checks, exits))
    print(f"interop: {report.passed} passed, {report.failed} failed")
    return 0 if report.passed == len(checks) and not report.failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
