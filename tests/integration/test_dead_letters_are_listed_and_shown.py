"""`ottla dlt list` and `show`: what was given up, by whom and why, is read where it lies.

Whoever looks has no app at hand and perhaps no right to anything but reading. So nothing may
be left behind, no group and no offset, and letters that Java wrote must look as ours do.
"""

from __future__ import annotations

import json

import pytest

from tests.conftest import NewTopic
from tests.support.apps import produce
from tests.support.dlt import bury, dlt
from tests.support.failing import dead_letter_topic, produce_with_header_name, topic_with_dead_letters
from tests.support.kafka_server import Kafka
from tests.support.spring_records import captured


async def test_a_line_tells_where_a_letter_is_from_and_why_and_nothing_is_left_behind(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    await bury(kafka, topic, [("o-1", "a"), (b"\xff\x00", "handler"), (None, None), ("k" * 50, "\n")])
    groups = {group.group_id for group in kafka.admin().list_consumer_groups().result().valid}

    listed = dlt(kafka, "list", dead_letter_topic(topic))

    assert (listed.code, listed.errors) == (0, [])
    assert listed.lines[-1] == "dlt: listed=4"
    heading, *rows = [line.split() for line in listed.lines[:-1]]
    assert heading[:5] == ["partition", "offset", "time", "origin", "group"]
    assert heading[5:] == ["exception", "reason", "key", "replayed"]
    first = {"0", f"{topic}-0@0", "billing", "KeyError", "attempts", "exhausted", "o-1", "-"}
    assert first <= set(rows[0])
    assert {f"{topic}-0@1", "DeadLetter", "handler", "0xff00"} <= set(rows[1])
    assert {f"{topic}-0@2", "null"} <= set(rows[2])
    assert f"{'k' * 39}…" in rows[3]
    now = {group.group_id for group in kafka.admin().list_consumer_groups().result().valid}
    assert now == groups


async def test_lines_of_json_are_letters_alone(kafka: Kafka, new_topic: NewTopic) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    await bury(kafka, topic, [("o-1", "a"), (b"\xff", "handler")])

    listed = dlt(kafka, "list", dead_letter_topic(topic), "--format", "json")

    first, second = map(json.loads, listed.lines)
    assert first["origin"] | {"time": ""} == {"topic": topic, "partition": 0, "offset": 0, "time": ""}
    assert (first["offset"], first["group"], first["key"], first["ledger"]) == (0, "billing", "o-1", None)
    assert (first["exception"], first["cause"]) == ("tests.support.dlt.Refused", "builtins.KeyError")
    assert first["message"] == "no such customer; 'customer'"
    assert first["reason"] == "attempts exhausted"
    assert (second["key"], second["key_hex"]) == (None, "ff")
    assert listed.errors == ["dlt: listed=2"]


async def test_filters_choose_and_what_is_none_is_said_with_what_would_do(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic, partitions=3)
    dead = dead_letter_topic(topic)
    await bury(kafka, topic, [(f"o-{n}", "handler" if n % 4 == 0 else "a") for n in range(12)])

    def listed(*filters: str) -> str:
        return dlt(kafka, "list", dead, *filters).lines[-1]

    assert listed("--exception", "KeyError") == "dlt: listed=9"
    assert listed("--reason", "handler") == "dlt: listed=3"
    assert listed("--key", "o-4", "--group", "billing") == "dlt: listed=1"
    assert listed("--since", "2020-01-01", "--until", "2021-01-01") == "dlt: listed=0"
    assert listed("--limit", "5") == "dlt: listed=5"
    wrong = dlt(kafka, "list", dead, "--since", "yesterday")
    assert (wrong.code, wrong.lines) == (2, [])
    assert "Invalid value for --since: 'yesterday' is no time; write ISO 8601" in " ".join(wrong.errors)


def test_a_topic_that_is_not_there_is_one_line_that_names_what_is(kafka: Kafka, new_topic: NewTopic) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)

    done = dlt(kafka, "list", f"{topic}-dlt")

    assert (done.code, done.lines, len(done.errors)) == (1, [], 1)
    assert dead_letter_topic(topic) in done.errors[0]


