from __future__ import annotations

import logging
import re
import time
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from ottla.errors import AuthenticationFailed
from ottla.kafka.client_errors import unavailable
from ottla.kafka.properties import (
    CLIENT_LOGGER,
    client_properties,
    consumer_properties,
    producer_properties,
    reader_properties,
    static_membership,
)
from ottla.settings import Settings


def settings(**kafka: Any) -> Settings:
    return Settings.model_validate({"kafka": {"bootstrap_servers": "localhost:1", **kafka}})


def refused(client: type[Consumer | Producer], properties: dict[str, str]) -> str | None:
    try:
        client(properties)
    except KafkaException as error:
        return str(error)
    return None


def test_a_producer_has_the_safe_defaults() -> None:
    properties = producer_properties(settings())

    safe = {"acks": "all", "enable.idempotence": "true", "partitioner": "murmur2_random"}
    assert safe.items() <= properties.items()


def test_a_consumer_neither_commits_nor_resets_by_itself() -> None:
    properties = consumer_properties(settings(), "billing")

    safe = {
        "group.id": "billing",
        "enable.auto.commit": "false",
        "enable.auto.offset.store": "false",
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": "45000",
        "max.poll.interval.ms": "300000",
    }
    assert safe.items() <= properties.items()


def test_listeners_of_a_static_member_have_names_of_their_own() -> None:
    kafka = settings(group_instance_id="billing-0").kafka

    assert static_membership(kafka, "billing/orders") == {"group.instance.id": "billing-0-orders"}
    assert static_membership(kafka, "billing/orders-dlt") == {"group.instance.id": "billing-0-orders-dlt"}
    assert static_membership(settings().kafka, "billing/orders") == {}


@pytest.mark.parametrize(
    ("drain_s", "longest_s", "told_ms"), [(25, 300, "45000"), (10, 300, "30000"), (25, 40, "40000")]
)
def test_by_the_newer_protocol_nobody_waits_long_for_a_member_that_has_missed_its_assignment(
    drain_s: float, longest_s: float, told_ms: str
) -> None:
    asked = settings(group_protocol="consumer", drain_s=drain_s, max_poll_interval_s=longest_s)

    assert consumer_properties(asked, "billing")["max.poll.interval.ms"] == told_ms


def test_the_newer_group_protocol_leaves_out_what_the_broker_decides() -> None:
    properties = consumer_properties(settings(group_protocol="consumer"), "billing")

    assert properties["group.protocol"] == "consumer"
    refused = {"session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"}
    assert refused.isdisjoint(properties)


@pytest.mark.parametrize(("session_s", "heartbeat_ms"), [(45, "3000"), (6, "2000"), (0.3, "100")])
def test_heartbeats_fit_three_times_into_the_session(session_s: float, heartbeat_ms: str) -> None:
    properties = consumer_properties(settings(session_timeout_s=session_s), "billing")

    assert properties["heartbeat.interval.ms"] == heartbeat_ms


def test_what_is_written_raw_wins_and_the_special_table_over_the_common_one() -> None:
    raw = settings(
        client={"linger.ms": 1, "socket.keepalive.enable": False},
        producer={"linger.ms": 0.5},
        consumer={"fetch.wait.max.ms": 7},
    )

    assert producer_properties(raw)["linger.ms"] == "0.5"
    assert consumer_properties(raw, "g")["fetch.wait.max.ms"] == "7"
    assert client_properties(raw)["socket.keepalive.enable"] == "false"
    assert "fetch.wait.max.ms" not in producer_properties(raw)


