"""The records of a run are the seed's, and how each must end is known from its bytes alone."""

from __future__ import annotations

import itertools
import json
from collections import Counter

import pytest

from tests.chaos.workload import DEEDS, PARTITIONS, Sent, is_letter, records


def taken(seed: int, count: int = 3_000) -> list[Sent]:
    return list(itertools.islice(records(seed), count))


def test_the_same_seed_sends_the_same_records() -> None:
    assert taken(5) == taken(5)
    assert taken(5) != taken(6)


def test_every_deed_and_every_partition_comes() -> None:
    sent = taken(1)

    assert {record.deed for record in sent} == set(DEEDS)
    assert {(record.topic, record.partition) for record in sent} == set(
        itertools.product(("orders", "transfers"), range(PARTITIONS))
    )


def test_ordinary_records_are_what_the_services_read() -> None:
    ordinary = [record for record in taken(2) if record.deed == ""]
    services = {"orders": ("billing", "notes"), "transfers": ("bank",)}

    letters = [r for r in ordinary for service in services[r.topic] if is_letter(service, r.topic, r.value)]

    assert len(ordinary) > 1_000
    assert letters == []


def test_a_key_lies_in_one_partition() -> None:
    partitions = {(r.topic, r.key, r.partition) for r in taken(3) if r.key is not None}

    assert max(Counter((topic, key) for topic, key, _ in partitions).values()) == 1


def test_only_what_is_sent_again_has_an_event_id_for_the_second_time() -> None:
    ids = [
        dict(record.headers)["ottla-event-id"]
        for record in taken(4)
        if record.deed not in {"again", "nameless"}
    ]

    assert max(Counter(ids).values()) == 1


@pytest.mark.parametrize(
    ("group", "topic", "value", "must_be_letter"),
    [
        ("billing", "orders", None, True),
        ("notes", "orders", None, False),
        ("bank", "transfers", None, True),
        ("billing", "orders", b"\xff\xfe not JSON", True),
        ("notes", "orders", b"\xff\xfe not JSON", True),
        ("notes", "orders", json.dumps({"order_id": "a", "deed": "fail"}).encode(), True),
        ("notes", "orders", json.dumps({"order_id": "a", "deed": "flaky"}).encode(), False),
        ("bank", "transfers", json.dumps({"payer": "a", "payee": "b", "cents": 1}).encode(), False),
        ("bank", "credits", json.dumps({"payee": "b", "cents": 1, "token": "t"}).encode(), False),
    ],
)
def test_how_a_record_must_end(group: str, topic: str, value: bytes | None, *, must_be_letter: bool) -> None:
    assert is_letter(group, topic, value) is must_be_letter
