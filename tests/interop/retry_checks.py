"""What is checked of the retry topics that one side fills and reads, and the other looks at."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import replace

from ottla.core.headers import Hop, Origin, retry_headers
from ottla.core.provenance import Provenance, RetryState, read_provenance
from ottla.core.spring_headers import ATTEMPTS_HEADER, BIG_INTEGER, DUE_HEADER, FIRST_SEEN_HEADER, Family
from ottla.records import Headers
from tests.interop.expect import (
    ILLEGAL_STATE,
    LISTENER_FAILED,
    NO_FUNDS,
    due_ms,
    equal,
    failed_in_between,
    in_time,
    retry_state,
)
from tests.interop.world import BadQuantity, Order, World
from tests.support.apps import read_all

_RETRY_1, _RETRY_2, _DLT = "sk.pay-retry-1000", "sk.pay-retry-2000", "sk.pay-dlt"


async def check_retry_topics_of_spring_tell_attempt_due_time_and_origin(world: World) -> None:
    sent = await world.send("sk.pay", Order(id="fail-always", qty=1), key="retries", partition=1)

    records = [await world.record(topic, b"retries") for topic in (_RETRY_1, _RETRY_2, _DLT)]
    calls = await world.seen("sk-pay", "retries", 3)
    await world.seen("sk-pay-dlt", "retries")

    equal([call.typed["attempt"] for call in calls], [1, 2, 3], "the attempts that were made")
    origin = Provenance(
        Family.RETRY_TOPIC,
        topic="sk.pay",
        partition=sent.partition,
        offset=sent.offset,
        timestamp_ms=sent.timestamp_ms,
        timestamp_type="CreateTime",
        group="sk-pay",
        exception=LISTENER_FAILED,
        cause=ILLEGAL_STATE,
        message="Listener failed; no funds",
    )
    # The origin stays that of the first topic; what tells of retries is added at every hop.
    for hop, (record, delay_ms) in enumerate(zip(records, (1_000, 2_000, 0), strict=True)):
        where = f"on {record.topic}"
        found = read_provenance(record.headers)
        assert found is not None, f"no failure is told {where}"
        equal(record.partition, sent.partition, f"the partition {where}")
        equal(replace(found, stack=None), origin, f"the origin {where}")
        attempts = tuple(number.to_bytes(4, "big") for number in range(2, hop + 3))
        equal(record.headers.all(ATTEMPTS_HEADER), attempts, f"attempts {where}")
        equal(retry_state(record).first_seen_ms, sent.timestamp_ms, f"the first timestamp {where}")
        failed_in_between(record, calls[hop].at_ms, delay_ms)
        for name in (DUE_HEADER, FIRST_SEEN_HEADER):
            raw = record.headers.last(name) or b""
            equal(raw, BIG_INTEGER.encode(int.from_bytes(raw, "big")), f"the bytes of {name} {where}")
    for record, call in zip(records[:2], calls[1:], strict=True):
        in_time(call.at_ms, due_ms(record), f"Spring's attempt {call.typed['attempt']}")


async def check_a_retry_of_spring_that_succeeds_leaves_no_dead_letter(world: World) -> None:
    await world.send("sk.pay", Order(id="fail2-recovers", qty=1), key="recovers")

    calls = await world.seen("sk-pay", "recovers", 3)
    last = await world.record(_RETRY_2, b"recovers")

    await world.commits("sk-pay-retry-2000", last)  # after a dead letter
    letters = await asyncio.to_thread(read_all, world.kafka, _DLT)
    equal([call.typed["attempt"] for call in calls], [1, 2, 3], "the attempts that were made")
    equal([letter.key() for letter in letters if letter.key() == b"recovers"], [], "dead letters")


async def check_spring_keeps_the_due_time_of_a_retry_that_we_write(world: World) -> None:
    """It takes over in the middle: attempt 2 is the one that we wrote, 3 its own; the origin stays."""
    now_ms = int(time.time() * 1_000)
    origin = Origin("sk.pay", 2, 4_711, now_ms, 1, "sk-pay")
    hop = Hop(attempt=2, first_seen_ms=now_ms, due_ms=now_ms + 1_500)
    headers = retry_headers(Headers(), origin, BadQuantity("as if"), hop)
    order = Order(id="fail-taken-over", qty=1)
    await world.send(_RETRY_1, order, key="taken-over", headers=dict(headers), partition=2)

    call = (await world.seen("sk-pay", "taken-over"))[0]
    record = await world.record(_RETRY_2, b"taken-over")

    equal(call.typed["attempt"], 2, "the attempt that was made")
    in_time(call.at_ms, hop.due_ms, "Spring's attempt 2")
    equal(
        retry_state(record),
        RetryState(attempt=3, first_seen_ms=now_ms, due_ms=due_ms(record)),
        "the next attempt",
    )
    found = read_provenance(record.headers)
    assert found is not None, "the next record tells of no failure"
    equal(
        (found.topic, found.partition, found.offset, found.timestamp_ms, found.group, found.cause),
        ("sk.pay", 2, 4_711, now_ms, "sk-pay", ILLEGAL_STATE),
        "the origin, which is ours, and the failure, which is Spring's",
    )
    equal(record.headers.all("kafka_exception-fqcn"), (LISTENER_FAILED.encode(),), "the failures told")


async def check_spring_reads_what_we_gave_up_after_retries_by_typed_parameters(world: World) -> None:
    sent = await world.send("py.retries", Order(id="fail-typed", qty=1), key="retries-typed", partition=2)

    seen = (await world.seen("py-retries-dlt", "retries-typed"))[0]
    last = (await world.calls(world.handled, "retries-typed", 3))[-1]

    equal(json.loads(b64decode(seen.value)), {"id": "fail-typed", "qty": 1}, "its value")
    equal(seen.headers["kafka_receivedPartitionId"].value, sent.partition, "the dead letter's partition")
    given_up_ms, stack = seen.typed.pop("due"), seen.typed.pop("stack")
    equal(
        seen.typed,
        {
            "topic": "py.retries",
            "partition": sent.partition,
            "offset": sent.offset,
            "timestamp": sent.timestamp_ms,
            "timestamp_type": "CreateTime",
            "group": "py-orders",
            "exception": NO_FUNDS,
            "cause": "builtins.ValueError",
            "message": "no funds at 3; fail-typed",
            "attempts": 4,
            "first_seen": sent.timestamp_ms,
        },
        "what the parameters were given",
    )
    assert last.at_ms <= given_up_ms <= seen.at_ms, f"it was given up at {given_up_ms}, after {last.at_ms}"
    assert stack.rstrip().endswith("NoFunds: no funds at 3"), f"the stack ends {stack[-100:]!r}"


CHECKS: list[Callable[[World], Awaitable[None]]] = [
    check_retry_topics_of_spring_tell_attempt_due_time_and_origin,
    check_a_retry_of_spring_that_succeeds_leaves_no_dead_letter,
    check_spring_keeps_the_due_time_of_a_retry_that_we_write,
    check_spring_reads_what_we_gave_up_after_retries_by_typed_parameters,
]
