"""A process of one service: the app as it is, watched and, where it is told to, struck.

Commands come on stdin, one a line: `kill POINT`, `stop POINT`, `disarm`, `stacks`. When stdin ends the
conductor is gone, and this process ends as well.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ottla import App
from ottla.cli.run import load
from ottla.core.decide import Ended, Outcome
from ottla.core.identity import EVENT_ID_HEADER
from ottla.kafka.producer import KafkaProducer
from ottla.records import Headers, SendResult
from ottla.runtime.assignment import Delivery
from ottla.runtime.invoker import Invoker, event_id_of
from tests.chaos.failpoints import Failpoints
from tests.chaos.history import History
from tests.chaos.mutants import MUTANTS

APPS = {
    "billing": "examples.shop.billing.app:app",
    "bank": "tests.chaos.services.bank:app",
    "notes": "tests.chaos.services.notes:app",
    "stale": "tests.chaos.services.stale:app",
}
_LOOK_S = 0.5


def watch(history: History, failpoints: Failpoints, group: str) -> None:
    """Note the beginning and the end of every call of a handler."""
    call = Invoker.__call__

    async def noted(invoker: Invoker, delivery: Delivery) -> Outcome:
        state, key = delivery.state, delivery.message.key()
        where = {
            "group": group,
            "topic": state.partition.topic,
            "partition": state.partition.partition,
            "offset": delivery.offset,
            "epoch": state.epoch,
            "key": None if key is None else key.decode(errors="replace"),
            "attempt": delivery.attempt,
        }
        history.note("begin", **where, event_id=event_id_of(delivery, delivery.headers or Headers()))
        failpoints.reach("handling")
        try:
            outcome = await call(invoker, delivery)
        except BaseException as error:
            history.note("end", **where, outcome=type(error).__name__)
            raise
        history.note(
            "end", **where, outcome=outcome.name if isinstance(outcome, Ended) else type(outcome).__name__
        )
        return outcome

    setattr(Invoker, "__call__", noted)  # noqa: B010  (a method is assigned on purpose)


def watch_sends(history: History) -> None:
    """Note where each record was said to be written: what is not found there was lost behind us."""
    send = KafkaProducer.send

    async def noted(producer: KafkaProducer, topic: str, **record: Any) -> SendResult:
        written = await send(producer, topic, **record)
        event_id, key = record["headers"].text(EVENT_ID_HEADER), record["key"]
        history.note(
            "sent",
            topic=topic,
            partition=written.partition,
            offset=written.offset,
            key=None if key is None else key.decode(errors="replace"),
            event_id=event_id,
        )
        return written

    setattr(KafkaProducer, "send", noted)  # noqa: B010  (a method is assigned on purpose)


def obey(failpoints: Failpoints) -> None:
    """Carry commands out until there are no more."""
    for line in sys.stdin:
        match line.split():
            case ["kill", point]:
                failpoints.arm(point, signal.SIGKILL)
            case ["stop", point]:
                failpoints.arm(point, signal.SIGSTOP)
            case ["disarm"]:
                failpoints.disarm()
            case ["stacks"]:
                faulthandler.dump_traceback(all_threads=True)
                os.kill(os.getpid(), signal.SIGUSR1)
    os._exit(3)


def report(app: App, history: History) -> None:
    """Note what the app says of itself, whenever that changes."""
    told: object = None
    while True:
        status = {
            "unready": app.unready(),
            "partitions": sorted(map(str, app.assigned())),
        }
        if status != told:
            history.note("status", **status)
            told = status
        time.sleep(_LOOK_S)


async def run(app: App) -> None:
    """Until SIGTERM."""
    loop = asyncio.get_running_loop()
    running = asyncio.ensure_future(app.run())
    on_signal: dict[signal.Signals, Callable[[], Any]] = {
        signal.SIGTERM: running.cancel,
        signal.SIGUSR1: tell_tasks,
    }
    for number, action in on_signal.items():
        loop.add_signal_handler(number, action)
    await asyncio.wait((running,))
    if not running.cancelled() and (error := running.exception()) is not None:
        raise error


def tell_tasks() -> None:
    """Where every task waits, into the log."""
    for task in asyncio.all_tasks():
        task.print_stack(limit=6, file=sys.stderr)


def main() -> None:
    """`python -m tests.chaos.worker HISTORY ROLE`."""
    path, role = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    history = History(Path(path))
    failpoints = Failpoints(history)
    if mutant := os.environ.get("CHAOS_MUTANT"):
        MUTANTS[mutant].patch()
    failpoints.wrap()
    watch(history, failpoints, os.environ["KAFKA_GROUP_ID"])
    watch_sends(history)
    app = load(APPS[role])
    for target in (lambda: obey(failpoints), lambda: report(app, history)):
        threading.Thread(target=target, daemon=True).start()
    history.note("started", pid=os.getpid())
    asyncio.run(run(app))
    history.note("stopped")
    logging.shutdown()
    os._exit(0)  # a handler that does not hear may still run


if __name__ == "__main__":
    main()
