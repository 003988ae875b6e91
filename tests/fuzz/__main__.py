"""`make fuzz`: 100,000 random records onto every topic that a listener reads; SEED=… RECORDS=…"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import sys
import time

import psycopg

from ottla.embedded import EmbeddedPostgres
from ottla.postgres.migrations import upgrade
from tests.fuzz.run import run
from tests.support.kafka_server import Kafka, KafkaServer

SEED = int(os.environ.get("SEED") or secrets.randbelow(2**32))
RECORDS = int(os.environ.get("RECORDS") or 100_000)
MOST_TOLD = 20


def main() -> int:
    logging.getLogger("ottla").setLevel(logging.CRITICAL)  # tens of thousands of dead letters
    brokers, began = os.environ.get("KAFKA_BOOTSTRAP_SERVERS"), time.monotonic()
    print(f"fuzz: SEED={SEED} RECORDS={RECORDS}", flush=True)
    with contextlib.ExitStack() as stack:
        kafka = Kafka(brokers) if brokers else stack.enter_context(KafkaServer())
        url = stack.enter_context(EmbeddedPostgres(durable=False)).url
        upgrade(url)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE effect (event_id text, amount integer)")
        result = asyncio.run(run(kafka, url, seed=SEED, count=RECORDS))
    for line in (*result.crashes, *result.wrong)[:MOST_TOLD]:
        print(line[:2_000])
    print(f"fuzz: {dict(result.ends)} in {time.monotonic() - began:.0f} s, {len(result.wrong)} wrong")
    is_right = not (result.crashes or result.wrong)
    print(
        f"fuzz: {'ok' if is_right else f'FAILED SEED={SEED}'} records={RECORDS} "
        f"crashed={len(result.crashes)} unaccounted={result.unaccounted}"
    )
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
