"""`ottla topics plan` and `apply`: a cluster gets the topics that an app wants, and keeps all that it has.

Topics outlive services: what is altered by mistake moves keys or loses records, so every
line is looked at on a real cluster, beside what the cluster has afterwards.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from confluent_kafka.admin import ConfigResource, ResourceType

from ottla.core.topology import AddPartitions, CreateTopic, SetConfig
from ottla.embedded.guarded import free_port
from ottla.kafka.admin import KafkaAdmin
from tests.conftest import NewTopic
from tests.support.kafka_server import ROOT, Kafka

WISHING = "tests.support.services.wishing:app"


class Done(NamedTuple):
    code: int
    lines: list[str]
    errors: list[str]


class Ottla:
    """The command, for an app that wants `partitions` and `config` of its topic."""

    def __init__(self, kafka: Kafka | None, topic: str, partitions: int | None = None, **config: str) -> None:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("KAFKA_", "OTTLA_", "DATABASE_", "TOPICS__"))
        }
        self.environment = {
            **inherited,
            "OTTLA_CONFIG": os.devnull,
            "KAFKA_GROUP_ID": "wishing",
            "TOPIC": topic,
            "CONFIG": json.dumps({name.replace("_", "."): value for name, value in config.items()}),
        }
        if kafka is not None:
            self.environment["KAFKA_BOOTSTRAP_SERVERS"] = kafka.bootstrap_servers
        if partitions is not None:
            self.environment["PARTITIONS"] = str(partitions)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "from ottla.cli.main import main; main()", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdout=pipe, stderr=pipe, text=True, bufsize=1
        )

    def topics(self, command: str, *options: str) -> Done:
        return ended(self.start("topics", command, WISHING, *options))


def ended(process: subprocess.Popen[str]) -> Done:
    out, err = process.communicate(timeout=60)
    return Done(process.returncode, out.splitlines(), err.splitlines())


@contextmanager
def developing(ottla: Ottla) -> Iterator[subprocess.Popen[str]]:
    """`ottla dev`, told to stop at the end, so that it removes its servers."""
    process = ottla.start("dev", WISHING)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


def said_until(process: subprocess.Popen[str], text: str) -> str:
    """What it says on stderr up to the line with `text`, that line included."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if text in line:
            return said
    pytest.fail(f"{text!r} was not said, but:\n{said}")


def counts(kafka: Kafka, names: Iterable[str]) -> dict[str, int]:
    found = kafka.admin().list_topics(timeout=10).topics
    return {name: len(found[name].partitions) for name in names if name in found}


