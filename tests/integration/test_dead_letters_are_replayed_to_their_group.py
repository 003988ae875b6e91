"""`ottla dlt replay` and `discard`: a letter reaches the group that failed and no other.

A replay by hand, from a console consumer into the source topic, hands every group of the topic the
record again, in another order, without its headers, and when it is broken off nobody knows how
far it came. Each of these is a test here.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from confluent_kafka import Message as KafkaMessage

from ottla.core.identity import EVENT_ID_HEADER
from ottla.core.provenance import read_retry
from ottla.records import Headers
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, read_all
from tests.support.dlt import Done, bury, dlt, dlt_started
from tests.support.failing import dead_letter_topic, dead_letters, header, topic_with_dead_letters
from tests.support.kafka_server import Kafka
from tests.support.ledger import by_key, numbered
from tests.support.spring_records import captured

DAY_MS = 86_400_000
ADDED = ["ottla-replay-id", "ottla-replayed-by", "ottla-replayed-at"]


def replayed(kafka: Kafka, topic: str, group: str) -> list[KafkaMessage]:
    """What lies on the replay topic, or nothing where there is none."""
    name = f"{topic}-{group}-replay"
    return read_all(kafka, name) if name in kafka.admin().list_topics(timeout=10).topics else []


def entries(kafka: Kafka, group: str) -> list[dict[str, str]]:
    """What the group's ledger says of each letter in the end."""
    found = {
        message.key(): json.loads(message.value() or b"") for message in read_all(kafka, f"{group}-replays")
    }
    return list(found.values())


def headers_of(message: KafkaMessage) -> Headers:
    return Headers(cast("list[tuple[str, bytes | None]]", message.headers() or []))


def number_of(message: KafkaMessage) -> tuple[str, int]:
    return (message.key() or b"").decode(), int(message.value() or b"-1")


