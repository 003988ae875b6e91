"""`make bench-retry`: how late retries come under load, and what a stuck key costs the others, on real Kafka.

SECONDS=…, RECORDS=… and RUNS=… make it shorter for a look; the verdict is meant for the defaults.

A retry that is handled before it is due is a fault, whatever the rest says. The rates of
listeners with and without a stuck key are medians of runs in alternation. Their ratio is
missed when it is below LEAST_RATIO and every run with a stuck key was slower than every run
without one: while the two overlap, the spread of the machine explains the difference.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from confluent_kafka import Producer

from benchmarks.quick import python
from benchmarks.retry_work import FAILING, GROUP, RETRY, STUCK
from benchmarks.work import Order
from tests.support.kafka_server import Kafka, KafkaServer
from tests.support.pages import ROOT

SECONDS = int(os.environ.get("SECONDS", "30"))
RECORDS = int(os.environ.get("RECORDS", "480000"))
RUNS = int(os.environ.get("RUNS", "5"))
HEALTHY_PER_S, FAILING_PER_S = 2_000, 200
TICKS_PER_S = 20
A_TICK = (HEALTHY_PER_S + FAILING_PER_S) // TICKS_PER_S
KEYS = 200
PARTITIONS = 6
"""So many that no partition comes to the end of its window behind the stuck record."""
LEAST_RATIO = 0.95


def main() -> int:
    with KafkaServer() as kafka:
        os.environ["KAFKA_BOOTSTRAP_SERVERS"] = kafka.bootstrap_servers
        late_ms = lateness(kafka)
        rates = stuck_and_free(kafka)
    early = sum(late < 0 for delay in late_ms.values() for late in delay)
    p99_ms = max(percentile(delay, 0.99) for delay in late_ms.values())
    stuck, free = (statistics.median(rates[kind]) for kind in ("stuck", "free"))
    ratio = stuck / free
    print(f"{KEYS - 1} keys beside one that waits in place: {stuck:,.0f} records/s, without it {free:,.0f}")
    missed = []
    if early:
        missed.append(f"{early} retries were handled before they were due")
    if ratio < LEAST_RATIO and max(rates["stuck"]) < min(rates["free"]):
        missed.append(
            f"ratio {ratio:.2f} < {LEAST_RATIO}, and no run with a stuck key was as quick as one without"
        )
    if missed:
        print(f"bench-retry: MISSED {'; '.join(missed)}")
    print(f"bench-retry: early={early} late_p99_ms={p99_ms:.1f} stuck_ratio={ratio:.2f}")
    return 1 if missed else 0


def lateness(kafka: Kafka) -> dict[str, list[float]]:
    """By delay, how long after it was due each retry was handled."""
    topic = "loaded-retries"
    for suffix in ("", *(f"-{GROUP}{stage.suffix}" for stage in RETRY.stages), f"-{GROUP}-dlt"):
        kafka.create_topic(f"{topic}{suffix}", PARTITIONS)
    expected = FAILING_PER_S * SECONDS
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.retry_work", "lateness", topic, str(expected)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        began = time.perf_counter()
        send_load(kafka, topic)
        took_s = time.perf_counter() - began
        measured = json.loads(child.stdout.read())
    print(
        f"load: {measured['healthy'] / took_s:,.0f} healthy and {expected / took_s:,.0f} failing records/s "
        f"for {took_s:.0f} s, each failing one through {len(RETRY.stages)} retry topics, "
        f"{KEYS} keys, {PARTITIONS} partitions"
    )
    late_ms: dict[str, list[float]] = measured["late_ms"]
    for delay, late in late_ms.items():
        print(
            f"after {int(delay) / 1000:g} s: {len(late):,} retries, late by p50 {percentile(late, 0.5):.1f}, "
            f"p99 {percentile(late, 0.99):.1f}, at most {max(late):.1f}, at least {min(late):.1f} ms",
            flush=True,
        )
    return late_ms


def send_load(kafka: Kafka, topic: str) -> None:
    """SECONDS of records at an even pace, in ticks."""
    producer = a_producer(kafka)
    began = time.perf_counter()
    for tick in range(SECONDS * TICKS_PER_S):
        for number in range(A_TICK):
            note = FAILING if number < FAILING_PER_S // TICKS_PER_S else "passes"
            order = an_order(tick * A_TICK + number, note)
            producer.produce(topic, key=order.customer_id, value=order.model_dump_json())
        producer.poll(0)
        time.sleep(max(0.0, began + (tick + 1) / TICKS_PER_S - time.perf_counter()))
    assert producer.flush(60) == 0


def stuck_and_free(kafka: Kafka) -> dict[str, list[float]]:
    """Rates of the other keys, by whether one is stuck."""
    kafka.create_topic("loaded", PARTITIONS)
    others = sum(load(kafka, "loaded"))
    rates: dict[str, list[float]] = {"free": [], "stuck": []}
    for number in range(RUNS):
        for kind, measured in list(rates.items())[:: 1 if number % 2 else -1]:
            result: dict[str, Any] = json.loads(
                python("-m", "benchmarks.retry_work", kind, "loaded", str(others), cwd=ROOT)
            )
            measured.append(result["rate"])
            print(f"run {number + 1} of {RUNS}: {kind} {measured[-1]:,.0f} records/s", flush=True)
    return rates


def load(kafka: Kafka, topic: str) -> Iterator[bool]:
    """Write the records that every run reads; of each, whether it is another key's than the stuck one."""
    producer = a_producer(kafka)
    for number in range(RECORDS):
        order = an_order(number, "." * 100)
        producer.produce(topic, key=order.customer_id, value=order.model_dump_json())
        if number % 1000 == 0:
            producer.poll(0)
        yield order.customer_id != STUCK
    assert producer.flush(60) == 0


def an_order(number: int, note: str) -> Order:
    """The `number`-th; KEYS customers in turn."""
    return Order(
        order_id=f"S{number:08d}",
        customer_id=f"C{number % KEYS:05d}",
        quantity=number % 9,
        amount_usd=29.33,
        note=note,
    )


def a_producer(kafka: Kafka) -> Producer:
    return Producer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "queue.buffering.max.messages": RECORDS + 1,
        }
    )


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


if __name__ == "__main__":
    raise SystemExit(main())