def config(kafka: Kafka, topic: str, name: str) -> str:
    admin = kafka.admin()
    (answer,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    return str(answer.result(10)[name].value)


def dead_letters_of(topic: str) -> str:
    return f"{topic}-wishing-dlt"


def test_missing_topics_are_created_as_wished_and_the_second_run_finds_all_in_order(
    kafka: Kafka, unique: str
) -> None:
    ottla, dead = Ottla(kafka, unique, 3, retention_ms="86400000"), dead_letters_of(unique)

    planned = ottla.topics("plan")
    before = counts(kafka, [unique, dead])
    applied = ottla.topics("apply")
    again = ottla.topics("apply")
    planned_again = ottla.topics("plan")

    steps = [f"create {unique} partitions=3 retention.ms=86400000", f"create {dead} partitions=3"]
    in_order = [f"ok {unique}", f"ok {dead}"]
    assert planned == (2, [*steps, "topics: plan create=2 alter=0 ok=0 refuse=0"], [])
    assert before == {}
    assert applied == (0, [*steps, "topics: applied create=2 alter=0 ok=0 failed=0"], [])
    assert again == (0, [*in_order, "topics: applied create=0 alter=0 ok=2 failed=0"], [])
    assert planned_again == (0, [*in_order, "topics: plan create=0 alter=0 ok=2 refuse=0"], [])
    assert counts(kafka, [unique, dead]) == {unique: 3, dead: 3}
    assert config(kafka, unique, "retention.ms") == "86400000"
    assert config(kafka, dead, "retention.ms") == "604800000"


def test_without_wishes_new_topics_are_the_brokers_defaults_and_old_ones_are_left(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = new_topic(partitions=2, config={"retention.ms": "5000000"})

    applied = Ottla(kafka, topic).topics("apply", "--replication-factor", "1")

    dead = dead_letters_of(topic)
    assert applied.lines[:2] == [f"ok {topic}", f"create {dead} partitions=2"]
    assert counts(kafka, [topic, dead]) == {topic: 2, dead: 2}
    assert config(kafka, topic, "retention.ms") == "5000000"


def test_partitions_are_added_to_a_topic_that_is_there_only_when_that_is_allowed(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = new_topic(partitions=2)
    ottla, dead = Ottla(kafka, topic, 4), dead_letters_of(topic)

    planned = ottla.topics("plan")
    careful = ottla.topics("apply")
    after_careful = counts(kafka, [topic, dead])
    allowed = ottla.topics("apply", "--allow-partitions")

    line = f"{topic} partitions 2 -> 4; keys move to other partitions"
    assert planned.code == 2
    assert planned.lines[0] == f"alter {line}"
    assert careful == (
        0,
        [
            f"left {line}: --allow-partitions adds them",
            f"create {dead} partitions=4",
            "topics: applied create=1 alter=0 ok=0 failed=0 left=1",
        ],
        [],
    )
    assert after_careful == {topic: 2, dead: 4}
    assert allowed == (
        0,
        [f"alter {line}", f"ok {dead}", "topics: applied create=0 alter=1 ok=1 failed=0"],
        [],
    )
    assert counts(kafka, [topic, dead]) == {topic: 4, dead: 4}
    assert ottla.topics("plan").code == 0


def test_a_config_is_altered_and_the_others_stay(kafka: Kafka, new_topic: NewTopic) -> None:
    topic = new_topic(config={"retention.ms": "5000000", "segment.ms": "6000000"})
    kafka.create_topic(dead_letters_of(topic))
    ottla = Ottla(kafka, topic, retention_ms="86400000", cleanup_policy="compact, delete")

    applied = ottla.topics("apply")
    planned = ottla.topics("plan")

    assert applied.lines == [
        f"alter {topic} cleanup.policy delete -> compact, delete",
        f"alter {topic} retention.ms 5000000 -> 86400000",
        f"ok {dead_letters_of(topic)}",
        "topics: applied create=0 alter=2 ok=1 failed=0",
    ]
    assert config(kafka, topic, "retention.ms") == "86400000"
    assert config(kafka, topic, "cleanup.policy") == "compact,delete"
    assert config(kafka, topic, "segment.ms") == "6000000"
    assert planned.code == 0


def test_partitions_are_never_removed(kafka: Kafka, new_topic: NewTopic) -> None:
    topic = new_topic(partitions=3)
    ottla, dead = Ottla(kafka, topic, 1), dead_letters_of(topic)

    applied = ottla.topics("apply", "--allow-partitions")
    planned = ottla.topics("plan")

    refused = f"refuse {topic} partitions 3 -> 1: Kafka never removes partitions"
    assert applied.lines == [
        refused,
        f"create {dead} partitions=3",
        "topics: applied create=1 alter=0 ok=0 failed=0 refuse=1",
    ]
    assert planned == (2, [refused, f"ok {dead}", "topics: plan create=0 alter=0 ok=1 refuse=1"], [])
    assert counts(kafka, [topic, dead]) == {topic: 3, dead: 3}


def test_a_topic_that_fails_is_told_in_a_line_and_holds_up_no_other(kafka: Kafka, unique: str) -> None:
    dead = dead_letters_of(unique)

    applied = Ottla(kafka, unique, 2, retention_mss="1").topics("apply")

    assert applied.code == 1
    assert applied.lines == [
        f"create {dead} partitions=2",
        "topics: applied create=1 alter=0 ok=0 failed=1",
    ]
    assert len(applied.errors) == 1
    assert applied.errors[0].startswith(f"ottla: failed: create {unique} partitions=2 retention.mss=1: ")
    assert "Unknown topic config name: retention.mss; mend what its Topic declares" in applied.errors[0]
    assert counts(kafka, [unique, dead]) == {dead: 2}


def test_two_at_once_do_no_harm_and_both_succeed(kafka: Kafka, unique: str) -> None:
    ottla = Ottla(kafka, unique, 3, retention_ms="86400000")

    processes = [ottla.start("topics", "apply", WISHING) for _ in range(2)]
    done = [ended(process) for process in processes]

    assert [(found.code, found.errors) for found in done] == [(0, []), (0, [])]
    assert ottla.topics("plan").code == 0


async def test_steps_that_somebody_else_has_taken_meanwhile_are_no_failures(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    topic, made = new_topic(partitions=1), f"{unique}-made"
    admins = [KafkaAdmin({"bootstrap.servers": kafka.bootstrap_servers}) for _ in range(3)]

    failures = await asyncio.gather(
        *(admin.create([CreateTopic(made, 3)]) for admin in admins),
        *(admin.add_partitions([AddPartitions(topic, 1, 4)]) for admin in admins),
        *(admin.set_configs([SetConfig(topic, "retention.ms", "1", "86400000")]) for admin in admins),
    )
    late = await admins[0].add_partitions([AddPartitions(topic, 1, 3)])

    assert failures == [{}] * 9
    assert late == {}
    assert counts(kafka, [topic, made]) == {topic: 4, made: 3}
    assert config(kafka, topic, "retention.ms") == "86400000"


async def test_a_topic_that_is_gone_when_it_is_altered_is_told(kafka: Kafka, unique: str) -> None:
    admin = KafkaAdmin({"bootstrap.servers": kafka.bootstrap_servers})

    added = await admin.add_partitions([AddPartitions(unique, 1, 4)])
    altered = await admin.set_configs([SetConfig(unique, "retention.ms", "1", "2")])

    assert f"topic {unique!r}: Kafka did not add partitions to it: " in str(added[unique])
    assert f"topic {unique!r}: Kafka did not alter its configs: " in str(altered[unique])


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_a_cluster_that_does_not_answer_is_one_line_and_exit_1(command: str) -> None:
    nowhere = Kafka(f"127.0.0.1:{free_port()}")

    done = Ottla(nowhere, "orders").topics(command)

    assert (done.code, done.lines, len(done.errors)) == (1, [], 1)
    assert nowhere.bootstrap_servers in done.errors[0]
    assert "check that Kafka runs there" in done.errors[0]


def test_dev_applies_the_plan_on_a_real_broker_and_adds_no_partitions(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = new_topic(partitions=2)

    with developing(Ottla(kafka, topic, 4, retention_ms="86400000")) as process:
        said_until(process, f"assigned {topic}-")
        process.send_signal(signal.SIGTERM)
        done = ended(process)

    assert done.code == 0, done.errors
    assert done.lines == [
        f"left {topic} partitions 2 -> 4; keys move to other partitions: --allow-partitions adds them",
        f"alter {topic} retention.ms 604800000 -> 86400000",
        f"create {dead_letters_of(topic)} partitions=4",
    ]
    assert counts(kafka, [topic, dead_letters_of(topic)]) == {topic: 2, dead_letters_of(topic): 4}


def test_dev_gives_its_own_broker_the_partitions_that_are_wished(unique: str) -> None:
    with developing(Ottla(None, unique, 3)) as process:
        said = said_until(process, f"assigned {unique}-")
        address = re.search(r"KAFKA_BOOTSTRAP_SERVERS=(\S+)", said)
        assert address is not None
        found = counts(Kafka(address[1]), [unique, dead_letters_of(unique)])

    assert found == {unique: 3, dead_letters_of(unique): 3}


def test_a_replication_factor_that_the_cluster_cannot_give_is_told(kafka: Kafka, unique: str) -> None:
    applied = Ottla(kafka, unique).topics("apply", "--replication-factor", "5")

    assert applied.code == 1
    assert applied.lines == ["topics: applied create=0 alter=0 ok=0 failed=2"]
    assert all(
        "Kafka refuses to create it: " in line and "replication factor" in line for line in applied.errors
    )
    assert counts(kafka, [unique]) == {}
