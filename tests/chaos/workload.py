"""What is sent, and what must become of it. Known to producers, services and checkers alike.

A record's `deed` tells its handler how to behave, so that the checkers know from the topic
alone how each record must end.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from examples.shop.contracts import OrderCreated
from ottla import Topic
from ottla.core.identity import EVENT_ID_HEADER

PARTITIONS = 6
ACCOUNTS = tuple(f"account-{number:02d}" for number in range(30))
BALANCE = 1_000_000
KEYS = 40
"""Of orders, which are skewed: the first of them are sent far more often than the last."""
STALE = "stale"
"""A topic whose records retention removes before they are read."""


class Transfer(BaseModel):
    """Money is to go from one account to another; keyed by the payer."""

    payer: str
    payee: str
    cents: int
    deed: str = ""
    takes_s: float = 0.0


class Credit(BaseModel):
    """The payer was debited; keyed by the payee. `token` is another for each call of the handler."""

    payee: str
    cents: int
    token: str


TRANSFERS = Topic("transfers", Transfer, key=lambda event: event.payer, partitions=PARTITIONS)
CREDITS = Topic("credits", Credit, key=lambda event: event.payee, partitions=PARTITIONS)


class Note(BaseModel):
    """As much of an order as `notes` reads."""

    order_id: str
    deed: str = ""
    takes_s: float = 0.0


NOTES = Topic("orders", Note)

DEEDS = ("", "flaky", "fail", "slow", "poison", "tombstone", "null-key", "nameless", "again")
_WEIGHTS = (900, 20, 8, 5, 8, 8, 12, 12, 27)
SLOWEST_S = 9.0


class Sent(NamedTuple):
    """A record before it is sent. `deed` is what kind of record it is."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    deed: str


def records(seed: int) -> Iterator[Sent]:
    """Orders and transfers by turns, without end; the same for the same seed."""
    chance = random.Random(seed)
    numbers: dict[str, int] = {}
    last: dict[str, list[Sent]] = {"orders": [], "transfers": []}
    while True:
        topic = "orders" if chance.random() < 0.55 else "transfers"
        (deed,) = chance.choices(DEEDS, _WEIGHTS)
        if deed == "again":
            if last[topic]:
                yield chance.choice(last[topic])._replace(deed="again")
            continue
        sent = _order(chance, numbers, deed) if topic == "orders" else _transfer(chance, numbers, deed)
        if deed != "nameless":  # without an id of its own it would be another event
            last[topic] = [*last[topic][-200:], sent]
        yield sent


def _order(chance: random.Random, numbers: dict[str, int], deed: str) -> Sent:
    key_number = min(int(chance.paretovariate(0.7)), KEYS) - 1
    key = f"customer-{key_number:02d}"
    number = numbers[key] = numbers.get(key, -1) + 1
    event = {
        "order_id": f"{key}.{number:06d}",
        "customer_id": key,
        "placed_on": "2026-01-31",
        "quantity": 1,
        "amount_usd": f"{chance.randrange(1, 10_000) / 100:.2f}",
    }
    return _sent(chance, "orders", event, deed, key=key, key_number=key_number, number=number)


def _transfer(chance: random.Random, numbers: dict[str, int], deed: str) -> Sent:
    payer, payee = chance.sample(range(len(ACCOUNTS)), 2)
    key = ACCOUNTS[payer]
    number = numbers[key] = numbers.get(key, -1) + 1
    event = {"payer": key, "payee": ACCOUNTS[payee], "cents": chance.randrange(1, 500), "number": number}
    return _sent(chance, "transfers", event, deed, key=key, key_number=payer, number=number)


def _sent(
    chance: random.Random,
    topic: str,
    event: dict[str, Any],
    deed: str,
    *,
    key: str,
    key_number: int,
    number: int,
) -> Sent:
    event["deed"] = deed
    if deed == "slow":
        event["takes_s"] = round(chance.uniform(3.0, SLOWEST_S), 1)
    value: bytes | None = json.dumps(event).encode()
    if deed == "poison":
        value = b"\xff\xfe not JSON " + key.encode()
    elif deed == "tombstone":
        value = None
    event_id = f"{topic}:{key}.{number}"
    headers: list[tuple[str, bytes]] = [("trace", chance.randbytes(8)), ("trace", b"")]
    if deed != "nameless":
        headers.append((EVENT_ID_HEADER, event_id.encode()))
    partition = key_number % PARTITIONS
    return Sent(topic, partition, None if deed == "null-key" else key.encode(), value, tuple(headers), deed)


def is_letter(group: str, topic: str, value: bytes | None) -> bool:
    """Whether a record must end among the dead letters of `group`, rather than have its effect."""
    if group == "notes" and topic == "orders" and value is None:
        return False
    if value is None:
        return True
    models: dict[str, type[BaseModel]] = {"orders": OrderCreated if group == "billing" else Note}
    model = models.get(topic) or (Transfer if topic.startswith("transfers") else Credit)
    try:
        event = model.model_validate_json(value)
    except ValidationError:
        return True
    return getattr(event, "deed", "") == "fail"
