"""A service that notes what it handles in a file, which survives whatever becomes of the process.

Environment: NOTES is the file, TOPIC the topic, HOLD a number whose records never
end, WORK_S how long the work on a record takes,
IN_THREADS makes the handler a `def`.
"""

from __future__ import annotations

import asyncio
import os
import threading

from ottla import App, Record, Topic

app = App("noting")

_notes = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_hold = os.environ.get("HOLD", "")
_work_s = float(os.environ.get("WORK_S", "0"))


def _note(what: str, record: Record, value: str) -> None:
    os.write(_notes, f"{what} {record.partition} {record.offset} {value}\n".encode())


async def waiting(value: str, record: Record) -> None:
    _note("begun", record, value)
    if value == _hold:
        await asyncio.Event().wait()
    await asyncio.sleep(_work_s)
    _note("ended", record, value)


def in_a_thread(value: str, record: Record) -> None:
    _note("begun", record, value)
    if value == _hold:
        threading.Event().wait()
    _note("ended", record, value)


app.listener(Topic(os.environ["TOPIC"], str))(in_a_thread if "IN_THREADS" in os.environ else waiting)
