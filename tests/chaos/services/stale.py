"""Reads a topic whose records retention removes: what it may not do is go on in silence."""

from __future__ import annotations

from ottla import App, Record, Topic
from tests.chaos.workload import STALE

app = App("stale")


@app.listener(Topic(STALE, bytes))
async def on_record(value: bytes, record: Record) -> None:
    """The history has what it was given."""
