"""Takes no `tx`: what it does is at least once, and its dead letters are sent by itself."""

from __future__ import annotations

from ottla import App, InPlace, Record
from tests.chaos.services.deeds import do
from tests.chaos.workload import NOTES, Note

app = App("notes")


@app.listener(NOTES, concurrency=16, retry=InPlace(attempts=3, first_s=0.1, max_s=0.3))
async def on_order(event: Note | None, record: Record) -> None:
    """What it has done is in the history of its process: that it returned."""
    if event is not None:
        await do(event.deed, event.takes_s, record)
