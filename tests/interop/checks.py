"""What is checked between the two sides: add a function, and add it to CHECKS.

A check takes the world and raises AssertionError with words. Its name, read as a sentence, is
what is printed. It may wait 30 s, and has keys of its own, because all share the topics.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import replace

from ottla.core.provenance import Provenance, read_provenance
from ottla.core.retry_topics import RetryTopics
from ottla.core.spring_headers import Family
from ottla.core.topology import Naming, ParsedTopic, TopicKind, dead_letter_topic, parse_topic, retry_topic
from tests.interop import handover_checks, retry_checks
from tests.interop.expect import ILLEGAL_STATE, LISTENER_FAILED, equal
from tests.interop.world import PARTITIONS, Order, World

_UNDECODABLE = b'{"id": "x", \xff\x00 no JSON'
_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_KEYS = [
    *(f"customer-{number}" for number in range(190)),
    *("", "a", "A", " ", "grün", "日本", "😀", "0", "-1", "k" * 1_000),
]
_NAMED = [
    ("sk.orders-dlt", ParsedTopic("sk.orders", TopicKind.DEAD_LETTER, "-dlt")),
    ("named.old.DLT", ParsedTopic("named.old", TopicKind.DEAD_LETTER, ".DLT")),
    ("named.plain", ParsedTopic("named.plain", TopicKind.MAIN, "")),
    ("named.plain-retry", ParsedTopic("named.plain", TopicKind.RETRY, "-retry")),
    ("named.plain-dlt", ParsedTopic("named.plain", TopicKind.DEAD_LETTER, "-dlt")),
    ("named.delay", ParsedTopic("named.delay", TopicKind.MAIN, "")),
    ("named.delay-retry-1000", ParsedTopic("named.delay", TopicKind.RETRY, "-retry-1000")),
    ("named.delay-retry-2000", ParsedTopic("named.delay", TopicKind.RETRY, "-retry-2000")),
    ("named.delay-retry-4000", ParsedTopic("named.delay", TopicKind.RETRY, "-retry-4000")),
    ("named.delay-dlt", ParsedTopic("named.delay", TopicKind.DEAD_LETTER, "-dlt")),
    ("named.index", ParsedTopic("named.index", TopicKind.MAIN, "")),
    ("named.index-retry-0", ParsedTopic("named.index", TopicKind.RETRY, "-retry-0")),
    ("named.index-retry-1", ParsedTopic("named.index", TopicKind.RETRY, "-retry-1")),
    ("named.index-dlt", ParsedTopic("named.index", TopicKind.DEAD_LETTER, "-dlt")),
    ("named.both", ParsedTopic("named.both", TopicKind.MAIN, "")),
    ("named.both-retry-1000", ParsedTopic("named.both", TopicKind.RETRY, "-retry-1000")),
    ("named.both-retry-2000-0", ParsedTopic("named.both", TopicKind.RETRY, "-retry-2000-0")),
    ("named.both-retry-2000-1", ParsedTopic("named.both", TopicKind.RETRY, "-retry-2000-1")),
    ("named.both-retry-2000-2", ParsedTopic("named.both", TopicKind.RETRY, "-retry-2000-2")),
    ("named.both-dlt", ParsedTopic("named.both", TopicKind.DEAD_LETTER, "-dlt")),
]
"""All of `named.` but `.DLT`, which Spring Kafka wrote before 3.3, the Spring side makes itself."""
_SAME_NAMES = {
    "named.plain": RetryTopics(),
    "named.delay": RetryTopics(attempts=4, factor=2.0),
    "named.index": RetryTopics(attempts=3, factor=2.0, suffix="index"),
}
"""What has the same topics with us; we have none that share a delay."""


async def check_a_dead_letter_of_spring_tells_where_it_was_and_why(world: World) -> None:
    order = Order(id="bad", qty=-1)
    sent = await world.send(
        "sk.orders", order, key="spring-dead", headers={"bytes": b"\xff\x00"}, partition=2
    )

    letter = await world.record("sk.orders-dlt", b"spring-dead")

    assert len(await world.seen("sk-orders", "spring-dead", 3)) == 3, "it was not delivered three times"
    equal(letter.partition, sent.partition, "the partition of the dead letter")
    equal(Order.model_validate_json(letter.value or b""), order, "its value")
    equal(letter.headers.last("bytes"), b"\xff\x00", "a header of the record's own")
    found = read_provenance(letter.headers)
    assert found is not None, "it tells of no failure"
    equal(
        replace(found, message=None, stack=None),
        Provenance(
            Family.DEAD_LETTER,
            topic="sk.orders",
            partition=sent.partition,
            offset=sent.offset,
            timestamp_ms=sent.timestamp_ms,
            timestamp_type="CreateTime",
            group="sk-orders",
            exception=LISTENER_FAILED,
            cause=ILLEGAL_STATE,
        ),
        "where it was",
    )
    assert (found.message or "").endswith("; bad qty"), f"the message is {found.message!r}"
    assert (found.stack or "").startswith(LISTENER_FAILED), f"the stack is {found.stack!r}"


async def check_spring_reads_our_dead_letter_by_typed_parameters(world: World) -> None:
    sent = await world.send("py.orders", Order(id="bad", qty=-1), key="our-dead", partition=2)

    seen = (await world.seen("py-orders-dlt", "our-dead"))[0]

    equal(json.loads(b64decode(seen.value)), {"id": "bad", "qty": -1}, "its value")
    equal(seen.headers["kafka_receivedPartitionId"].value, sent.partition, "the dead letter's partition")
    equal(
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

    order, record = await world.handles("token-in")

    equal(order, Order(id="typed", qty=3), "the event")
    equal(record.headers.text("__TypeId__"), "order", "the token")


async def check_spring_decodes_by_our_type_token(world: World) -> None:
    """The Spring side has no default type: without the token it could not."""
    await world.send("sk.orders", Order(id="token", qty=4), key="token-out")

    seen = (await world.seen("sk-orders", "token-out"))[0]

    equal(seen.value, {"id": "token", "qty": 4}, "the order")


async def check_header_types_of_spring_do_not_disturb_us(world: World) -> None:
    await world.spring_sends(
        "MESSAGE",
        "py.orders",
        Order(id="message", qty=5),
        key="header-types",
        headers={"note": "grün", "count": 7},
    )

    order, record = await world.handles("header-types")

    equal(order, Order(id="message", qty=5), "the event")
    equal(record.headers.text("note"), "grün", "a header of text")
    equal(record.headers.last("count"), b"7", "a header of a number, which is JSON")
    equal(
        json.loads(record.headers.last("spring_json_header_types") or b"null"),
        {"note": "java.lang.String", "count": "java.lang.Integer"},
        "the types of the headers",
    )


async def check_both_sides_put_200_keys_on_the_same_partitions(world: World) -> None:
    for key in _KEYS:
        await world.spring_sends("TYPED", "keys.java", Order(id=key, qty=1), key=key)
    ours = [await world.send("keys.python", Order(id=key, qty=1), key=key) for key in _KEYS]

    theirs = {record.key: record.partition for record in await world.records("keys.java", len(_KEYS))}

    equal(len(theirs), 200, "how many keys Java has sent")
    astray = [
        key for key, sent in zip(_KEYS, ours, strict=True) if theirs.get(key.encode()) != sent.partition
    ]
    assert not astray, f"{len(astray)} keys lie elsewhere, such as {astray[0]!r}"
    equal(set(theirs.values()), set(range(PARTITIONS)), "the partitions in use")


async def check_traceparent_stays_on_every_dead_letter_and_retry(world: World) -> None:
    bad, failing = Order(id="bad", qty=-1), Order(id="fail-trace", qty=1)
    passed = {
        "py.orders": (bad, ("-dlt",)),
        "sk.orders": (bad, ("-dlt",)),
        "py.retries": (failing, ("-retry-200", "-retry-400", "-dlt")),
        "sk.pay": (failing, ("-retry-1000", "-retry-2000", "-dlt")),
    }
    for topic, (order, _) in passed.items():
        await world.send(topic, order, key="trace", headers={"traceparent": _TRACE})

    for topic, (_, suffixes) in passed.items():
        for suffix in suffixes:
            record = await world.record(f"{topic}{suffix}", b"trace")
            equal(record.headers.all("traceparent"), (_TRACE.encode(),), f"traceparent on {record.topic}")


async def check_undecodable_bytes_stay_as_they_are_on_a_dead_letter_of_ours(world: World) -> None:
    key = b"\xff our undecodable"
    await world.send("py.orders", _UNDECODABLE, key=key, headers={"bytes": b"\x80", "null": None})
    await world.spring_sends("RAW", "py.orders", _UNDECODABLE, key="undecodable-by-java")

    letter = await world.record("py.orders-dlt", key)
    of_java = await world.record("py.orders-dlt", b"undecodable-by-java")

    equal(letter.value, _UNDECODABLE, "the value")
    equal(letter.headers[:2], (("bytes", b"\x80"), ("null", None)), "the record's own headers")
    equal(letter.headers.text("ottla-dead-letter-reason"), "undecodable", "the reason")
    equal(of_java.value, _UNDECODABLE, "the value that Java has sent")


async def check_undecodable_bytes_stay_as_they_are_on_a_dead_letter_of_spring(world: World) -> None:
    sent = await world.send("sk.orders", _UNDECODABLE, key="spring-undecodable")

    letter = await world.record("sk.orders-dlt", b"spring-undecodable")

    failure = "org.springframework.kafka.support.serializer.DeserializationException"
    found = read_provenance(letter.headers)
    assert found is not None, "it tells of no failure"
    equal(letter.value, _UNDECODABLE, "the value")
    equal((found.offset, found.group), (sent.offset, "sk-orders"), "its offset and group")
    equal((found.exception, found.cause), (failure, failure), "exception and cause")


async def check_topics_that_spring_has_named_are_taken_apart_and_named_by_us(world: World) -> None:
    await asyncio.to_thread(world.kafka.create_topic, "named.old.DLT")

    there = await asyncio.to_thread(world.topics)

    wanted = dict(_NAMED)
    equal({name for name in there if name.startswith("named.")} - wanted.keys(), set(), "unknown topics")
    equal({name: parse_topic(name) for name in there if name in wanted}, wanted, "the topics taken apart")
    for base, retry in _SAME_NAMES.items():
        ours = {base, dead_letter_topic(base, "g", Naming.SPRING)}
        ours |= {retry_topic(base, "g", stage.suffix, Naming.SPRING) for stage in retry.stages}
        equal(ours, {name for name in there if name.startswith(base)}, f"our names for {base}")


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
    check_topics_that_spring_has_named_are_taken_apart_and_named_by_us,
    *retry_checks.CHECKS,
    *handover_checks.CHECKS,
]
