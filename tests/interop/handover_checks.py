"""What is checked where a group's work passes from one side to the other, and where groups share topics."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

from ottla import Retry
from ottla.core.provenance import Provenance, read_provenance
from ottla.core.spring_headers import ATTEMPTS_HEADER, Family
from ottla.records import Record
from tests.interop.expect import (
    ILLEGAL_STATE,
    NO_FUNDS,
    WE_ARE_LATE_MS,
    due_ms,
    equal,
    failed_in_between,
    in_time,
    retry_state,
)
from tests.interop.world import NoFunds, Order, World, no_funds
from tests.support.dlt import dlt

_ONE_REPLAYED = "dlt: replayed=1 skipped=0 refused=0 failed=0 again=0"


async def check_retries_of_spring_are_taken_over_by_us(world: World) -> None:
    """Java has sent the records, so that no header of ours tells which events they are."""
    topic, group = "sk.handover-a", "sk-handover-a"
    await world.spring_starts(group, f"{group}-retry-1000")
    await world.spring_sends("TYPED", topic, Order(id="fail2-half-way", qty=1), key="half-way")
    half_way = await world.record(f"{topic}-retry-2000", b"half-way")
    await world.spring_stops(f"{group}-retry-1000")
    await world.spring_sends("TYPED", topic, Order(id="fail-to-us", qty=1), key="to-us")
    to_us = await world.record(f"{topic}-retry-1000", b"to-us")
    await world.spring_stops(group)
    async with world.handling(topic, group=group) as calls:
        again = await world.record(f"{topic}-retry-2000", b"to-us")
        letter = await world.record(f"{topic}-dlt", b"to-us")
        await world.calls(calls, "half-way", 1)

    made = [(call.order.id, call.record.attempt, call.record.topic) for call in calls]
    equal(
        sorted(made),
        [
            ("fail-to-us", 2, to_us.topic),
            ("fail-to-us", 3, again.topic),
            ("fail2-half-way", 3, half_way.topic),
        ],
        "what we were given, which is what Spring had not handled",
    )
    due = {(record.topic, record.offset): due_ms(record) for record in (half_way, to_us, again)}
    for call in calls:
        at = call.record
        main = await world.record(topic, at.key or b"")
        equal(at.event_id, main.event_id, f"the event on {at.topic}, by where it first stood")
        in_time(call.at_ms, due[at.topic, at.offset], f"our attempt {at.attempt}", WE_ARE_LATE_MS)
    main = await world.record(topic, b"to-us")
    for attempt, record in ((2, again), (3, letter)):
        _is_given_up_by_us(record, main, group, attempt)
    failed_in_between(again, (await world.calls(calls, "to-us", 2))[0].at_ms, 2_000)


async def check_retries_of_ours_are_taken_over_by_spring(world: World) -> None:
    """One of them waits longer than its topic is named: only its header tells until when."""
    topic, group, longer_s = "sk.handover-b", "sk-handover-b", 3

    def act(order: Order, attempt: int) -> None:
        if order.id == "fail2-to-spring":
            raise Retry(after=timedelta(seconds=longer_s))
        no_funds(order, attempt)

    async with world.handling(topic, group=group, act=act) as calls:
        sent = {
            key: await world.send(topic, Order(id=f"fail2-{key}", qty=1), key=key, partition=1)
            for key in ("half-way", "to-spring")
        }
        to_spring = await world.record(f"{topic}-retry-1000", b"to-spring")
        half_way = await world.record(f"{topic}-retry-2000", b"half-way")
    await world.spring_starts(group, f"{group}-retry-1000", f"{group}-retry-2000")

    first, last = await world.seen(group, "to-spring", 2)
    (of_half_way,) = await world.seen(group, "half-way")
    again = await world.record(f"{topic}-retry-2000", b"to-spring")

    ours = [(call.order.id, call.record.attempt) for call in calls if call.record.key != b"filler"]
    wanted = [("fail2-half-way", 1), ("fail2-half-way", 2), ("fail2-to-spring", 1)]
    equal(sorted(ours), wanted, "our attempts")
    for seen, attempt, record in ((first, 2, to_spring), (of_half_way, 3, half_way), (last, 3, again)):
        equal(seen.typed["attempt"], attempt, f"the attempt that Spring made of {seen.key}")
        in_time(seen.at_ms, due_ms(record), f"Spring's attempt {attempt} of {seen.key}")
    failed_in_between(to_spring, (await world.calls(calls, "to-spring", 1))[0].at_ms, longer_s * 1_000)
    failed_in_between(half_way, (await world.calls(calls, "half-way", 2))[1].at_ms, 2_000)
    found, origin = read_provenance(again.headers), sent["to-spring"]
    assert found is not None, "Spring tells of no failure"
    equal(
        (found.topic, found.partition, found.offset, found.timestamp_ms, found.group, found.cause),
        (topic, origin.partition, origin.offset, origin.timestamp_ms, group, ILLEGAL_STATE),
        "the origin, which is ours, and the failure, which is Spring's",
    )
    equal(retry_state(again).first_seen_ms, origin.timestamp_ms, "the first timestamp")
    for record in (half_way, again):
        await world.commits(f"{group}-retry-2000", record)
    handled = [seen for key in ("half-way", "to-spring", "filler") for seen in world.seen_so_far(group, key)]
    equal(len(handled), 3, "how many records Spring was given, none of which we had handled")


async def check_a_retry_of_spring_on_a_shared_topic_is_skipped_by_another_group_of_ours(world: World) -> None:
    async with world.handling("sk.pay", group="py-pay", act=lambda *_: None) as calls:
        await world.send("sk.pay", Order(id="fail2-shared", qty=1), key="shared")
        for suffix in ("-retry-1000", "-retry-2000"):
            await world.commits(f"py-pay{suffix}", await world.record(f"sk.pay{suffix}", b"shared"))
    theirs = await world.seen("sk-pay", "shared", 3)

    ours = [call.record for call in calls if call.record.key == b"shared"]
    equal([(record.topic, record.attempt) for record in ours], [("sk.pay", 1)], "what we were given")
    equal([call.typed["attempt"] for call in theirs], [1, 2, 3], "the attempts that Spring made")


async def check_a_dead_letter_of_spring_is_replayed_to_a_group_that_we_have_taken_over(world: World) -> None:
    topic, group, key = "sk.replay-a", "sk-replay-a", b"replayed"
    containers = [f"{group}{suffix}" for suffix in ("", "-retry-1000", "-retry-2000")]
    await world.spring_starts(*containers)
    await world.spring_sends("TYPED", topic, Order(id="fail-replayed", qty=1), key=key.decode())
    letter = await world.record(f"{topic}-dlt", key)
    await world.spring_stops(*containers)

    async with world.handling(topic, group=group, act=lambda *_: None) as calls:
        done = await asyncio.to_thread(dlt, world.kafka, "replay", letter.topic, "--yes")
        equal(done.lines[-1:], [_ONE_REPLAYED], f"what the command says, beside {done.errors}")
        (call,) = await world.calls(calls, key.decode(), 1)
        await world.commits(f"{group}-retry-1000", call.record)
    main = await world.record(topic, key)

    equal(
        [(call.record.topic, call.record.attempt, call.record.value) for call in calls],
        [(f"{topic}-retry-1000", 1, letter.value)],
        "what we were given",
    )
    equal(call.record.event_id, main.event_id, "the event, by where it first stood")


async def check_a_dead_letter_of_ours_is_replayed_to_a_group_that_spring_has_taken_over(world: World) -> None:
    topic, group, key = "sk.replay-b", "sk-replay-b", "replayed"
    containers = [f"{group}{suffix}" for suffix in ("", "-retry-1000", "-retry-2000")]

    def refuse(order: Order, attempt: int) -> None:
        if order.id == "sound-replayed":
            raise NoFunds(f"no funds at {attempt}")

    async with world.handling(topic, group=group, act=refuse):
        sent = await world.send(topic, Order(id="sound-replayed", qty=7), key=key)
        letter = await world.record(f"{topic}-dlt", key.encode())
    await world.spring_starts(*containers)

    done = await asyncio.to_thread(dlt, world.kafka, "replay", letter.topic, "--yes")
    equal(done.lines[-1:], [_ONE_REPLAYED], f"what the command says, beside {done.errors}")
    seen = (await world.seen(group, key))[0]

    equal(seen.value, {"id": "sound-replayed", "qty": 7}, "the order")
    equal(seen.typed["attempt"], 1, "the attempt that Spring made")
    equal(seen.headers["kafka_receivedTopic"].value, f"{topic}-retry-1000", "where it came from")
    offset = b64decode(seen.headers["kafka_original-offset"].value)
    equal(offset, sent.offset.to_bytes(8, "big"), "the offset of the record that it was")
    equal(len(await world.seen(group, key)), 1, "how often Spring was given it")


def _is_given_up_by_us(record: Record, main: Record, group: str, attempt: int) -> None:
    """At `attempt`, and tells of the failure that is ours and the origin that is Spring's."""
    where = f"on {record.topic}"
    found = read_provenance(record.headers)
    assert found is not None, f"no failure is told {where}"
    equal(
        replace(found, stack=None, reason=None),
        Provenance(
            Family.RETRY_TOPIC,
            topic=main.topic,
            partition=main.partition,
            offset=main.offset,
            timestamp_ms=main.timestamp_ms,
            timestamp_type="CreateTime",
            group=group,
            exception=NO_FUNDS,
            cause="builtins.ValueError",
            message=f"no funds at {attempt}; fail-to-us",
        ),
        f"the origin and the failure {where}",
    )
    equal(record.headers.all("kafka_exception-fqcn"), (NO_FUNDS.encode(),), f"the failures {where}")
    attempts = tuple(number.to_bytes(4, "big") for number in range(2, attempt + 2))
    equal(record.headers.all(ATTEMPTS_HEADER), attempts, f"attempts {where}")
    equal(retry_state(record).first_seen_ms, main.timestamp_ms, f"the first timestamp {where}")
    equal(record.partition, main.partition, f"the partition {where}")


CHECKS: list[Callable[[World], Awaitable[None]]] = [
    check_retries_of_spring_are_taken_over_by_us,
    check_retries_of_ours_are_taken_over_by_spring,
    check_a_retry_of_spring_on_a_shared_topic_is_skipped_by_another_group_of_ours,
    check_a_dead_letter_of_spring_is_replayed_to_a_group_that_we_have_taken_over,
    check_a_dead_letter_of_ours_is_replayed_to_a_group_that_spring_has_taken_over,
]