@pytest.mark.parametrize(
    ("kafka", "expected"),
    [
        ({"security": "plaintext"}, {"security.protocol": "PLAINTEXT"}),
        ({"security": "tls", "ca_file": "/ca"}, {"security.protocol": "SSL", "ssl.ca.location": "/ca"}),
        (
            {"security": "mtls", "certificate_file": "/c", "key_file": "/k", "key_password": "p"},
            {
                "security.protocol": "SSL",
                "ssl.certificate.location": "/c",
                "ssl.key.location": "/k",
                "ssl.key.password": "p",
            },
        ),
        (
            {"security": "scram", "username": "u", "password": "p"},
            {
                "security.protocol": "SASL_SSL",
                "sasl.mechanisms": "SCRAM-SHA-512",
                "sasl.username": "u",
                "sasl.password": "p",
            },
        ),
        (
            {
                "security": "oauth",
                "oauth_token_url": "https://idp/token",
                "oauth_client_id": "c",
                "oauth_client_secret": "s",
                "oauth_scope": "kafka",
            },
            {
                "security.protocol": "SASL_SSL",
                "sasl.mechanisms": "OAUTHBEARER",
                "sasl.oauthbearer.method": "oidc",
                "sasl.oauthbearer.token.endpoint.url": "https://idp/token",
                "sasl.oauthbearer.client.id": "c",
                "sasl.oauthbearer.client.secret": "s",
                "sasl.oauthbearer.scope": "kafka",
            },
        ),
    ],
)
def test_each_way_of_security_has_its_properties(kafka: dict[str, Any], expected: dict[str, str]) -> None:
    properties = client_properties(settings(**kafka))

    assert expected.items() <= properties.items()
    verified = properties.get("enable.ssl.certificate.verification")
    assert verified == (None if expected["security.protocol"] == "PLAINTEXT" else "true")


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize(
    "kafka", [{}, {"security": "tls"}, {"security": "scram", "username": "u", "password": "p"}]
)
def test_librdkafka_takes_the_properties(protocol: str, kafka: dict[str, Any]) -> None:
    sound = settings(group_protocol=protocol, client={"log_level": 0}, **kafka)

    consumer = refused(Consumer, consumer_properties(sound, "g"))
    producer = refused(Producer, producer_properties(sound))

    assert (consumer, producer) == (None, None)


def test_msk_iam_gives_every_client_one_callback_for_tokens() -> None:
    found = settings(security="msk-iam", aws_region="eu-west-1")

    callbacks = {
        properties["oauth_cb"]
        for properties in (
            client_properties(found),
            consumer_properties(found, "g"),
            reader_properties(found),
            producer_properties(found),
        )
    }

    assert len(callbacks) == 1
    assert (
        client_properties(found).items()
        >= {
            "security.protocol": "SASL_SSL",
            "sasl.mechanisms": "OAUTHBEARER",
            "enable.ssl.certificate.verification": "true",
            "ssl.endpoint.identification.algorithm": "https",
        }.items()
    )


@pytest.mark.parametrize(
    ("code", "said", "kafka", "cure"),
    [
        (KafkaError._SSL, "verify failed", {"security": "scram"}, "KAFKA_CA_FILE"),
        (
            KafkaError._TRANSPORT,
            "ssl/tls alert bad certificate",
            {"security": "tls"},
            "KAFKA_CERTIFICATE_FILE",
        ),
        (KafkaError._AUTHENTICATION, "no", {"security": "scram"}, "KAFKA_PASSWORD"),
        (KafkaError.SASL_AUTHENTICATION_FAILED, "no", {"security": "oauth"}, "KAFKA_OAUTH_CLIENT_SECRET"),
        (
            KafkaError._AUTHENTICATION,
            "no",
            {"security": "msk-iam", "aws_region": "eu-west-1"},
            r"kafka-cluster:Connect.*eu-west-1 \(KAFKA_AWS_REGION\)",
        ),
    ],
)
def test_a_refusal_names_the_settings_of_its_way(
    code: int, said: str, kafka: dict[str, str], cure: str
) -> None:
    refused = unavailable(KafkaError(code, said), ["orders"], client_properties(settings(**kafka)))

    assert isinstance(refused, AuthenticationFailed)
    assert re.search(cure, str(refused))


def complain(said: str) -> bool:
    record = logging.LogRecord(CLIENT_LOGGER.name, logging.ERROR, "librdkafka", 0, said, None, None)
    return bool(CLIENT_LOGGER.filter(record))


def test_the_client_says_the_same_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    assert complain("FAIL broker-1: refused (after 0ms in state CONNECT)")
    assert not complain("FAIL broker-1: refused (after 3ms in state CONNECT, 4 suppressed)")
    assert complain("FAIL broker-2: refused (after 0ms in state CONNECT)")
    now += 60

    assert complain("FAIL broker-1: refused (after 1ms in state CONNECT)")
