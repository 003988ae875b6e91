"""`make bench-quick`: the typed listener beside a hand-written loop, on real Kafka; judges ratio and budgets.

RECORDS=… and RUNS=… make it shorter for a look; the verdict is meant for the defaults.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree as ET

from confluent_kafka import Producer

from benchmarks.work import Order
from tests.support.dev import write_files
from tests.support.kafka_server import Kafka, KafkaServer
from tests.support.pages import ROOT

RECORDS = int(os.environ.get("RECORDS", "500000"))
RUNS = int(os.environ.get("RUNS", "5"))
KEYS = 10_000
PARTITIONS = 6
RECORD_BYTES = 200
LEAST_RATIO = 0.6
MOST_LONE_P99_MS = 20.0
MOST_IMPORT_S = 0.3
MOST_IDLE_MB = 80.0
MOST_IDLE_PERCENT = 2.0
MOST_TEST_S = 0.1
AUTHORS_TEST = "test_payments.py"
"""The test that the how-to page shows without a database: retry and dead letters on the in-memory broker."""

_IMPORT = "import time; at = time.perf_counter(); import ottla; print(time.perf_counter() - at)"


def main() -> int:
    with KafkaServer() as kafka:
        kafka.create_topic("loaded", PARTITIONS)
        kafka.create_topic("quiet", PARTITIONS)
        load(kafka)
        rates: dict[str, list[float]] = {"loop": [], "listener": []}
        for number in range(RUNS):
            for kind, measured in rates.items():
                measured.append(work(kafka, kind, "loaded")["rate"])
                print(f"run {number + 1} of {RUNS}: {kind} {measured[-1]:,.0f} records/s", flush=True)
        lone = work(kafka, "lone", "quiet")
        print(
            f"a lone record, send to handler start: p50 {lone['p50_ms']:.1f} ms, p99 {lone['p99_ms']:.1f} ms"
        )
        idle = work(kafka, "idle", "quiet")
    import_s = min(float(python("-c", _IMPORT)) for _ in range(5))
    print(f"idle listener: {idle['rss_mb']:.0f} MB (at most {MOST_IDLE_MB:.0f}), "
          f"{idle['percent']:.2f} % of a core (at most {MOST_IDLE_PERCENT:.0f}); "
          f"import ottla: {import_s:.3f} s (at most {MOST_IMPORT_S})")  # fmt: skip
    test_s = min(authors_test() for _ in range(3))
    print(f"author's test: {test_s:.3f} s (at most {MOST_TEST_S})")
    loop, listener = statistics.median(rates["loop"]), statistics.median(rates["listener"])
    ratio = listener / loop
    spread = max((max(measured) - min(measured)) / statistics.median(measured) for measured in rates.values())
    missed = [
        what
        for what, is_met in {
            f"ratio {ratio:.2f} < {LEAST_RATIO}": ratio >= LEAST_RATIO,
            f"lone record p99 {lone['p99_ms']:.1f} ms > {MOST_LONE_P99_MS} ms": lone["p99_ms"]
            <= MOST_LONE_P99_MS,
            f"import {import_s:.2f} s": import_s < MOST_IMPORT_S,
            f"author's test {test_s:.2f} s": test_s <= MOST_TEST_S,
            f"idle memory {idle['rss_mb']:.0f} MB": idle["rss_mb"] < MOST_IDLE_MB,
            f"idle processor {idle['percent']:.1f} %": idle["percent"] < MOST_IDLE_PERCENT,
        }.items()
        if not is_met
    ]
    if missed:
        print(f"bench: MISSED {'; '.join(missed)}")
    print(f"bench: ratio={ratio:.2f} loop={loop:.0f}/s listener={listener:.0f}/s spread={spread:.2f} "
          f"lone_p99_ms={lone['p99_ms']:.1f}")  # fmt: skip
    return 1 if missed else 0


def load(kafka: Kafka) -> None:
    """Write the records that every run reads: KEYS keys in turn, each record of RECORD_BYTES."""
    producer = Producer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "partitioner": "murmur2_random",
            "linger.ms": 50,
            "queue.buffering.max.messages": RECORDS + 1,
        }
    )
    for number in range(RECORDS):
        key = f"C{number % KEYS:05d}"
        event = Order(
            order_id=f"S{number:08d}", customer_id=key, quantity=number % 9, amount_usd=29.33, note=""
        )
        room = RECORD_BYTES - len(event.model_dump_json())
        producer.produce(
            "loaded", key=key, value=event.model_copy(update={"note": "." * room}).model_dump_json()
        )
        if number % 1000 == 0:
            producer.poll(0)
    if left := producer.flush(60):
        raise SystemExit(f"bench: {left} records could not be loaded")
    print(f"loaded {RECORDS:,} records of {RECORD_BYTES} bytes in {PARTITIONS} partitions", flush=True)


def work(kafka: Kafka, kind: str, topic: str) -> dict[str, Any]:
    """Measure one kind of work in a process of its own."""
    os.environ["KAFKA_BOOTSTRAP_SERVERS"] = kafka.bootstrap_servers
    result: dict[str, Any] = json.loads(python("-m", "benchmarks.work", kind, topic, str(RECORDS)))
    return result


def authors_test() -> float:
    """Seconds of set-up, call and tear-down of an author's test, as pytest reports them.

    In a process of its own, as an author runs it, so nothing is warm. What is imported while
    tests are collected does not count, nor does pytest's own start.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        for page in (ROOT / "README.md", ROOT / "docs" / "howto" / "testing.md"):
            write_files(page, folder)
        (folder / "pytest.ini").write_text(
            "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
            "junit_duration_report = total\n"
        )
        python(
            "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=report.xml", AUTHORS_TEST, cwd=folder
        )
        (case,) = ET.parse(folder / "report.xml").getroot().iter("testcase")  # noqa: S314  (pytest's own)
    assert len(case) == 0, f"{AUTHORS_TEST} was skipped"
    return float(case.attrib["time"])


def python(*arguments: str, cwd: Path | None = None) -> str:
    return subprocess.run(
        [sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True, cwd=cwd
    ).stdout


if __name__ == "__main__":
    raise SystemExit(main())
