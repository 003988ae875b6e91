"""The process that sends: `python -m tests.chaos.producers HISTORY SEED RATE [SUFFIX]`, until SIGTERM.

Idempotent and acknowledged by all; what is acknowledged is noted, and must be found again.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from tests.chaos.history import History
from tests.chaos.workload import records

_FLUSH_S = 120.0


def main() -> None:
    """Send at the given rate, then wait for what is out."""
    path, seed, rate, suffix = sys.argv[1:]
    history = History(Path(path))
    producer = Producer(
        {
            **json.loads(os.environ["CHAOS_CLIENT"]),
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 5,
            "log_level": 2,
        }
    )

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            history.note("refused", topic=message.topic(), reason=error.str())
        else:
            history.note(
                "acked", topic=message.topic(), partition=message.partition(), offset=message.offset()
            )

    is_over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: is_over.set())
    threading.Thread(target=_end_with_the_conductor, daemon=True).start()
    history.note("started")
    every_s, due = 1 / float(rate), time.monotonic()
    for sent in records(int(seed)):
        if is_over.is_set():
            break
        send: dict[str, Any] = {"partition": sent.partition, "headers": list(sent.headers)}
        producer.produce(sent.topic + suffix, sent.value, sent.key, on_delivery=delivered, **send)
        due += every_s
        producer.poll(0)
        while (left := due - time.monotonic()) > 0:
            producer.poll(left)
    history.note("flushed", left=producer.flush(_FLUSH_S))


def _end_with_the_conductor() -> None:
    sys.stdin.read()
    os._exit(3)


if __name__ == "__main__":
    main()
