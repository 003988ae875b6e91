"""A service whose listener takes a transaction. Environment: TOPIC."""

from __future__ import annotations

import os

from ottla import App, Topic, Transaction

app = App("taking")


@app.listener(Topic(os.environ["TOPIC"], str))
async def handle(value: str, tx: Transaction) -> None: ...
