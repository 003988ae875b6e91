"""Deliberate bugs, to show that the demo would see them: patched into the demo's own billing processes.

DEMO_MUTANT=no-inbox      the inbox row is never written: what is delivered twice is billed twice
DEMO_MUTANT=commit-first  offsets are committed before the effect: what a kill interrupts is lost
"""

from __future__ import annotations

import asyncio
from typing import Any

_COMMITTED_BY_THEN_S = 0.4
"""Longer than a commit takes to be due and to be sent."""


def _no_inbox() -> None:
    from ottla.ports import Claim
    from ottla.postgres.inbox import PostgresInbox

    patched: Any = PostgresInbox
    patched._claim = lambda *_: Claim.FRESH  # noqa: SLF001


def _commit_first() -> None:
    from ottla.core.offsets import Committable
    from ottla.postgres.inbox import PostgresInbox
    from ottla.runtime.assignment import PartitionState
    from ottla.runtime.engine import Engine

    engine: Any = Engine
    partition_state: Any = PartitionState
    inbox: Any = PostgresInbox
    records, once = engine.records, inbox.once

    def records_then_commit(self: Any, *arguments: Any) -> None:
        records(self, *arguments)
        self._publish()

    def position(self: PartitionState) -> Committable:
        return Committable(self.epoch, self.tracker.next_offset, is_idle=False)

    async def once_when_committed(*arguments: Any) -> Any:
        await asyncio.sleep(_COMMITTED_BY_THEN_S)
        return await once(*arguments)

    engine.records = records_then_commit
    partition_state.committable = position
    inbox.once = once_when_committed


MUTANTS = {"no-inbox": _no_inbox, "commit-first": _commit_first}