async def test_letters_reach_the_group_alone_in_the_order_of_their_keys_with_headers_as_they_were(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    group = f"g-{unique[-8:]}"
    topic = topic_with_dead_letters(kafka, new_topic, partitions=3, groups=(group,))
    keys = [f"k-{n}" for n in range(7)]
    await bury(kafka, topic, numbered(keys, range(12)), headers=[("trace", b"\xff")], group=group)

    done = dlt(kafka, "replay", dead_letter_topic(topic, group), "--yes", "--by", "ann")

    assert done == (
        0,
        [
            f"replay 84 dead letters of group {group} to {topic}-{group}-replay",
            f"create {group}-replays partitions=1 cleanup.policy=compact",
            f"create {topic}-{group}-replay partitions=3",
            "dlt: replayed=84 skipped=0 refused=0 failed=0 again=0",
        ],
        [],
    )
    sent = replayed(kafka, topic, group)
    assert by_key(map(number_of, sent)) == {key: list(range(12)) for key in keys}
    letters = {number_of(letter): letter for letter in dead_letters(kafka, topic, group)}
    for message in sent:
        own = list(letters[number_of(message)].headers() or [])
        headers = list(message.headers() or [])
        assert headers[: len(own)] == own
        assert [name for name, _ in headers[len(own) :]] == ADDED
        assert header(message, "ottla-replayed-by") == b"ann"
    assert len({header(message, "ottla-replay-id") for message in sent}) == 1
    assert len(read_all(kafka, topic)) == 84
    assert [entry["state"] for entry in entries(kafka, group)] == ["sent"] * 84


async def test_a_second_run_sends_nothing_unless_it_is_asked_to_send_again(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    group = f"g-{unique[-8:]}"
    topic = topic_with_dead_letters(kafka, new_topic, groups=(group,))
    dead = dead_letter_topic(topic, group)
    await bury(kafka, topic, [("a", "1"), ("b", "2"), ("c", "3")], group=group)

    first = dlt(kafka, "replay", dead, "--yes", "--key", "b")
    second = dlt(kafka, "replay", dead, "--yes", "--limit", "1")
    third = dlt(kafka, "replay", dead, "--yes")
    listed = dlt(kafka, "list", dead)
    fourth = dlt(kafka, "replay", dead, "--yes", "--key", "b")
    again = dlt(kafka, "replay", dead, "--yes", "--key", "b", "--again")

    assert first.lines[-1] == "dlt: replayed=1 skipped=0 refused=0 failed=0 again=0"
    assert second.lines[-1] == "dlt: replayed=1 skipped=0 refused=0 failed=0 again=0"
    assert third.lines[-1] == "dlt: replayed=1 skipped=2 refused=0 failed=0 again=0"
    assert [" replayed 2" in line for line in listed.lines[1:-1]] == [True] * 3
    assert fourth == (0, ["skip 1 dead letter: replayed before", f"dlt: {NOTHING_BUT_SKIPPED}"], [])
    assert again.lines[-1] == "dlt: replayed=1 skipped=0 refused=0 failed=0 again=1"
    assert [message.value() for message in replayed(kafka, topic, group)] == [b"2", b"1", b"3", b"2"]


NOTHING_BUT_SKIPPED = "replayed=0 skipped=1 refused=0 failed=0 again=0"


async def test_a_dry_run_tells_counts_and_targets_and_leaves_the_cluster_as_it_is(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    group = f"g-{unique[-8:]}"
    topic = topic_with_dead_letters(kafka, new_topic, groups=(group,))
    await bury(kafka, topic, [("a", "1"), ("b", "2")], group=group)

    dry = dlt(kafka, "replay", dead_letter_topic(topic, group), "--dry-run")
    unasked = dlt(kafka, "replay", dead_letter_topic(topic, group))

    assert dry == (
        0,
        [
            f"replay 2 dead letters of group {group} to {topic}-{group}-replay",
            "dlt: to-replay=2 skipped=0 refused=0 again=0 (dry run)",
        ],
        [],
    )
    assert unasked.code == 2
    assert "Invalid value for --yes: stdin is no terminal" in " ".join(unasked.errors)
    there = kafka.admin().list_topics(timeout=10).topics
    assert {f"{topic}-{group}-replay", f"{group}-replays"} & set(there) == set()


async def test_on_a_terminal_it_asks_before_anything_is_made_or_sent(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    group = f"g-{unique[-8:]}"
    topic = topic_with_dead_letters(kafka, new_topic, groups=(group,))
    await bury(kafka, topic, [("a", "1")], group=group)

    no = answered(kafka, "n", "replay", dead_letter_topic(topic, group))
    there = kafka.admin().list_topics(timeout=10).topics
    yes = answered(kafka, "y", "replay", dead_letter_topic(topic, group))

    assert no.code == 1
    assert "Replay 1 dead letter? [y/N]" in "".join(no.lines)
    assert {f"{topic}-{group}-replay", f"{group}-replays"} & set(there) == set()
    assert yes.code == 0, yes.errors
    assert yes.lines[-1].endswith("dlt: replayed=1 skipped=0 refused=0 failed=0 again=0")


def answered(kafka: Kafka, answer: str, *arguments: str) -> Done:
    """The command on a terminal where somebody writes `answer`."""
    ours, theirs = os.openpty()
    process = dlt_started(kafka, *arguments, stdin=theirs)
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())
    out, err = process.communicate(timeout=60)
    os.close(ours)
    return Done(process.returncode, out.splitlines(), err.splitlines())


async def test_a_replay_killed_in_the_middle_goes_on_and_leaves_nothing_out(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    group = f"g-{unique[-8:]}"
    topic = topic_with_dead_letters(kafka, new_topic, partitions=2, groups=(group,))
    dead = dead_letter_topic(topic, group)
    await bury(kafka, topic, numbered(["a", "b", "c", "d"], range(30)), group=group)
    command = ["replay", dead, "--yes"]

    with started(kafka, *command, "--rate", "60") as process:
        wait_for_progress(process)
        process.kill()
        process.wait()
    before = entries(kafka, group)
    done = dlt(kafka, *command)

    sending = sum(entry["state"] == "sending" for entry in before)
    sent = sum(entry["state"] == "sent" for entry in before)
    assert 0 < sent < 120
    assert done.lines[-1] == f"dlt: replayed={120 - sent} skipped={sent} refused=0 failed=0 again={sending}"
    assert [entry["state"] for entry in entries(kafka, group)] == ["sent"] * 120
    found = by_key(map(number_of, replayed(kafka, topic, group)))
    assert {key: list(dict.fromkeys(numbers)) for key, numbers in found.items()} == {
        key: list(range(30)) for key in "abcd"
    }
    assert sum(map(len, found.values())) <= 120 + sending
    assert all(numbers == sorted(numbers) for numbers in found.values())


async def test_a_replay_that_is_told_to_stop_ends_what_it_has_begun_and_says_what_is_left(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    group = f"g-{unique[-8:]}"
    topic = topic_with_dead_letters(kafka, new_topic, groups=(group,))
    dead = dead_letter_topic(topic, group)
    await bury(kafka, topic, numbered(["a"], range(50)), group=group)

    with started(kafka, "replay", dead, "--yes", "--rate", "20") as process:
        wait_for_progress(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    stopped = Done(process.returncode, out.splitlines(), err.splitlines())
    done = dlt(kafka, "replay", dead, "--yes")

    sent = int(re.findall(r"replayed=(\d+)", stopped.lines[-1])[0])
    assert stopped.code == 1
    assert (
        f"dlt: stopped with {50 - sent} dead letters left; the same command goes on there" in stopped.errors
    )
    assert done.lines[-1] == f"dlt: replayed={50 - sent} skipped={sent} refused=0 failed=0 again=0"
    assert [number_of(message)[1] for message in replayed(kafka, topic, group)] == list(range(50))


@contextmanager
def started(kafka: Kafka, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = dlt_started(kafka, *arguments)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_progress(process: subprocess.Popen[str]) -> None:
    """Until it says, after a second, how many it has replayed."""
    assert process.stderr is not None
    assert "dlt: replayed=" in process.stderr.readline()


async def test_what_is_discarded_is_listed_as_such_and_not_replayed(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    group = f"g-{unique[-8:]}"
    topic = topic_with_dead_letters(kafka, new_topic, groups=(group,))
    dead = dead_letter_topic(topic, group)
    await bury(kafka, topic, [("a", "1"), ("b", "2")], group=group)

    reasonless = dlt(kafka, "discard", dead, "--yes")
    done = dlt(kafka, "discard", dead, "--yes", "--key", "a", "--because", "a test order", "--by", "ann")
    again = dlt(kafka, "discard", dead, "--yes", "--key", "a", "--because", "a test order")
    listed = dlt(kafka, "list", dead)
    shown = dlt(kafka, "show", dead, "0", "0")
    rest = dlt(kafka, "replay", dead, "--yes")

    assert reasonless.code == 2
    assert done.lines[-1] == "dlt: discarded=1 skipped=0"
    assert again.lines[-1] == "dlt: discarded=0 skipped=1"
    assert " discarded 2" in listed.lines[1]
    assert listed.lines[2].endswith(" -")
    assert any("discarded" in line and "because a test order" in line for line in shown.lines)
    assert "skip 1 dead letter: discarded before" in rest.lines
    assert rest.lines[-1] == "dlt: replayed=1 skipped=1 refused=0 failed=0 again=0"
    assert len(dead_letters(kafka, topic, group)) == 2


async def test_a_group_with_retry_topics_gets_it_on_the_first_of_them_at_its_first_attempt(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    group = f"g-{unique[-8:]}"
    topic = topic_with_dead_letters(kafka, new_topic, groups=(group,))
    for suffix in ("-retry-10000", "-retry-2000"):
        kafka.create_topic(f"{topic}-{group}{suffix}", 1)
    await bury(kafka, topic, [("a", "1")], headers=[(EVENT_ID_HEADER, b"e-1")], group=group)
    before_ms = time.time_ns() // 1_000_000

    done = dlt(kafka, "replay", dead_letter_topic(topic, group), "--yes")

    assert done.code == 0, done.errors
    (message,) = read_all(kafka, f"{topic}-{group}-retry-2000")
    raw = headers_of(message)
    now_ms = time.time_ns() // 1_000_000
    state = read_retry(raw, now_ms=now_ms)
    assert state.attempt == 1
    assert state.first_seen_ms == read_all(kafka, topic)[0].timestamp()[1]
    assert before_ms <= (state.due_ms or 0) <= now_ms
    assert raw.text(EVENT_ID_HEADER) == "e-1"
    assert raw.last("ottla-replay-id") is not None


def test_a_group_of_springs_without_retry_topics_is_refused_and_all_groups_get_it_only_when_asked(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    source, record = new_topic(), captured()["failing listener"]
    dead, group = f"{source}-dlt", f"g-{unique[-8:]}"
    kafka.create_topic(dead)
    headers = [
        (name, value)
        for name, value in record.headers
        if not name.endswith(("original-topic", "consumer-group"))
    ]
    headers += [
        ("kafka_dlt-original-topic", source.encode()),
        ("kafka_dlt-original-consumer-group", group.encode()),
    ]
    produce(kafka, dead, [(record.key, record.value)], headers=headers)
    kafka_group_reads(kafka, group, source)

    refused = dlt(kafka, "replay", dead, "--yes")
    sent_unasked = read_all(kafka, source)
    asked = dlt(kafka, "replay", dead, "--yes", "--to-all-groups")

    assert refused.code == 1
    assert refused.lines == ["dlt: replayed=0 skipped=0 refused=1 failed=0 again=0"]
    assert f"refuse 1 dead letter, the first {dead}-0@0: group {group!r} is not Ottla's" in refused.errors[0]
    assert "--to-all-groups" in refused.errors[0]
    assert sent_unasked == []
    assert asked.code == 0, asked.errors
    assert f"{source} is read by {group}: each of them gets these letters" in asked.lines
    (message,) = read_all(kafka, source)
    assert (message.key(), message.value()) == (record.key, record.value)
    assert list(message.headers() or [])[: len(headers)] == headers


def kafka_group_reads(kafka: Kafka, group: str, topic: str) -> None:
    """`group` has committed an offset of `topic`."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": group})
    consumer.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
    consumer.close()
    assert committed(kafka, group, topic) == {0: 0}


async def test_what_is_older_than_the_inbox_remembers_is_refused_unless_forced(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    group = f"g-{unique[-8:]}"
    topic = topic_with_dead_letters(kafka, new_topic, groups=(group,), config={"retention.ms": "-1"})
    dead = dead_letter_topic(topic, group)
    await bury(kafka, topic, [("a", "1")], group=group)
    (letter,) = dead_letters(kafka, topic, group)
    old_ms = time.time_ns() // 1_000_000 - 8 * DAY_MS
    produce(kafka, dead, [("old", "2")], headers=list(headers_of(letter)), timestamp_ms=old_ms)

    careful = dlt(kafka, "replay", dead, "--yes")
    longer = dlt(kafka, "replay", dead, "--dry-run", OTTLA_DEDUP_WINDOW_DAYS="9")
    forced = dlt(kafka, "replay", dead, "--yes", "--force")

    assert careful.code == 1
    assert careful.lines[-1] == "dlt: replayed=1 skipped=0 refused=1 failed=0 again=0"
    assert "older than the 7 days of OTTLA_DEDUP_WINDOW_DAYS" in careful.errors[0]
    assert longer.lines[-1] == "dlt: to-replay=1 skipped=1 refused=0 again=0 (dry run)"
    assert forced.lines[-1] == "dlt: replayed=1 skipped=1 refused=0 failed=0 again=0"


async def test_a_letter_that_fails_holds_up_its_key_alone_and_is_told(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    group = f"g-{unique[-8:]}"
    topic = topic_with_dead_letters(kafka, new_topic, groups=(group,))
    dead = dead_letter_topic(topic, group)
    await bury(kafka, topic, [("a", "x" * 3_000), ("a", "2"), ("b", "3")], group=group)
    target = f"{topic}-small"
    kafka.create_topic(target, 1, {"max.message.bytes": "2500"})

    # One record a batch, so that only the large one is refused.
    done = dlt(kafka, "replay", dead, "--yes", "--to", target, "--rate", "10")
    kafka.alter_topic(target, {"max.message.bytes": "100000"})
    cured = dlt(kafka, "replay", dead, "--yes", "--to", target)

    assert done.code == 1
    assert done.lines[-1] == "dlt: replayed=1 skipped=0 refused=0 failed=2 again=0"
    assert f"ottla: failed: {dead}-0@0: " in done.errors[0]
    assert "max.message.bytes" in done.errors[0]
    assert done.errors[1].endswith(": not sent, because an earlier one of its key has failed")
    assert cured.lines[-1] == "dlt: replayed=2 skipped=1 refused=0 failed=0 again=1"
    assert [message.value() for message in read_all(kafka, target)] == [b"3", b"x" * 3_000, b"2"]
