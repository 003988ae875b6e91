"""A second relay joins while the broker acknowledges nothing: shards of which records are out are not let go.

Let go earlier, its next leader would send those records again, or later ones before them.
"""

from __future__ import annotations

import asyncio
import logging

import pytest

from ottla.core.outbox import SHARDS, stripe_of
from ottla.postgres.database import Database, DatabaseSettings
from ottla.postgres.outbox import PostgresOutbox
from ottla.postgres.transactions import PostgresTransactions
from ottla.records import EncodedRecord, Headers, SendResult
from ottla.runtime.lifecycle import Health
from ottla.runtime.relay import Relay
from tests.support.apps import until
from tests.support.outbox import ALL


class SilentProducer:
    """Sends, and hears of it once it is told to."""

    def __init__(self) -> None:
        self.keys: list[bytes | None] = []
        self.is_answered = asyncio.Event()

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> SendResult:
        self.keys.append(key)
        await self.is_answered.wait()
        return SendResult(topic, 0, 0, 0)


def a_key_of_each_shard(name: str) -> list[bytes]:
    found: dict[int, bytes] = {}
    for number in range(1_000):
        key = f"{name}-{number}".encode()
        found.setdefault(stripe_of("orders", key) % SHARDS, key)
    return [found[shard] for shard in ALL.shards]


async def test_a_shard_is_locked_until_what_is_out_of_it_is_acknowledged_and_deleted(
    migrated: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ottla.outbox")
    database = Database(migrated, DatabaseSettings(connections=3, relay=True))
    await database.open()
    outbox, producer, crashes = PostgresOutbox(database), SilentProducer(), list[BaseException]()
    relay = Relay("shop outbox", outbox, producer, health=Health(), on_crash=crashes.append)
    transactions = PostgresTransactions(database, outbox)

    async def store(name: str) -> None:
        async with transactions.begin() as tx:
            for key in a_key_of_each_shard(name):
                tx.outgoing.records.append(EncodedRecord("orders", key, b"", Headers()))

    await store("first")
    relay.start()
    await until(lambda: len(producer.keys) == SHARDS, what="all are out")
    async with outbox.relaying() as second:
        await until(lambda: "leads 8 of 16 shards" in caplog.text, what="half is given up")
        for turn in (1, 2):  # what is sent in the second turn is sent after the first has ended
            await store(f"turn-{turn}")
            await until(lambda: len(producer.keys) == SHARDS + 8 * turn, what="half is read on")  # noqa: B023
        while_out = await second.lock(ALL.shards)

        producer.is_answered.set()
        await until(lambda: relay.figures().shards == 8, what="half is handed over")
        taken = await second.lock(ALL.shards)
        stored = await second.read(ALL._replace(shards=taken))
    await relay.stop(5)
    await database.close()

    assert while_out == []
    assert len(taken) == 8
    assert sorted(record.shard for record in stored) == sorted([*taken, *taken])
    assert not {record.key for record in stored} & {*producer.keys}
    assert crashes == []
