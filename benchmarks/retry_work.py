"""What `benchmarks.retry` measures: `python -m benchmarks.retry_work KIND TOPIC TOTAL`, each in a process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from benchmarks.work import Order, an_app
from ottla import InPlace, Record, RetryTopics, Topic

GROUP = "bench"
RETRY = RetryTopics(attempts=3, first_s=1, factor=10)
"""By way of `-retry-1000` and `-retry-10000`."""
FAILING = "failing"
"""The note of an order that fails on its first two topics."""
STUCK = "C00000"
"""The customer whose first order fails, where one is stuck, and waits for longer than the run takes."""
PATIENT = InPlace(attempts=2, first_s=3600, max_s=3600)


async def measure_lateness(topic: str, total: int) -> dict[str, Any]:
    """How late each retry was, until `total` records have failed twice and passed."""
    app = an_app(GROUP)
    late_ms: dict[str, list[float]] = defaultdict(list)
    healthy, passed, ended = 0, 0, asyncio.Event()

    @app.listener(Topic(topic, Order), retry=RETRY)
    async def handle(event: Order, record: Record) -> None:
        nonlocal healthy, passed
        if event.note != FAILING:
            healthy += 1
            return
        if record.attempt > 1:
            now_ms = time.time_ns() / 1e6
            due_ms = int.from_bytes(record.headers.last("retry_topic-backoff-timestamp") or b"", "big")
            late_ms[record.topic.removeprefix(f"{topic}-{GROUP}-retry-")].append(now_ms - due_ms)
        if record.attempt < RETRY.attempts:
            raise ValueError("not yet")
        passed += 1
        if passed == total:
            ended.set()

    async with app:
        while app.unready():
            await asyncio.sleep(0.05)
        print("ready", flush=True)
        await ended.wait()
    return {"late_ms": late_ms, "healthy": healthy}


async def measure_rate(topic: str, total: int, *, is_stuck: bool) -> dict[str, Any]:
    """Records a second of all customers but one, of whom the first record waits in place or does not."""
    app = an_app(f"{GROUP}-{os.getpid()}")
    handled, first_at, last_at, ended = 0, 0.0, 0.0, asyncio.Event()

    @app.listener(Topic(topic, Order), retry=PATIENT, dead_letter=False)
    async def handle(event: Order) -> None:
        nonlocal handled, first_at, last_at
        if event.customer_id == STUCK:
            if is_stuck:
                raise ValueError("not for an hour")
            return
        handled += 1
        if handled == 1:
            first_at = time.perf_counter()
        elif handled == total:
            last_at = time.perf_counter()
            ended.set()

    async with app:
        await ended.wait()
    return {"rate": total / (last_at - first_at)}


async def measure_stuck(topic: str, total: int) -> dict[str, Any]:
    return await measure_rate(topic, total, is_stuck=True)


async def measure_free(topic: str, total: int) -> dict[str, Any]:
    return await measure_rate(topic, total, is_stuck=False)


WORK: dict[str, Callable[..., Any]] = {
    "lateness": measure_lateness,
    "stuck": measure_stuck,
    "free": measure_free,
}


if __name__ == "__main__":
    kind, its_topic, its_total = sys.argv[1:]
    print(json.dumps(asyncio.run(WORK[kind](its_topic, int(its_total)))))
