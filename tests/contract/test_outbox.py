"""What every outbox promises. An implementation subclasses it, with fixtures `outbox` and `writer`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest

from ottla.core.outbox import SHARDS, Census, StoredRecord, Wanted, stripe_of
from ottla.ports import Outbox, OutboxSession
from ottla.records import EncodedRecord, Headers
from tests.support.apps import until
from tests.support.outbox import ALL

EVERY_BYTE = bytes(range(256))
NO_HEADERS = Headers()


class Writer(ABC):
    """Stores records as transactions do."""

    @abstractmethod
    async def store(self, *records: EncodedRecord) -> None:
        """In one transaction that commits."""

    @abstractmethod
    async def store_and_roll_back(self, *records: EncodedRecord) -> None:
        """In one transaction that writes them all and is rolled back."""

    @abstractmethod
    def holding_open(self, *records: EncodedRecord) -> AbstractAsyncContextManager[None]:
        """In one transaction that has written them all when the block begins, and commits when it ends."""

    @abstractmethod
    def grow_old(self, seconds: int) -> None:
        """Make everything that is stored look older."""


def record(
    value: bytes | None = b"value",
    *,
    topic: str = "orders",
    key: bytes | None = b"key",
    headers: Headers = NO_HEADERS,
    partition: int | None = None,
) -> EncodedRecord:
    return EncodedRecord(topic, key, value, headers, partition)


def values(records: list[StoredRecord]) -> list[bytes | None]:
    return [each.value for each in records]


async def read(session: OutboxSession, wanted: Wanted = ALL) -> list[StoredRecord]:
    return list(await session.read(wanted))


def keys_of(shards: set[int], count: int) -> list[bytes]:
    """So many keys of orders that lie in `shards`."""
    every = (b"key-%d" % number for number in range(10_000))
    return [key for key in every if stripe_of("orders", key) % SHARDS in shards][:count]


async def until_free(session: OutboxSession) -> None:
    """Wait until `session` holds all shards: that one has ended is seen a moment later."""
    held: set[int] = set()

    async def holds_all() -> bool:
        held.update(await session.lock([shard for shard in ALL.shards if shard not in held]))
        return len(held) == SHARDS

    await until(holds_all, what="all shards are free", within_s=3)


class OutboxContract:
    @pytest.fixture
    async def session(self, outbox: Outbox) -> AsyncIterator[OutboxSession]:
        """The outbox for the one that leads all of it during the test."""
        async with outbox.relaying() as session:
            assert await session.lock(ALL.shards) == ALL.shards
            yield session

    @pytest.mark.parametrize(
        "sent",
        [
            record(None, key=None),
            record(b"", key=b""),
            record(None, key=b""),
            record(b"", key=None),
            record(EVERY_BYTE, key=EVERY_BYTE),
            record(b"\\x00", key=b"\\x00"),
            record(EVERY_BYTE * 8192, key=b"2 MiB"),
            record(partition=0),
            record(partition=2_147_483_647, key=None),
        ],
        ids=lambda sent: repr((sent.key, sent.value, sent.partition))[:40],
    )
    async def test_what_is_stored_is_read_byte_for_byte(
        self, session: OutboxSession, writer: Writer, sent: EncodedRecord
    ) -> None:
        await writer.store(sent)

        (stored,) = await read(session)

        assert EncodedRecord(*stored[1:]) == sent
        assert (type(stored.key), type(stored.value)) == (type(sent.key), type(sent.value))

    @pytest.mark.parametrize(
        "headers",
        [
            NO_HEADERS,
            Headers([("a", b"1"), ("b", b"2"), ("a", b"3"), ("a", b"1")]),
            Headers([("null", None), ("empty", b""), ("null", None)]),
            Headers([("binary", EVERY_BYTE), ("long", b"x" * 100_000)]),
            Headers([("", b"1"), ("größer 👍", b"2"), ("nul\x00nul", b"3"), ("a\nb\t\u2028", b"4")]),
            Headers([("'quoted' \"%s\" :x %(y)s", b"1"), ("\\u0041\\", b"2"), ('[["json", null]]', b"3")]),
        ],
        ids=["none", "duplicates", "null", "binary", "odd", "quoted"],
    )
    async def test_headers_keep_their_order_their_duplicates_and_their_bytes(
        self, session: OutboxSession, writer: Writer, headers: Headers
    ) -> None:
        await writer.store(record(headers=headers))

        (stored,) = await read(session)

        assert stored.headers == headers
        assert type(stored.headers) is Headers

    async def test_records_of_one_transaction_do_not_mix_their_parts(
        self, session: OutboxSession, writer: Writer
    ) -> None:
        sent = [
            record(None, key=b"a", topic="first", headers=Headers([("h", b"1")]), partition=3),
            record(b"2", key=None, topic="second"),
            record(b"", key=b"", topic="first", headers=Headers([("h", None)])),
            record(b"4", key=b"a", topic="second", partition=0),
        ]
        await writer.store(*sent)

        stored = await read(session)

        assert [EncodedRecord(*each[1:]) for each in stored] == sent

    async def test_a_transaction_that_sends_nothing_stores_nothing(
        self, session: OutboxSession, writer: Writer
    ) -> None:
        await writer.store()

        assert await read(session) == []

    async def test_a_transaction_that_is_rolled_back_leaves_nothing(
        self, outbox: Outbox, session: OutboxSession, writer: Writer
    ) -> None:
        await writer.store_and_roll_back(record(b"1"), record(b"2", key=None))

        assert await read(session) == []
        assert (await outbox.status()).backlog == 0

    async def test_an_open_transaction_is_not_seen_before_it_commits(
        self, outbox: Outbox, session: OutboxSession, writer: Writer
    ) -> None:
        async with writer.holding_open(record(b"open")):
            await writer.store(record(b"committed", key=b"another"))

            during = await read(session)
            status = await outbox.status()
        after = await read(session)

        assert values(during) == [b"committed"]
        assert status.backlog == 1
        assert sorted(values(after), key=str) == [b"committed", b"open"]

    async def test_ids_ascend_in_the_order_of_the_sends(self, session: OutboxSession, writer: Writer) -> None:
        sent = [record(b"%d" % n, key=None if n % 3 == 0 else b"%d" % (n * 7 % 5)) for n in range(60)]
        for begin in range(0, 60, 20):
            await writer.store(*sent[begin : begin + 20])

        stored = await read(session)

        assert values(stored) == [each.value for each in sent]
        assert [each.id for each in stored] == sorted({each.id for each in stored})

    async def test_no_more_records_than_wanted_are_read_the_lowest_first(
        self, session: OutboxSession, writer: Writer
    ) -> None:
        await writer.store(*(record(b"%d" % n) for n in range(5)))

        assert values(await read(session, ALL._replace(records=2))) == [b"0", b"1"]
        assert values(await read(session, ALL._replace(records=0))) == []

    @pytest.mark.parametrize(("room", "fit"), [(30, 3), (29, 2), (20, 2), (19, 1), (10, 1)])
    async def test_no_more_bytes_of_keys_and_values_than_wanted_are_read(
        self, session: OutboxSession, writer: Writer, room: int, fit: int
    ) -> None:
        headers = Headers([("not counted", b"x" * 100)])
        await writer.store(*(record(b"8 bytes.", key=b"k%d" % n, headers=headers) for n in range(3)))

        stored = await read(session, ALL._replace(bytes=room))

        assert [each.key for each in stored] == [b"k0", b"k1", b"k2"][:fit]

    @pytest.mark.parametrize("room", [0, 1, 99])
    async def test_a_row_that_is_larger_than_all_the_room_is_read_alone(
        self, session: OutboxSession, writer: Writer, room: int
    ) -> None:
        await writer.store(record(b"x" * 100), record(b"small"))

        assert values(await read(session, ALL._replace(bytes=room))) == [b"x" * 100]

    async def test_a_row_that_does_not_fit_beside_what_is_held_waits_and_lets_none_pass(
        self, session: OutboxSession, writer: Writer
    ) -> None:
        await writer.store(record(b"first"), record(b"x" * 100), record(b"small"))
        first = (await read(session))[0]

        beside = await read(session, ALL._replace(bytes=50, takes_any=False, but=[first.id]))
        together = await read(session, ALL._replace(bytes=50))

        assert values(beside) == []
        assert values(together) == [b"first"]

    async def test_a_row_without_key_and_value_takes_no_room(
        self, session: OutboxSession, writer: Writer
    ) -> None:
        await writer.store(record(None, key=None), record(None, key=None), record(b"x", key=None))

        assert values(await read(session, ALL._replace(bytes=0))) == [None, None]

    async def test_what_is_held_is_not_read_and_takes_none_of_the_places(
        self, session: OutboxSession, writer: Writer
    ) -> None:
        await writer.store(*(record(b"%d" % n) for n in range(6)))
        stored = await read(session)

        held = [stored[0].id, stored[3].id, stored[1].id]
        rest = await read(session, ALL._replace(records=2, but=held))

        assert values(rest) == [b"2", b"4"]

    async def test_what_is_wanted_again_is_read_first_though_it_is_excluded_and_finds_no_room(
        self, session: OutboxSession, writer: Writer
    ) -> None:
        await writer.store(*(record(b"%d" % n, key=b"k%d" % n) for n in range(5)))
        stored = await read(session)

        again = [stored[3].id, stored[1].id, stored[4].id + 1_000]
        found = await read(
            session,
            ALL._replace(records=1, again=again, but=[stored[1].id], stopped_keys=[("orders", b"k3")]),
        )
        none_else = await read(session, ALL._replace(records=0, bytes=0, takes_any=False, again=again))

        assert values(found) == [b"1", b"3", b"0"]
        assert values(none_else) == [b"1", b"3"]

    @pytest.mark.parametrize(
        "key", [b"key", b"", EVERY_BYTE, b"\x00", b"\\x6b6579", b'",{}', b"NULL", b"\xff\xfe", b" "]
    )
    async def test_a_stopped_key_is_not_read_and_every_other_is(
        self, session: OutboxSession, writer: Writer, key: bytes
    ) -> None:
        await writer.store(
            record(b"1", key=key),
            record(b"2", key=key + b"."),
            record(b"3", key=None),
            record(b"4", key=key, topic="payments"),
            record(b"5", key=key),
        )

        stored = await read(session, ALL._replace(stopped_keys=[("orders", key)]))

        assert values(stored) == [b"2", b"3", b"4"]

    async def test_stopped_keys_belong_to_their_topics(self, session: OutboxSession, writer: Writer) -> None:
        await writer.store(
            *(record(key=key, topic=topic) for topic in ("orders", "payments") for key in (b"a", b"b"))
        )

        stored = await read(session, ALL._replace(stopped_keys=[("orders", b"b"), ("payments", b"a")]))

        assert [(each.topic, each.key) for each in stored] == [("orders", b"a"), ("payments", b"b")]

    async def test_what_is_stopped_takes_none_of_the_places_and_no_room(
        self, session: OutboxSession, writer: Writer
    ) -> None:
        await writer.store(
            *(record(b"x" * 100, key=b"stopped") for _ in range(5)),
            *(record(b"x" * 100, topic="stopped") for _ in range(5)),
            record(b"1", key=b"a"),
            record(b"2", key=b"b"),
            record(b"3", key=b"c"),
        )

        stored = await read(
            session,
            ALL._replace(
                records=2, bytes=50, stopped_keys=[("orders", b"stopped")], stopped_topics=["stopped"]
            ),
        )

        assert values(stored) == [b"1", b"2"]

    async def test_nothing_of_a_stopped_topic_is_read(self, session: OutboxSession, writer: Writer) -> None:
        await writer.store(
            record(b"1", topic="orders"),
            record(b"2", topic="orders", key=None),
            record(b"3", topic="orders.v2"),
            record(b"4", topic="payments"),
            record(b"5", topic="mails"),
        )

        stored = await read(session, ALL._replace(stopped_topics=["orders", "mails"]))

        assert values(stored) == [b"3", b"4"]

    async def test_reading_changes_nothing_however_often(
        self, session: OutboxSession, writer: Writer
    ) -> None:
        await writer.store(record(b"1"), record(b"2"))

        # Often enough for a driver that prepares what it is asked again and again.
        reads = [values(await read(session)) for _ in range(12)]
        other = await read(session, ALL._replace(but=[2**40], stopped_keys=[("a", b"b")]))

        assert reads == [[b"1", b"2"]] * 12
        assert values(other) == [b"1", b"2"]

    async def test_deleting_removes_just_these(self, session: OutboxSession, writer: Writer) -> None:
        await writer.store(*(record(b"%d" % n) for n in range(4)))
        stored = await read(session)

        await session.delete([stored[0].id, stored[2].id])

        assert values(await read(session)) == [b"1", b"3"]

    async def test_deleting_twice_or_nothing_is_harmless(
        self, session: OutboxSession, writer: Writer
    ) -> None:
        await writer.store(record(b"1"), record(b"2"))
        stored = await read(session)

        await session.delete([stored[0].id])
        await session.delete([stored[0].id, stored[0].id])
        await session.delete([])

        assert values(await read(session)) == [b"2"]

    async def test_ids_are_not_used_again(self, session: OutboxSession, writer: Writer) -> None:
        await writer.store(record(b"1"))
        (first,) = await read(session)
        await session.delete([first.id])

        await writer.store(record(b"2"))

        (second,) = await read(session)
        assert second.id > first.id

    @pytest.mark.parametrize("shards", [{0}, {15}, {1, 4, 7}, set(range(8)), set(range(1, 16)), set[int]()])
    async def test_of_the_shards_that_are_wanted_the_lowest_rows_are_read(
        self, session: OutboxSession, writer: Writer, shards: set[int]
    ) -> None:
        await writer.store(*(record(b"%d" % n, key=b"k%d" % n) for n in range(100)))
        every = await read(session)

        some = await read(session, ALL._replace(shards=sorted(shards), records=5))
        rest = await read(
            session, ALL._replace(shards=sorted(shards), again=[every[0].id], but=[each.id for each in some])
        )

        expected = [each for each in every if each.shard in shards]
        assert some == expected[:5]
        assert rest == [every[0], *expected[5:]]

    async def test_stopped_keys_and_room_hold_for_some_shards_as_for_all(
        self, session: OutboxSession, writer: Writer
    ) -> None:
        a, b, c = keys_of({3, 9}, 3)
        (elsewhere,) = keys_of({4}, 1)
        await writer.store(*(record(b"x" * 90, key=key) for key in (elsewhere, a, b, c, a, b, c)))

        stored = await read(
            session, ALL._replace(shards=[3, 9], stopped_keys=[("orders", a)], bytes=200, takes_any=False)
        )

        assert [each.key for each in stored] == [b, c]

    async def test_a_shard_has_one_leader_and_the_next_once_it_is_unlocked(self, outbox: Outbox) -> None:
        async with outbox.relaying() as first, outbox.relaying() as second:
            mine = await first.lock([1, 2, 3])
            theirs = await second.lock([2, 3, 4])
            await first.unlock([1, 3])
            after = await second.lock([1, 2, 3])

        assert (mine, theirs, after) == ([1, 2, 3], [4], [1, 3])

    async def test_who_relays_and_which_shards_are_held_is_told(self, outbox: Outbox) -> None:
        async with outbox.relaying() as first:
            alone = await first.census()
            async with outbox.relaying() as second:
                await first.lock([0, 15])
                await second.lock([7])
                together = [await first.census(), await second.census()]
                await first.unlock([15])
                after = await second.census()

        assert alone == Census(1, frozenset())
        assert together == [Census(2, frozenset({0, 7, 15}))] * 2
        assert after == Census(2, frozenset({0, 7}))

    async def test_locking_nothing_is_harmless(self, session: OutboxSession) -> None:
        await session.unlock([])

        assert await session.lock([]) == []

    async def test_the_shards_of_one_that_ends_are_free(self, outbox: Outbox, writer: Writer) -> None:
        await writer.store(record(b"1"), record(b"2"))
        async with outbox.relaying() as second:
            async with outbox.relaying() as first:
                await first.lock(ALL.shards)
                stored = await read(first)
                await first.delete([stored[0].id])

            await until_free(second)

            assert values(await read(second)) == [b"2"]

    async def test_the_shards_of_one_that_fails_are_free(self, outbox: Outbox) -> None:
        async def fail() -> None:
            async with outbox.relaying() as first:
                await first.lock(ALL.shards)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()

        async with outbox.relaying() as second:
            await until_free(second)

    async def test_the_status_of_an_empty_outbox_is_zero(self, outbox: Outbox) -> None:
        assert await outbox.status() == (0, 0.0)

    async def test_the_status_tells_how_much_waits_and_for_how_long(
        self, outbox: Outbox, session: OutboxSession, writer: Writer
    ) -> None:
        await writer.store(record(b"1"), record(b"2"))
        writer.grow_old(3_600)
        await writer.store(record(b"3"))
        stored = await read(session)

        before = await outbox.status()
        await session.delete([stored[0].id, stored[1].id])
        after = await outbox.status()

        assert (before.backlog, after.backlog) == (3, 1)
        assert 3_600 <= before.oldest_s < 3_660
        assert 0 <= after.oldest_s < 60
