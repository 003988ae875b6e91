from __future__ import annotations

import dataclasses

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


def test_a_topic_is_a_value_that_cannot_be_changed() -> None:
    topic = Topic("orders", str, key=str.upper)

    with pytest.raises(dataclasses.FrozenInstanceError):
        topic.name = "others"  # type: ignore[misc]

    assert topic == Topic("orders", str, key=str.upper)
    assert topic.key is not None
    assert topic.key("a") == "A"
