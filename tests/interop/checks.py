"""What is checked between the two sides: add a function, and add it to CHECKS.

A check takes the world and raises AssertionError with words. Its name, read as a sentence, is
what is printed. It may wait 30 s, and has keys of its own, because all share the topics.
"""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import replace

from ottla.core.headers import Hop, Origin, retry_headers
from ottla.core.provenance import Provenance, RetryState, read_provenance, read_retry
from ottla.core.spring_headers import ATTEMPTS_HEADER, BIG_INTEGER, DUE_HEADER, FIRST_SEEN_HEADER, Family
from ottla.records import Headers, Record
from tests.interop.world import PARTITIONS, RETRY_1, RETRY_2, SPRINGS_PAY_DLT, BadQuantity, Order, Seen, World
from tests.support.apps import committed, read_all, until

_LISTENER_FAILED = "org.springframework.kafka.listener.ListenerExecutionFailedException"
_ILLEGAL_STATE = "java.lang.IllegalStateException"
_UNDECODABLE = b'{"id": "x", \xff\x00 no JSON'
_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_KEYS = [
    *(f"customer-{number}" for number in range(190)),
    *("", "a", "A", " ", "grün", "日本", "😀", "0", "-1", "k" * 1_000),
]
_LATE_MS = 10_000
"""Spring is never early, and late at most by this; it promises less."""


async def check_a_dead_letter_of_spring_tells_where_it_was_and_why(world: World) -> None:
    order = Order(id="bad", qty=-1)
    sent = await world.send(
        "sk.orders", order, key="spring-dead", headers={"bytes": b"\xff\x00"}, partition=2
    )

    letter = await world.record("sk.orders-dlt", b"spring-dead")

    assert len(await world.seen("sk-orders", "spring-dead", 3)) == 3, "it was not delivered three times"
    _equal(letter.partition, sent.partition, "the partition of the dead letter")
    _equal(Order.model_validate_json(letter.value or b""), order, "its value")
    _equal(letter.headers.last("bytes"), b"\xff\x00", "a header of the record's own")
    found = read_provenance(letter.headers)
    assert found is not None, "it tells of no failure"
    _equal(
        replace(found, message=None, stack=None),
        Provenance(
            Family.DEAD_LETTER,
            topic="sk.orders",
            partition=sent.partition,
            offset=sent.offset,
            timestamp_ms=sent.timestamp_ms,
            timestamp_type="CreateTime",
            group="sk-orders",
            exception=_LISTENER_FAILED,
            cause=_ILLEGAL_STATE,
        ),
        "where it was",
    )
    assert (found.message or "").endswith("; bad qty"), f"the message is {found.message!r}"
    assert (found.stack or "").startswith(_LISTENER_FAILED), f"the stack is {found.stack!r}"


async def check_spring_reads_our_dead_letter_by_typed_parameters(world: World) -> None:
    sent = await world.send("py.orders", Order(id="bad", qty=-1), key="our-dead", partition=2)

    seen = (await world.seen("py-orders-dlt", "our-dead"))[0]

    _equal(json.loads(b64decode(seen.value)), {"id": "bad", "qty": -1}, "its value")
    _equal(seen.headers["kafka_receivedPartitionId"].value, sent.partition, "the dead letter's partition")
    _equal(
        seen.typed,
        {
            "topic": "py.orders",
            "partition": sent.partition,
            "offset": sent.offset,
            "timestamp": sent.timestamp_ms,
            "timestamp_type": "CreateTime",
            "group": "py-orders",
            "exception": "tests.interop.world.BadQuantity",
            "cause": "builtins.ValueError",
            "message": "-1 is no quantity; -1",
        },
        "what the parameters were given",
    )


async def check_a_type_token_of_spring_does_not_disturb_us(world: World) -> None:
    await world.spring_sends("TYPED", "py.orders", Order(id="typed", qty=3), key="token-in")

    order, record = await world.handles(b"token-in")

    _equal(order, Order(id="typed", qty=3), "the event")
    _equal(record.headers.text("__TypeId__"), "order", "the token")


async def check_spring_decodes_by_our_type_token(world: World) -> None:
    """The Spring side has no default type: without the token it could not."""
    await world.send("sk.orders", Order(id="token", qty=4), key="token-out")

    seen = (await world.seen("sk-orders", "token-out"))[0]

    _equal(seen.value, {"id": "token", "qty": 4}, "the order")


async def check_header_types_of_spring_do_not_disturb_us(world: World) -> None:
    await world.spring_sends(
        "MESSAGE",
        "py.orders",
        Order(id="message", qty=5),
        key="header-types",
        headers={"note": "grün", "count": 7},
    )

    order, record = await world.handles(b"header-types")

    _equal(order, Order(id="message", qty=5), "the event")
    _equal(record.headers.text("note"), "grün", "a header of text")
    _equal(record.headers.last("count"), b"7", "a header of a number, which is JSON")
    _equal(
        json.loads(record.headers.last("spring_json_header_types") or b"null"),
        {"note": "java.lang.String", "count": "java.lang.Integer"},
        "the types of the headers",
    )


