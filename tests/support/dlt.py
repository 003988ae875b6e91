"""`ottla dlt` as a process, and dead letters for it that an app has written."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from ottla import App, DeadLetter, DeadLetterTopic, Guard, Never, Record, Topic
from tests.support.apps import Sent, produce, running, settings_for, until
from tests.support.failing import GROUP, dead_letter_topic, dead_letters
from tests.support.kafka_server import ROOT, Kafka
from tests.support.processes import inherited_environment


class Done(NamedTuple):
    """What a command has left behind."""

    code: int
    lines: list[str]
    errors: list[str]


def dlt_started(
    kafka: Kafka,
    *arguments: str,
    environment: Mapping[str, str] = MappingProxyType({}),
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[str]:
    """`ottla dlt …` in a process of its own, without a terminal unless `stdin` is one."""
    return subprocess.Popen(
        [sys.executable, "-c", "from ottla.cli.main import main; main()", "dlt", *arguments],
        cwd=ROOT,
        env={
            **inherited_environment(),
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "OTTLA_CONFIG": os.devnull,
            "COLUMNS": "200",
            **environment,
        },
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def dlt(kafka: Kafka, *arguments: str, **environment: str) -> Done:
    """`ottla dlt …`, waited for."""
    process = dlt_started(kafka, *arguments, environment=environment)
    out, err = process.communicate(timeout=60)
    return Done(process.returncode, out.splitlines(), err.splitlines())


class Refused(Exception):
    """Why the handler of `bury` fails."""


async def bury(
    kafka: Kafka,
    topic: str,
    records: Iterable[Sent],
    *,
    headers: Iterable[tuple[str, bytes | None]] = (),
    group: str = GROUP,
) -> None:
    """Produce `records`, and have an app of `group` give all of them up.

    Whose value is "handler" are given up by the handler, the others after their last attempt.
    """
    app = App(group, settings=settings_for(kafka))
    records = list(records)
    there = len(dead_letters(kafka, topic, group))

    without_end = DeadLetterTopic(guard=Guard(run=100_000, ratio=1))

    @app.listener(Topic(topic, bytes), retry=Never(), dead_letter=without_end)
    async def handle(record: Record) -> None:
        if record.value == b"handler":
            raise DeadLetter("nobody wants it")
        raise Refused("no such customer") from KeyError("customer")

    def are_there() -> bool:
        return len(dead_letters(kafka, topic, group)) == there + len(records)

    produce(kafka, topic, records, headers=list(headers))
    async with running(app):
        # In a thread: to look takes longer than the app needs, and would hold it up.
        await until(
            lambda: asyncio.to_thread(are_there), what=f"all are in {dead_letter_topic(topic, group)}"
        )
