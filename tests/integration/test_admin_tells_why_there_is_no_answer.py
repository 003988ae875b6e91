"""One line must say whether the broker is away, the password is wrong, or an ACL is missing.

librdkafka reports all of them as "Broker transport failure".
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.admin import AclOperation

from ottla.core.topology import AddPartitions, CreateTopic, PresentTopic, SetConfig, WantedTopic
from ottla.embedded.guarded import free_port
from ottla.errors import AuthenticationFailed, BrokerUnavailable, NotAuthorized, TopicMissing
from ottla.kafka.admin import KafkaAdmin
from ottla.kafka.properties import client_properties
from ottla.settings import Settings
from tests.conftest import NewTopic, missing
from tests.support.guarded_kafka import guarded_kafka
from tests.support.kafka_server import Kafka, KafkaMissing, KafkaServer


def admin(bootstrap_servers: str, timeout_s: float = 10, **kafka: Any) -> KafkaAdmin:
    settings = Settings.model_validate({"kafka": {"bootstrap_servers": bootstrap_servers, **kafka}})
    return KafkaAdmin(client_properties(settings), timeout_s=timeout_s)


def scram(bootstrap_servers: str, password: str, *, user: str = "alice") -> KafkaAdmin:
    return admin(
        bootstrap_servers,
        security="scram",
        username=user,
        password=password,
        client={"security.protocol": "SASL_PLAINTEXT"},
    )


@pytest.fixture(scope="module")
def guarded_broker() -> Iterator[str]:
    """A broker where alice and bob may come in by SCRAM; the address of that listener.

    Alice has no ACL; bob may see topics, and no more.
    """
    try:
        with guarded_kafka() as kafka:
            for user in ("alice", "bob"):
                kafka.add_user(user)
            kafka.allow("bob", AclOperation.DESCRIBE, "*")
            kafka.create_topic("orders")
            yield kafka.guarded
    except KafkaMissing as error:
        missing(str(error))


async def test_topics_are_created_once_and_counted(kafka: Kafka, new_topic: NewTopic, unique: str) -> None:
    there, made = new_topic(partitions=2), f"{unique}-made"
    asking = admin(kafka.bootstrap_servers)

    await asking.create_topics({there: 5, made: 3})
    await asking.create_topics({made: 4})
    found = await asking.partitions([there, made, made])

    assert found == {there: 2, made: 3}


async def test_all_missing_topics_are_named_and_none_is_made(
    kafka: Kafka, new_topic: NewTopic, unique: str
) -> None:
    asking = admin(kafka.bootstrap_servers)
    absent = [f"{unique}-x", f"{unique}-y"]

    for _ in range(2):
        with pytest.raises(
            TopicMissing,
            match=f"topics '{absent[0]}', '{absent[1]}': no such topic.*"
            "`ottla topics apply MODULE:APP`.*TOPICS__",
        ):
            await asking.partitions([new_topic(), *absent])


async def test_nobody_listening_is_said_with_the_address() -> None:
    port = free_port()
    begin = time.monotonic()

    with pytest.raises(
        BrokerUnavailable, match=rf"127.0.0.1:{port}.*Connection refused.*check that Kafka runs"
    ):
        await admin(f"127.0.0.1:{port}", timeout_s=0.6).partitions(["orders"])

    assert time.monotonic() - begin < 5


async def test_a_host_that_does_not_resolve_is_said() -> None:
    with pytest.raises(
        BrokerUnavailable, match=r"Failed to resolve 'no-such-host.invalid:9092'.*name service"
    ):
        await admin("no-such-host.invalid:9092", timeout_s=0.6).partitions(["orders"])


async def test_a_frozen_broker_ends_within_the_bound(kafka_server: KafkaServer) -> None:
    kafka_server.pause()
    begin = time.monotonic()

    with pytest.raises(BrokerUnavailable):
        await admin(kafka_server.bootstrap_servers, timeout_s=1).partitions(["orders"])

    kafka_server.unpause()
    assert time.monotonic() - begin < 10


async def test_a_wrong_password_is_said_at_once(guarded_broker: str) -> None:
    begin = time.monotonic()

    with pytest.raises(
        AuthenticationFailed, match=r"[Aa]uthentication failed.*check KAFKA_SECURITY"
    ) as caught:
        await scram(guarded_broker, "wrong").partitions(["orders"])

    assert time.monotonic() - begin < 5
    assert "wrong" not in str(caught.value)


async def test_a_topic_without_an_acl_is_told_apart_from_a_missing_one(guarded_broker: str) -> None:
    with pytest.raises(NotAuthorized, match="topic 'orders': this user may not see it; grant DESCRIBE"):
        await scram(guarded_broker, "right").partitions(["orders"])


async def test_a_plan_does_not_take_a_topic_without_an_acl_for_missing(guarded_broker: str) -> None:
    with pytest.raises(NotAuthorized, match="topics 'none', 'orders': this user may not see it; grant DESCR"):
        await scram(guarded_broker, "right").describe([WantedTopic("none"), WantedTopic("orders")])


async def test_what_may_not_be_changed_is_said_with_the_acl_that_is_missing(guarded_broker: str) -> None:
    asking = scram(guarded_broker, "right")

    failures = [
        await asking.create([CreateTopic("new", 1)]),
        await asking.add_partitions([AddPartitions("orders", 1, 2)]),
        await asking.set_configs([SetConfig("orders", "retention.ms", "1", "2")]),
    ]

    said = "; ".join(str(error) for found in failures for error in found.values())
    assert [type(error) for found in failures for error in found.values()] == [NotAuthorized] * 3
    assert "topic 'new': this user may not create it; grant CREATE on the topic" in said
    assert "topic 'orders': this user may not add partitions to it; grant ALTER on the topic" in said
    assert "topic 'orders': this user may not alter its configs; grant ALTER_CONFIGS on the topic" in said


async def test_configs_that_may_not_be_seen_are_said_and_asked_only_where_they_are_wanted(
    guarded_broker: str,
) -> None:
    asking = scram(guarded_broker, "right", user="bob")

    found = await asking.describe([WantedTopic("orders"), WantedTopic("none")])

    assert found == {"orders": PresentTopic(1)}
    with pytest.raises(
        NotAuthorized, match="'orders': this user may not see the configs; grant DESCRIBE_CON"
    ):
        await asking.describe([WantedTopic("orders", config={"retention.ms": "1"})])


async def test_tls_against_a_plaintext_listener_is_said(kafka: Kafka) -> None:
    with pytest.raises((AuthenticationFailed, BrokerUnavailable), match=r"SSL.*KAFKA_SECURITY"):
        await admin(kafka.bootstrap_servers, timeout_s=0.6, security="tls").partitions(["orders"])
