"""What a handler raises is anybody's; telling its outcome must always come to an end."""

from __future__ import annotations

import pytest

from ottla.core.decide import Conflicted, Failed, Interrupted
from ottla.errors import DatabaseUnavailable, TransactionConflict
from ottla.ports import Start
from ottla.records import TopicPartition
from ottla.runtime.assignment import Delivery, PartitionState
from ottla.runtime.invoker import Call, Invoker
from tests.unit.runtime.test_engine_keeps_its_rules import Message

STATE = PartitionState(Start(TopicPartition("orders", 0), 1, 0), slot=0, window=10)


def invoker_of(error: Exception) -> Invoker:
    async def handle(value: bytes | None) -> None:
        raise error

    call = Call(handle, is_async=True, decode=lambda value: value, payload="value")
    return Invoker("billing/orders", call, is_fatal=lambda _: False, inbox=None, threads=None)


@pytest.mark.timeout(5)
async def test_an_error_that_is_its_own_cause_is_a_failure_like_any_other() -> None:
    error, cause = ValueError(), KeyError()
    error.__cause__, cause.__cause__ = cause, error

    outcome = await invoker_of(error)(Delivery(Message(0, 0, None), STATE, 0, None))

    assert isinstance(outcome, Failed)
    assert outcome.error is error


async def test_the_frameworks_failure_is_found_behind_what_the_handler_made_of_it() -> None:
    away = DatabaseUnavailable("away")
    error = ValueError("could not bill")
    error.__cause__ = away

    outcome = await invoker_of(error)(Delivery(Message(0, 0, None), STATE, 0, None))

    assert outcome == Interrupted(away)


async def test_a_conflict_of_transactions_is_told_apart_from_a_database_that_is_away() -> None:
    conflict = TransactionConflict("deadlock detected")
    error = ValueError("could not bill")
    error.__cause__ = conflict

    outcome = await invoker_of(error)(Delivery(Message(0, 0, None), STATE, 0, None))

    assert outcome == Conflicted(conflict)
