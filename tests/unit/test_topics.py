from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ottla.errors import WiringError
from ottla.topics import Topic, name_problem


@pytest.mark.parametrize("name", ["a", "orders", "Orders.v1_a-b", "x" * 249, "..."])
def test_a_name_that_kafka_takes_makes_a_topic(name: str) -> None:
    topic = Topic(name, bytes)

    assert topic.name == name
    assert name_problem(name) is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        (".", "reserves"),
        ("..", "reserves"),
        ("x" * 250, "250 characters"),
        ("orders/v1", "only letters"),
        ("bestellungen-für", "only letters"),
        ("orders\n", "only letters"),
    ],
)
def test_a_name_that_kafka_refuses_is_said_with_its_reason(name: str, why: str) -> None:
    with pytest.raises(WiringError, match=why) as caught:
        Topic(name, bytes)

    assert repr(name) in str(caught.value)


def test_a_topic_with_wishes_is_a_value_that_can_be_a_key() -> None:
    wishing = Topic("orders", str, partitions=6, config={"retention.ms": "86400000"})

    assert {wishing: "found"}[Topic("orders", str, partitions=6, config={"retention.ms": "86400000"})]
    assert wishing != Topic("orders", str)


@pytest.mark.parametrize(
    ("wishes", "why"),
    [
        ({"partitions": 0}, "partitions=0 is no number of partitions"),
        ({"partitions": "6"}, "partitions='6' is no number"),
        ({"partitions": True}, "partitions=True is no number"),
        ({"config": "retention.ms=1"}, "is no mapping"),
        ({"config": {"retention.ms": 86400000}}, "write 'retention.ms': '86400000'"),
    ],
)
def test_a_wish_that_cannot_be_meant_is_said_with_its_cure(wishes: dict[str, Any], why: str) -> None:
    with pytest.raises(WiringError, match=f"topic 'orders': .*{why}"):
        Topic("orders", bytes, **wishes)


def test_a_topic_is_a_value_that_cannot_be_changed() -> None:
    topic = Topic("orders", str, key=str.upper)

    with pytest.raises(dataclasses.FrozenInstanceError):
        topic.name = "others"  # type: ignore[misc]

    assert topic == Topic("orders", str, key=str.upper)
    assert topic.key is not None
    assert topic.key("a") == "A"
