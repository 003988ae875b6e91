"""What every broker that an app can run on promises it, shown through apps.

An implementation subclasses `BrokerContract` and gives the fixture `harness`. What it cannot
do stands in `GAPS`, and nowhere else: the tests that need it are skipped with that reason.
"""

from __future__ import annotations

import asyncio
import enum
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import NamedTuple, Protocol

import pytest

from ottla import App, DeadLetter, Headers, InPlace, Never, Offsets, Record, Retry, Topic
from ottla.core.topology import Naming, dead_letter_topic
from ottla.testing.murmur2 import partition_of
from tests.support.pages import ROOT

QUICK = InPlace(attempts=3, first_s=0.01, max_s=0.01)


class Ability(enum.Enum):
    """What a broker may lack, and what that means."""

    TIMESTAMPS = "it keeps the timestamps that producers give"
    RETENTION = "it removes old records, and consumers are told"


GAPS: dict[str, frozenset[Ability]] = {
    "in-memory": frozenset({Ability.RETENTION}),
    "embedded": frozenset({Ability.RETENTION, Ability.TIMESTAMPS}),
    "kafka": frozenset(),
}
"""What each broker lacks; docs/howto/testing.md tells it to users."""


class Written(NamedTuple):
    """A record as it lies in its topic."""

    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Harness(Protocol):
    """What the contract needs of a broker; names are the test's own, so brokers may be shared."""

    lacks: frozenset[Ability]

    def new_name(self) -> str:
        """For a topic or a group."""
        ...

    def app(self, name: str, **environment: str) -> App:
        """An app for this broker; settings as environment variables."""
        ...

    async def create_topic(self, name: str, partitions: int) -> None: ...

    async def produce(
        self,
        topic: str,
        records: Iterable[tuple[str | bytes | None, str | bytes | None]],
        *,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        timestamp_ms: int | None = None,
    ) -> None:
        """Write (key, value) pairs as some other service would."""
        ...

    async def read(self, topic: str) -> list[Written]:
        """All records, per partition in order."""
        ...

    async def committed(self, group: str, topic: str) -> Mapping[int, int]: ...

    async def remove_before(self, topic: str, partition: int, offset: int) -> None:
        """What retention does. Only with `Ability.RETENTION`."""
        ...

    def running(self, *apps: App) -> AbstractAsyncContextManager[None]:
        """The apps between start and stop, joined when the block begins."""
        ...

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Let everything go on until `condition` holds; fails with `what`."""
        ...

    async def until_committed(self, group: str, topic: str, count: int) -> None:
        """Until the committed offsets of all partitions add up to `count` or more."""
        ...


class Log:
    """What handlers saw."""

    def __init__(self) -> None:
        self.values: list[str] = []
        self.by_key: defaultdict[bytes | None, list[str]] = defaultdict(list)

    def saw(self, record: Record) -> None:
        value = (record.value or b"").decode()
        self.values.append(value)
        self.by_key[record.key].append(value)


def dead_letters_of(topic: Topic[str], group: str) -> str:
    return dead_letter_topic(topic.name, group, Naming.PER_GROUP)


def numbered(count: int, keys: int) -> list[tuple[str, str]]:
    """(key, value) pairs: the values of each key ascend."""
    return [(f"key-{number % keys}", f"{number:04d}") for number in range(count)]


def needs(harness: Harness, ability: Ability) -> None:
    if ability in harness.lacks:
        pytest.skip(f"this broker does not do that: {ability.value}")


class BrokerContract:
    @pytest.fixture
    def log(self) -> Log:
        return Log()

    @pytest.fixture
    async def topic(self, harness: Harness) -> Topic[str]:
        """A topic of the test's own, with three partitions."""
        name = harness.new_name()
        await harness.create_topic(name, 3)
        return Topic(name, str)

    @pytest.fixture
    async def group(self, harness: Harness, topic: Topic[str]) -> str:
        """A group of the test's own, whose dead-letter topic is there."""
        name = harness.new_name()
        await harness.create_topic(dead_letters_of(topic, name), 3)
        return name

    async def test_each_key_is_handled_in_order_while_64_are_in_flight(
        self, harness: Harness, topic: Topic[str], group: str, log: Log
    ) -> None:
        app = harness.app(group)
        chance, in_flight, most = random.Random(1), 0, 0

        @app.listener(topic, concurrency=64)
        async def handle(value: str, record: Record) -> None:
            nonlocal in_flight, most
            in_flight += 1
            most = max(most, in_flight)
            for _ in range(chance.randrange(5)):
                await asyncio.sleep(0)
            log.saw(record)
            in_flight -= 1

        await harness.produce(topic.name, numbered(600, keys=100))
        async with harness.running(app):
            await harness.until_committed(group, topic.name, 600)

        assert sorted(log.values) == [value for _, value in numbered(600, keys=100)]
        assert [key for key, values in log.by_key.items() if values != sorted(values)] == []
        assert 32 < most <= 64

    async def test_a_failing_record_waits_in_place_with_its_key_while_others_pass(
        self, harness: Harness, topic: Topic[str], group: str, log: Log
    ) -> None:
        app = harness.app(group)
        attempts: list[int] = []

        @app.listener(topic, concurrency=2, retry=QUICK)
        async def handle(value: str, record: Record) -> None:
            if value == "0000" and record.attempt < 3:
                attempts.append(record.attempt)
                raise ValueError(value)
            log.saw(record)

        await harness.produce(topic.name, numbered(40, keys=4))
        async with harness.running(app):
            await harness.until_committed(group, topic.name, 40)

        assert attempts == [1, 2]
        assert len(log.values) == 40
        assert [key for key, values in log.by_key.items() if values != sorted(values)] == []
        assert await harness.read(dead_letters_of(topic, group)) == []

    async def test_a_commit_never_passes_an_unfinished_record(
        self, harness: Harness, topic: Topic[str], group: str, log: Log
    ) -> None:
        app = harness.app(group)

        @app.listener(topic)
        async def handle(value: str, record: Record) -> None:
            if value == "0003":
                raise Retry(after=timedelta(hours=10))
            log.saw(record)

        await harness.produce(topic.name, numbered(20, keys=20), partition=1)
        async with harness.running(app):
            await harness.until(lambda: len(log.values) == 19, "all others are handled")
            await harness.until_committed(group, topic.name, 3)

        assert (await harness.committed(group, topic.name))[1] == 3

    async def test_what_is_given_up_is_dead_lettered_byte_for_byte_with_springs_headers(
        self, harness: Harness, topic: Topic[str], group: str
    ) -> None:
        app = harness.app(group)
        own = [("trace", b"\x00\xff"), ("trace", b"twice"), ("null", None), ("empty", b"")]

        @app.listener(topic, retry=QUICK)
        async def handle(value: str) -> None:
            raise DeadLetter("no such card") if value == "told" else ValueError("no such customer")

        records = [(b"\xff\x00key", b"exhausted"), (b"k", b"\xff\xfe no UTF-8"), (None, b"told")]
        await harness.produce(topic.name, records, partition=2, headers=own)
        async with harness.running(app):
            await harness.until_committed(group, topic.name, 3)
        letters = sorted(await harness.read(dead_letters_of(topic, group)), key=offset_of)

        assert [(letter.key, letter.value) for letter in letters] == records
        assert {letter.partition for letter in letters} == {2}
        assert [list(letter.headers)[:4] for letter in letters] == [own] * 3
        assert [letter.headers.text("ottla-dead-letter-reason") for letter in letters] == [
            "attempts exhausted",
            "undecodable",
            "the handler gave it up",
        ]
        first = letters[0].headers
        assert first.text("kafka_dlt-original-topic") == topic.name
        assert first.last("kafka_dlt-original-partition") == b"\0\0\0\2"
        assert first.text("kafka_dlt-original-consumer-group") == group
        assert first.text("kafka_dlt-exception-fqcn") == "builtins.ValueError"
        assert first.text("kafka_dlt-exception-message") == "no such customer"
        assert "in handle" in (first.text("kafka_dlt-exception-stacktrace") or "")

    async def test_a_dead_letter_tells_the_timestamp_of_its_record(
        self, harness: Harness, topic: Topic[str], group: str
    ) -> None:
        needs(harness, Ability.TIMESTAMPS)
        app = harness.app(group)
        a_while_ago_ms = time.time_ns() // 1_000_000 - 60_000

        @app.listener(topic, retry=Never())
        async def handle(value: str) -> None:
            raise ValueError(value)

        await harness.produce(topic.name, [("k", "v")], timestamp_ms=a_while_ago_ms)
        async with harness.running(app):
            await harness.until_committed(group, topic.name, 1)
        (letter,) = await harness.read(dead_letters_of(topic, group))

        assert letter.headers.last("kafka_dlt-original-timestamp") == a_while_ago_ms.to_bytes(8, "big")
        assert letter.headers.text("kafka_dlt-original-timestamp-type") == "CreateTime"

    async def test_what_a_member_leaves_unfinished_is_redelivered_to_another(
        self, harness: Harness, topic: Topic[str], group: str, log: Log
    ) -> None:
        stuck = harness.app(group, KAFKA_DRAIN_S="0.5")
        next_one = harness.app(group)
        begun: list[str] = []

        @stuck.listener(topic)
        async def never_end(value: str, record: Record) -> None:
            begun.append(value)
            if value in {"0002", "0005"}:
                await asyncio.Event().wait()

        @next_one.listener(topic)
        async def handle(value: str, record: Record) -> None:
            log.saw(record)

        await harness.produce(topic.name, numbered(10, keys=10), partition=0)
        async with harness.running(stuck):
            await harness.until(lambda: len(begun) == 10, "every handler has begun")
        left_at = await harness.committed(group, topic.name)
        async with harness.running(next_one):
            await harness.until_committed(group, topic.name, 10)

        assert left_at[0] == 2
        assert sorted(log.values) == [value for _, value in numbered(10, keys=10)[2:]]

    async def test_two_groups_get_every_record_each(
        self, harness: Harness, topic: Topic[str], group: str, log: Log
    ) -> None:
        other_group, other_log = harness.new_name(), Log()
        await harness.create_topic(dead_letters_of(topic, other_group), 1)
        app, other = harness.app(group), harness.app(other_group)

        @app.listener(topic)
        async def handle(value: str, record: Record) -> None:
            log.saw(record)

        @other.listener(topic, retry=Never())
        async def handle_too(value: str, record: Record) -> None:
            other_log.saw(record)
            if value == "0007":
                raise ValueError(value)

        async with harness.running(app, other):
            await harness.produce(topic.name, numbered(30, keys=5))
            await harness.until_committed(group, topic.name, 30)
            await harness.until_committed(other_group, topic.name, 30)

        assert sorted(log.values) == sorted(other_log.values) == [f"{n:04d}" for n in range(30)]
        assert await harness.read(dead_letters_of(topic, group)) == []
        assert len(await harness.read(dead_letters_of(topic, other_group))) == 1

    async def test_two_members_share_partitions_and_coming_and_going_doubles_nothing_committed(
        self, harness: Harness, topic: Topic[str], group: str
    ) -> None:
        first, second = harness.app(group), harness.app(group)
        logs = {first: Log(), second: Log()}

        def listen(app: App) -> None:
            @app.listener(topic)
            async def handle(value: str, record: Record) -> None:
                logs[app].saw(record)

        listen(first)
        listen(second)
        sent = numbered(90, keys=30)
        async with harness.running(first):
            await harness.produce(topic.name, sent[:30])
            await harness.until_committed(group, topic.name, 30)
            async with harness.running(second):
                await harness.until(lambda: 0 < len(second.assigned()) < 3, "the second has a share")
                await harness.until(lambda: len(first.assigned() + second.assigned()) == 3, "all is assigned")
                shares = set(first.assigned()), set(second.assigned())
                await harness.produce(topic.name, sent[30:60])
                await harness.until_committed(group, topic.name, 60)
            await harness.until(lambda: len(first.assigned()) == 3, "the first has all again")
            await harness.produce(topic.name, sent[60:])
            await harness.until_committed(group, topic.name, 90)

        assert shares[0].isdisjoint(shares[1])
        assert logs[second].values
        assert Counter(logs[first].values + logs[second].values) == Counter(value for _, value in sent)

    async def test_tombstones_and_null_keys_arrive_as_they_are(
        self, harness: Harness, topic: Topic[str], group: str
    ) -> None:
        app = harness.app(group)
        seen: list[tuple[bytes | None, bytes | None, str | None]] = []

        @app.listener(topic)
        async def handle(value: str | None, record: Record) -> None:
            seen.append((record.key, record.value, value))

        await harness.produce(topic.name, [("k", None), (None, "v"), (None, None), ("", "")], partition=0)
        async with harness.running(app):
            await harness.until_committed(group, topic.name, 4)

        assert sorted(seen, key=repr) == sorted(
            [(b"k", None, None), (None, b"v", "v"), (None, None, None), (b"", b"", "")], key=repr
        )

    async def test_a_key_lies_in_the_partition_where_java_puts_it(self, harness: Harness) -> None:
        topic, app = harness.new_name(), harness.app(harness.new_name())
        await harness.create_topic(topic, 7)
        keys = ["", "a", "order-1", "grün", *(f"customer-{number}" for number in range(50))]

        async with harness.running(app):
            results = await asyncio.gather(*(app.template.send(topic, "v", key=key) for key in keys))
        written = await harness.read(topic)

        expected = [partition_of(key.encode(), 7) for key in keys]
        assert [result.partition for result in results] == expected
        assert {record.key: record.partition for record in written} == {
            key.encode(): partition for key, partition in zip(keys, expected, strict=True)
        }

    async def test_a_send_tells_where_the_record_stands(self, harness: Harness, topic: Topic[str]) -> None:
        app = harness.app(harness.new_name())

        async with harness.running(app):
            results = [
                await app.template.send(topic, value, partition=1, headers={"trace": b"1"}, event_id=value)
                for value in ("a", "b")
            ]
        written = await harness.read(topic.name)

        assert [(r.topic, r.partition, r.offset) for r in results] == [(topic.name, 1, 0), (topic.name, 1, 1)]
        assert [(record.partition, record.value) for record in written] == [(1, b"a"), (1, b"b")]
        assert written[1].headers == Headers((("trace", b"1"), ("ottla-event-id", b"b")))

    async def test_who_starts_again_goes_on_behind_what_was_committed(
        self, harness: Harness, topic: Topic[str], group: str, log: Log
    ) -> None:
        app = harness.app(group)

        @app.listener(topic)
        async def handle(value: str, record: Record) -> None:
            log.saw(record)

        sent = numbered(40, keys=10)
        await harness.produce(topic.name, sent[:20])
        async with harness.running(app):
            await harness.until_committed(group, topic.name, 20)
        await harness.produce(topic.name, sent[20:])
        async with harness.running(app):
            await harness.until_committed(group, topic.name, 40)

        assert Counter(log.values) == Counter(value for _, value in sent)

    async def test_a_new_group_that_starts_at_the_latest_gets_what_comes_from_then_on(
        self, harness: Harness, topic: Topic[str], group: str, log: Log
    ) -> None:
        app = harness.app(group)

        @app.listener(topic, offsets=Offsets(start="latest"))
        async def handle(value: str, record: Record) -> None:
            log.saw(record)

        await harness.produce(topic.name, [("k", "before")] * 3, partition=0)
        async with harness.running(app):
            await harness.until(lambda: len(app.assigned()) == 3, "all is assigned")
            await harness.until_committed(group, topic.name, 3)
            await harness.produce(topic.name, [("k", "since")], partition=0)
            await harness.until_committed(group, topic.name, 4)
        await harness.produce(topic.name, [("k", "while it was away")], partition=0)
        async with harness.running(app):
            await harness.until_committed(group, topic.name, 5)

        assert log.values == ["since", "while it was away"]

    async def test_records_that_retention_removed_stop_their_partition_and_are_said(
        self, harness: Harness, topic: Topic[str], group: str, log: Log
    ) -> None:
        needs(harness, Ability.RETENTION)
        app = harness.app(group)

        @app.listener(topic)
        async def handle(value: str, record: Record) -> None:
            log.saw(record)

        await harness.produce(topic.name, [("k", "first")], partition=0)
        async with harness.running(app):
            await harness.until_committed(group, topic.name, 1)
        await harness.produce(topic.name, [("k", "gone"), ("k", "there")], partition=0)
        await harness.remove_before(topic.name, 0, 2)
        async with harness.running(app):
            await harness.until(lambda: bool(app.unready()), "the app says so")
            told = app.unready()

        assert log.values == ["first"]
        assert "records 1 to 1 are gone" in told[f"{topic.name}-0"]


def test_the_page_for_authors_tells_what_each_broker_lacks() -> None:
    page = (ROOT / "docs" / "howto" / "testing.md").read_text()

    told = {
        f"| {ability.value} | "
        + " | ".join(
            "no" if ability in GAPS[broker] else "yes" for broker in ("in-memory", "embedded", "kafka")
        )
        + " |"
        for ability in Ability
    }

    assert [row for row in told if row not in page] == []


def offset_of(letter: Written) -> int:
    return int.from_bytes(letter.headers.last("kafka_dlt-original-offset") or b"", "big")
