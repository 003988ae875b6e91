"""What tests ask an outbox for."""

from __future__ import annotations

from ottla.core.outbox import SHARDS, Wanted

ALL = Wanted(
    records=1_000,
    bytes=16 * 1024 * 1024,
    takes_any=True,
    but=[],
    stopped_keys=[],
    stopped_topics=[],
    again=[],
    shards=[*range(SHARDS)],
)
"""Whatever waits, of every shard."""