async def check_both_sides_put_200_keys_on_the_same_partitions(world: World) -> None:
    for key in _KEYS:
        await world.spring_sends("TYPED", "keys.java", Order(id=key, qty=1), key=key)
    ours = [await world.send("keys.python", Order(id=key, qty=1), key=key) for key in _KEYS]

    theirs = {record.key: record.partition for record in await world.records("keys.java", len(_KEYS))}

    _equal(len(theirs), 200, "how many keys Java has sent")
    astray = [
        key for key, sent in zip(_KEYS, ours, strict=True) if theirs.get(key.encode()) != sent.partition
    ]
    assert not astray, f"{len(astray)} keys lie elsewhere, such as {astray[0]!r}"
    _equal(set(theirs.values()), set(range(PARTITIONS)), "the partitions in use")


async def check_traceparent_stays_on_every_dead_letter_and_retry(world: World) -> None:
    trace = {"traceparent": _TRACE}
    await world.send("py.orders", Order(id="bad", qty=-1), key="trace", headers=trace)
    await world.send("sk.orders", Order(id="bad", qty=-1), key="trace", headers=trace)
    await world.send("sk.pay", Order(id="fail2-trace", qty=1), key="trace", headers=trace)

    for topic in ("py.orders-dlt", "sk.orders-dlt", RETRY_1, RETRY_2):
        record = await world.record(topic, b"trace")
        _equal(record.headers.all("traceparent"), (_TRACE.encode(),), f"traceparent on {topic}")


async def check_undecodable_bytes_stay_as_they_are_on_a_dead_letter_of_ours(world: World) -> None:
    key = b"\xff our undecodable"
    await world.send("py.orders", _UNDECODABLE, key=key, headers={"bytes": b"\x80", "null": None})
    await world.spring_sends("RAW", "py.orders", _UNDECODABLE, key="undecodable-by-java")

    letter = await world.record("py.orders-dlt", key)
    of_java = await world.record("py.orders-dlt", b"undecodable-by-java")

    _equal(letter.value, _UNDECODABLE, "the value")
    _equal(letter.headers[:2], (("bytes", b"\x80"), ("null", None)), "the record's own headers")
    _equal(letter.headers.text("ottla-dead-letter-reason"), "undecodable", "the reason")
    _equal(of_java.value, _UNDECODABLE, "the value that Java has sent")


async def check_undecodable_bytes_stay_as_they_are_on_a_dead_letter_of_spring(world: World) -> None:
    sent = await world.send("sk.orders", _UNDECODABLE, key="spring-undecodable")

    letter = await world.record("sk.orders-dlt", b"spring-undecodable")

    failure = "org.springframework.kafka.support.serializer.DeserializationException"
    found = read_provenance(letter.headers)
    assert found is not None, "it tells of no failure"
    _equal(letter.value, _UNDECODABLE, "the value")
    _equal((found.offset, found.group), (sent.offset, "sk-orders"), "its offset and group")
    _equal((found.exception, found.cause), (failure, failure), "exception and cause")


async def check_retry_topics_of_spring_tell_attempt_due_time_and_origin(world: World) -> None:
    sent = await world.send("sk.pay", Order(id="fail-always", qty=1), key="retries", partition=1)

    records = [await world.record(topic, b"retries") for topic in (RETRY_1, RETRY_2, SPRINGS_PAY_DLT)]
    calls = await world.seen("sk-pay", "retries", 3)
    await world.seen("sk-pay-dlt", "retries")

    _equal([call.typed["attempt"] for call in calls], [1, 2, 3], "the attempts that were made")
    origin = Provenance(
        Family.RETRY_TOPIC,
        topic="sk.pay",
        partition=sent.partition,
        offset=sent.offset,
        timestamp_ms=sent.timestamp_ms,
        timestamp_type="CreateTime",
        group="sk-pay",
        exception=_LISTENER_FAILED,
        cause=_ILLEGAL_STATE,
        message="Listener failed; no funds",
    )
    # The origin stays that of the first topic; what tells of retries is added at every hop.
    for hop, (record, delay_ms) in enumerate(zip(records, (1_000, 2_000, 0), strict=True)):
        where = f"on {record.topic}"
        found = read_provenance(record.headers)
        assert found is not None, f"no failure is told {where}"
        _equal(record.partition, sent.partition, f"the partition {where}")
        _equal(replace(found, stack=None), origin, f"the origin {where}")
        attempts = tuple(number.to_bytes(4, "big") for number in range(2, hop + 3))
        _equal(record.headers.all(ATTEMPTS_HEADER), attempts, f"attempts {where}")
        _equal(_retry(record).first_seen_ms, sent.timestamp_ms, f"the first timestamp {where}")
        failed_ms = _due_ms(record) - delay_ms
        assert calls[hop].at_ms <= failed_ms <= (record.timestamp_ms or 0), f"due time {where}: {failed_ms}"
        for name in (DUE_HEADER, FIRST_SEEN_HEADER):
            raw = record.headers.last(name) or b""
            _equal(raw, BIG_INTEGER.encode(int.from_bytes(raw, "big")), f"the bytes of {name} {where}")
    for record, call in zip(records[:2], calls[1:], strict=True):
        _in_time(call, _due_ms(record))


