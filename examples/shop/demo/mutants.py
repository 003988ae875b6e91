"""Deliberate bugs, to show that the demo would see them: patched into the demo's own billing processes.

DEMO_MUTANT=no-inbox      the inbox row is never written: what is delivered twice is billed twice
DEMO_MUTANT=commit-first  offsets are committed before the effect: what a kill interrupts is lost
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

_EFFECT_LATER_S = 0.4
"""So that a kill meets records that are committed and have no effect yet."""


def _no_inbox() -> None:
    from ottla.ports import Claim
    from ottla.postgres.inbox import PostgresInbox

    patched: Any = PostgresInbox
    patched._claim = lambda *_: Claim.FRESH  # noqa: SLF001


def _commit_first() -> None:
    from confluent_kafka import KafkaException, TopicPartition

    from ottla.core.offsets import Committable
    from ottla.kafka.consumer import KafkaSource
    from ottla.postgres.inbox import PostgresInbox
    from ottla.runtime.assignment import PartitionState

    source: Any = KafkaSource
    partition_state: Any = PartitionState
    inbox: Any = PostgresInbox
    hand_over, once = source._hand_over, inbox.once  # noqa: SLF001

    def commit_then_hand_over(self: Any, records: list[Any]) -> None:
        behind = {(record.topic(), record.partition()): record.offset() + 1 for record in records}
        offsets = [TopicPartition(*partition, offset) for partition, offset in behind.items()]
        with suppress(KafkaException):  # while the group rebalances: then they are committed with the next
            self._consumer.commit(offsets=offsets, asynchronous=False)
        hand_over(self, records)

    def position(self: PartitionState) -> Committable:
        return Committable(self.epoch, self.tracker.next_offset, is_idle=False)

    async def once_later(*arguments: Any) -> Any:
        await asyncio.sleep(_EFFECT_LATER_S)
        return await once(*arguments)

    source._hand_over = commit_then_hand_over  # noqa: SLF001
    partition_state.committable = position
    inbox.once = once_later


MUTANTS = {"no-inbox": _no_inbox, "commit-first": _commit_first}
