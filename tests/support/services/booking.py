"""A service that books through `tx`, and can be held inside its transaction.

Environment: NOTES is a file, TOPIC the topic; the handler of HOLD waits, behind its effect, until
the file RELEASE is there.
"""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import text

from ottla import App, Record, Topic, Transaction
from tests.support.apps import until

app = App("booking")

_notes = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_hold = os.environ.get("HOLD", "")
_release = Path(os.environ.get("RELEASE", "/nowhere"))


def _note(what: str, record: Record, value: str) -> None:
    os.write(_notes, f"{what} {record.partition} {record.offset} {value}\n".encode())


@app.listener(Topic(os.environ["TOPIC"], str))
async def book(value: str, record: Record, tx: Transaction) -> None:
    await tx.session.execute(text("INSERT INTO effect VALUES (:value, 1)"), {"value": value})
    _note("begun", record, value)
    await until(lambda: value != _hold or _release.exists(), what="it is released", within_s=600)
    await tx.session.execute(text("INSERT INTO effect VALUES (:value, 2)"), {"value": value})
    _note("ended", record, value)
