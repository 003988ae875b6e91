"""A service that wants something of its topic.

Environment: TOPIC, PARTITIONS how many it shall have (unset: no wish), CONFIG as JSON.
"""

from __future__ import annotations

import json
import os

from ottla import App, Topic

app = App("wishing")

_partitions = os.environ.get("PARTITIONS")
TOPIC = Topic(
    os.environ["TOPIC"],
    str,
    partitions=None if _partitions is None else int(_partitions),
    config=json.loads(os.environ.get("CONFIG", "{}")),
)


@app.listener(TOPIC)
async def handle(value: str) -> None: ...
