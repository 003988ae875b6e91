"""What is measured, each kind in a process of its own: `python -m benchmarks.work KIND TOPIC TOTAL`."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer
from pydantic import BaseModel, TypeAdapter

from benchmarks.loop import loop
from ottla import App, KafkaTemplate, Offsets, Topic
from ottla.settings import load_settings

LONE_RECORDS = 300
LONE_EVERY_S = 0.03
IDLE_S = 10.0


class Order(BaseModel):
    """The event of every benchmark; 200 bytes of JSON as `benchmarks.quick` writes it."""

    order_id: str
    customer_id: str
    quantity: int
    amount_usd: float
    note: str


class Handler:
    """Does nothing but count; the same function for the listener and for the loop."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.handled = 0
        self.first_at = 0.0
        self.ended = asyncio.Event()

    async def handle(self, event: Order) -> None:  # noqa: ARG002  (decoded for it, as for any handler)
        if not self.handled:
            self.first_at = time.perf_counter()
        self.handled += 1
        if self.handled == self.total:
            self.ended.set()

    def rate(self) -> float:
        return self.total / (time.perf_counter() - self.first_at)


def an_app(group: str) -> App:
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": os.environ["KAFKA_BOOTSTRAP_SERVERS"],
        "OTTLA_CONFIG": os.devnull,
        "OTTLA_ADMIN_PORT": os.environ.get("OTTLA_ADMIN_PORT", ""),  # 0: what measuring costs
    }
    return App(group, settings=load_settings(environ=environment))


async def measure_listener(topic: str, total: int) -> dict[str, Any]:
    handler = Handler(total)
    app = an_app(f"listener-{os.getpid()}")
    app.listener(Topic(topic, Order), concurrency=64, dead_letter=False)(handler.handle)
    async with app:
        await handler.ended.wait()
        return {"rate": handler.rate()}


async def measure_loop(topic: str, total: int) -> dict[str, Any]:
    handler = Handler(total)
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"],
            "group.id": f"loop-{os.getpid()}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([topic])
    await loop(consumer, TypeAdapter(Order).validate_json, handler.handle, total)
    rate = handler.rate()
    consumer.close()
    return {"rate": rate}


async def measure_lone(topic: str, _total: int) -> dict[str, Any]:
    """Milliseconds from `send` to the handler's start, records coming one by one."""
    app = an_app(f"lone-{os.getpid()}")
    begun: list[float] = []

    async def handle(event: Order) -> None:  # noqa: ARG001
        begun.append(time.perf_counter())

    app.listener(Topic(topic, Order), offsets=Offsets(start="latest"), dead_letter=False)(handle)
    async with app:
        while app.unready():
            await asyncio.sleep(0.05)
        await _lone(app.template, topic, begun, 20)  # the first ones meet cold connections
        waits = await _lone(app.template, topic, begun, LONE_RECORDS)
    waits.sort()
    return {"p50_ms": waits[len(waits) // 2] * 1000, "p99_ms": waits[int(len(waits) * 0.99)] * 1000}


async def _lone(template: KafkaTemplate, topic: str, begun: list[float], count: int) -> list[float]:
    waits = []
    for number in range(count):
        already, sent_at = len(begun), time.perf_counter()
        event = Order(order_id=str(number), customer_id="C", quantity=1, amount_usd=1, note="lone")
        await template.send(topic, event, key=str(number))
        while len(begun) == already:
            await asyncio.sleep(0.0005)
        waits.append(begun[-1] - sent_at)
        await asyncio.sleep(LONE_EVERY_S)
    return waits


async def measure_idle(topic: str, _total: int) -> dict[str, Any]:
    """Memory and processor of a listener that has nothing to do."""
    app = an_app(f"idle-{os.getpid()}")
    handler = Handler(0)
    app.listener(Topic(topic, Order), offsets=Offsets(start="latest"), dead_letter=False)(handler.handle)
    async with app:
        while app.unready():
            await asyncio.sleep(0.05)
        await asyncio.sleep(2)
        used, at = _processor_s(), time.perf_counter()
        await asyncio.sleep(IDLE_S)
        percent = 100 * (_processor_s() - used) / (time.perf_counter() - at)
    return {"percent": percent, "rss_mb": _resident_mb()}


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def _processor_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


WORK: dict[str, Callable[..., Any]] = {
    "listener": measure_listener,
    "loop": measure_loop,
    "lone": measure_lone,
    "idle": measure_idle,
}


if __name__ == "__main__":
    kind, its_topic, its_total = sys.argv[1:]
    print(json.dumps(asyncio.run(WORK[kind](its_topic, int(its_total)))))