async def check_a_retry_of_spring_that_succeeds_leaves_no_dead_letter(world: World) -> None:
    await world.send("sk.pay", Order(id="fail2-recovers", qty=1), key="recovers")

    calls = await world.seen("sk-pay", "recovers", 3)
    last = await world.record(RETRY_2, b"recovers")

    async def is_committed() -> bool:
        offsets = await asyncio.to_thread(committed, world.kafka, "sk-pay-retry-2000", RETRY_2)
        return offsets.get(last.partition, 0) > last.offset

    await until(is_committed, what="Spring commits the last attempt", within_s=10)  # after a dead letter
    letters = await asyncio.to_thread(read_all, world.kafka, SPRINGS_PAY_DLT)
    _equal([call.typed["attempt"] for call in calls], [1, 2, 3], "the attempts that were made")
    _equal([letter.key() for letter in letters if letter.key() == b"recovers"], [], "dead letters")


async def check_spring_keeps_the_due_time_of_a_retry_that_we_write(world: World) -> None:
    """It takes over in the middle: attempt 2 is the one that we wrote, 3 its own; the origin stays."""
    now_ms = int(time.time() * 1_000)
    origin = Origin("sk.pay", 2, 4_711, now_ms, 1, "sk-pay")
    hop = Hop(attempt=2, first_seen_ms=now_ms, due_ms=now_ms + 1_500)
    headers = retry_headers(Headers(), origin, BadQuantity("as if"), hop)
    order = Order(id="fail-taken-over", qty=1)
    await world.send(RETRY_1, order, key="taken-over", headers=dict(headers), partition=2)

    call = (await world.seen("sk-pay", "taken-over"))[0]
    record = await world.record(RETRY_2, b"taken-over")

    _equal(call.typed["attempt"], 2, "the attempt that was made")
    _in_time(call, hop.due_ms)
    _equal(
        _retry(record),
        RetryState(attempt=3, first_seen_ms=now_ms, due_ms=_due_ms(record)),
        "the next attempt",
    )
    found = read_provenance(record.headers)
    assert found is not None, "the next record tells of no failure"
    _equal(
        (found.topic, found.partition, found.offset, found.timestamp_ms, found.group, found.cause),
        ("sk.pay", 2, 4_711, now_ms, "sk-pay", _ILLEGAL_STATE),
        "the origin, which is ours, and the failure, which is Spring's",
    )
    _equal(record.headers.all("kafka_exception-fqcn"), (_LISTENER_FAILED.encode(),), "the failures told")


def _retry(record: Record) -> RetryState:
    assert record.timestamp_ms is not None, f"{record.topic} keeps no timestamps"
    return read_retry(record.headers, now_ms=record.timestamp_ms)


def _due_ms(record: Record) -> int:
    due_ms = _retry(record).due_ms
    assert due_ms is not None, f"the record on {record.topic} has no due time"
    return due_ms


def _in_time(call: Seen, due_ms: int) -> None:
    late_ms = call.at_ms - due_ms
    assert 0 <= late_ms < _LATE_MS, f"attempt {call.typed['attempt']} was made {late_ms} ms after its time"


def _equal(found: object, wanted: object, what: str) -> None:
    assert found == wanted, f"{what}: {found!r}, not {wanted!r}"


CHECKS: list[Callable[[World], Awaitable[None]]] = [
    check_a_dead_letter_of_spring_tells_where_it_was_and_why,
    check_spring_reads_our_dead_letter_by_typed_parameters,
    check_a_type_token_of_spring_does_not_disturb_us,
    check_spring_decodes_by_our_type_token,
    check_header_types_of_spring_do_not_disturb_us,
    check_both_sides_put_200_keys_on_the_same_partitions,
    check_traceparent_stays_on_every_dead_letter_and_retry,
    check_undecodable_bytes_stay_as_they_are_on_a_dead_letter_of_ours,
    check_undecodable_bytes_stay_as_they_are_on_a_dead_letter_of_spring,
    check_retry_topics_of_spring_tell_attempt_due_time_and_origin,
    check_a_retry_of_spring_that_succeeds_leaves_no_dead_letter,
    check_spring_keeps_the_due_time_of_a_retry_that_we_write,
]