async def test_one_letter_is_shown_whole(kafka: Kafka, new_topic: NewTopic) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    own = [("tenant", b"acme"), ("raw", b"\xff"), ("null", None), ("bell", b"\x07")]
    await bury(kafka, topic, [("o-1", "x"), ("o-1", '{"id":"o-1","lines":[1,2]}')], headers=own)

    shown = dlt(kafka, "show", dead_letter_topic(topic), "0", "1")

    assert (shown.code, shown.errors) == (0, ["dlt: shown=1"])
    assert shown.lines[0].startswith(f"{dead_letter_topic(topic)}-0@1  2")
    lines = [" ".join(line.split()) for line in shown.lines]
    assert lines[1].startswith(f"from {topic}-0@1 2")
    assert lines[2:7] == [
        "group billing",
        "reason attempts exhausted",
        "exception tests.support.dlt.Refused",
        "cause builtins.KeyError",
        "message no such customer; 'customer'",
    ]
    assert {"tenant acme", "raw 0xff", "null null", "bell \\x07"} <= set(lines)
    assert f"kafka_dlt-original-topic {topic}" in lines
    assert "kafka_dlt-original-offset 1" in lines
    assert any("in handle" in line for line in lines[lines.index("stack") :])
    value = lines.index("value 26 bytes, JSON")
    end = lines.index("", value)
    assert "".join(lines[value + 1 : end]).replace(" ", "") == '{"id":"o-1","lines":[1,2]}'


async def test_raw_shows_every_byte(kafka: Kafka, new_topic: NewTopic) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    await bury(kafka, topic, [("o-1", "a\n")], headers=[("tenant", b"acme")])

    shown = dlt(kafka, "show", dead_letter_topic(topic), "--raw", "--key", "o-1")

    lines = [" ".join(line.split()) for line in shown.lines]
    assert {"tenant 0x61636d65", "key 0x6f2d31", "value 0x610a"} <= set(lines)
    assert "kafka_dlt-original-offset 0x0000000000000000" in lines


def test_what_is_not_there_is_shown_by_exit_1(kafka: Kafka, new_topic: NewTopic) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)

    shown = dlt(kafka, "show", dead_letter_topic(topic), "0", "7")

    assert shown == (1, [], ["dlt: shown=0"])


@pytest.mark.parametrize(
    ("case", "origin", "group", "cause"),
    [
        ("failing listener", "sk.orders-1@2", "sk-orders", "IllegalStateException"),
        ("undecodable value", "sk.orders-5@2", "sk-orders", "DeserializationException"),
        ("dead letter of retry topics", "sk.pay-2@2", "sk-pay", "IllegalStateException"),
    ],
)
def test_what_java_wrote_is_listed_and_shown_as_ours(
    kafka: Kafka, new_topic: NewTopic, *, case: str, origin: str, group: str, cause: str
) -> None:
    topic, record = new_topic(), captured()[case]
    produce(kafka, topic, [(record.key, record.value)], headers=list(record.headers))

    listed = dlt(kafka, "list", topic, "--exception", cause)
    shown = dlt(kafka, "show", topic, "--exception", cause)

    assert {origin, group, cause} <= set(listed.lines[1].split())
    lines = [" ".join(line.split()) for line in shown.lines]
    assert f"group {group}" in lines
    assert any(line.startswith(f"from {origin}") for line in lines)
    assert ("retries" in {line.split(" ")[0] for line in lines}) is ("retry" in case)


def test_headers_that_the_client_cannot_read_cost_one_letter(kafka: Kafka, new_topic: NewTopic) -> None:
    topic = new_topic()
    produce_with_header_name(kafka, topic, name=b"\xff", value=b"a")
    produce(kafka, topic, [("o-1", "b")])

    listed = dlt(kafka, "list", topic)
    shown = dlt(kafka, "show", topic, "0", "0")

    assert listed.lines[-1] == "dlt: listed=2"
    assert "headers  (a name is not UTF-8: the client cannot read them)" in shown.lines
