"""What becomes of records that fail, on every broker: retry topics, replays, the guard, dead letters.

In a class of its own because `test_broker.py` tells what a broker promises, and this what Ottla
makes of it.
"""

from __future__ import annotations

from ottla import DeadLetterTopic, Guard, Headers, Never, Record, RetryTopics, Topic
from ottla.core.topology import replay_topic
from ottla.errors import Undecodable
from tests.contract.test_broker import Harness, Log, dead_letters_of

TWICE = RetryTopics(attempts=3, first_s=0.1, factor=2)
"""By way of `-retry-100` and `-retry-200`."""
STAGES = ("-retry-100", "-retry-200")


async def with_topics(harness: Harness, topic: Topic[str], group: str, *suffixes: str) -> None:
    for suffix in suffixes:
        await harness.create_topic(f"{topic.name}-{group}{suffix}", 3)


class DetourContract:
    async def test_a_failing_record_passes_through_its_retry_topics_and_the_others_of_its_key_pass_it(
        self, harness: Harness, topic: Topic[str], group: str
    ) -> None:
        app, seen = harness.app(group), list[tuple[str, int, str]]()
        await with_topics(harness, topic, group, *STAGES)

        @app.listener(topic, retry=TWICE)
        async def handle(value: str, record: Record) -> None:
            seen.append((value, record.attempt, record.topic.removeprefix(topic.name)))
            if value == "fails":
                raise ValueError(value)

        await harness.produce(
            topic.name, [("k", "fails"), ("k", "passes")], partition=2, headers=[("own", b"1")]
        )
        async with harness.running(app):
            await harness.until_committed(f"{group}-retry-200", f"{topic.name}-{group}-retry-200", 1)
        (letter,) = await harness.read(dead_letters_of(topic, group))

        assert seen == [
            ("fails", 1, ""),
            ("passes", 1, ""),
            ("fails", 2, f"-{group}-retry-100"),
            ("fails", 3, f"-{group}-retry-200"),
        ]
        assert (letter.partition, letter.key, letter.value) == (2, b"k", b"fails")
        headers = letter.headers
        assert headers[0] == ("own", b"1")
        assert headers.text("kafka_original-topic") == topic.name
        assert headers.last("kafka_original-partition") == b"\0\0\0\2"
        assert headers.text("kafka_dlt-original-consumer-group") == group
        assert headers.text("kafka_exception-fqcn") == "builtins.ValueError"
        attempts = [value for name, value in headers if name == "retry_topic-attempts"]
        assert attempts == [b"\0\0\0\2", b"\0\0\0\3", b"\0\0\0\4"]

    async def test_what_one_group_retries_reaches_no_other(
        self, harness: Harness, topic: Topic[str], group: str, log: Log
    ) -> None:
        failing, healthy = harness.app(group), harness.app(f"{group}-healthy")
        await with_topics(harness, topic, group, *STAGES)
        await with_topics(harness, topic, f"{group}-healthy", "-dlt")
        attempts: list[int] = []

        @failing.listener(topic, retry=TWICE)
        async def fail(value: str, record: Record) -> None:
            attempts.append(record.attempt)
            if record.attempt < 3:
                raise ValueError(value)

        @healthy.listener(topic)
        async def handle(value: str, record: Record) -> None:
            log.saw(record)

        await harness.produce(topic.name, [(f"k-{n}", f"{n}") for n in range(10)])
        async with harness.running(failing, healthy):
            await harness.until(lambda: attempts.count(3) == 10, "all succeed at last")
            await harness.until_committed(f"{group}-healthy", topic.name, 10)

        assert sorted(attempts) == [1] * 10 + [2] * 10 + [3] * 10
        assert sorted(log.values) == [f"{n}" for n in range(10)]

    async def test_a_record_that_another_group_put_on_a_shared_retry_topic_is_skipped(
        self, harness: Harness, topic: Topic[str], group: str
    ) -> None:
        app, seen = harness.app(group, KAFKA_NAMING="spring"), list[tuple[str, int]]()
        for suffix in (*STAGES, "-dlt"):
            await harness.create_topic(f"{topic.name}{suffix}", 3)

        @app.listener(topic, retry=TWICE)
        async def handle(value: str, record: Record) -> None:
            seen.append((value, record.attempt))

        def of(owner: str) -> list[tuple[str, bytes | None]]:
            return [
                ("kafka_dlt-original-consumer-group", owner.encode()),
                ("retry_topic-attempts", b"\0\0\0\2"),
            ]

        shared = f"{topic.name}-retry-100"
        await harness.produce(shared, [("k", "theirs")], partition=0, headers=of("somebody-else"))
        await harness.produce(shared, [("k", "ours")], partition=0, headers=of(group))
        async with harness.running(app):
            await harness.until_committed(f"{group}-retry-100", shared, 2)

        assert seen == [("ours", 2)]

    async def test_a_replay_is_handled_as_the_record_that_it_was(
        self, harness: Harness, topic: Topic[str], group: str
    ) -> None:
        app, is_mended = harness.app(group), False
        seen: list[tuple[int, str]] = []

        @app.listener(topic, retry=Never())
        async def handle(value: str, record: Record) -> None:
            seen.append((record.attempt, record.event_id))
            if not is_mended:
                raise ValueError(value)

        await harness.produce(topic.name, [("k", "v")])
        async with harness.running(app):
            await harness.until_committed(group, topic.name, 1)
        is_mended = True
        (letter,) = await harness.read(dead_letters_of(topic, group))
        replays = replay_topic(topic.name, group)
        await harness.create_topic(replays, 3)
        await harness.produce(replays, [(letter.key, letter.value)], headers=replayed(letter.headers))
        async with harness.running(app):
            await harness.until_committed(f"{group}-replay", replays, 1)

        assert seen[0] == seen[1]
        assert await harness.read(dead_letters_of(topic, group)) == [letter]

    async def test_a_replay_that_fails_again_is_a_dead_letter_of_its_first_topic(
        self, harness: Harness, topic: Topic[str], group: str
    ) -> None:
        app = harness.app(group)

        @app.listener(topic, retry=Never())
        async def handle(value: str) -> None:
            raise ValueError(value)

        await harness.produce(topic.name, [("k", "v")])
        async with harness.running(app):
            await harness.until_committed(group, topic.name, 1)
        (letter,) = await harness.read(dead_letters_of(topic, group))
        replays = replay_topic(topic.name, group)
        await harness.create_topic(replays, 3)
        await harness.produce(replays, [(letter.key, letter.value)], headers=replayed(letter.headers))
        async with harness.running(app):
            await harness.until_committed(f"{group}-replay", replays, 1)
        letters = await harness.read(dead_letters_of(topic, group))

        assert len(letters) == 2
        for name in ("topic", "partition", "offset", "timestamp", "consumer-group"):
            assert len({letter.headers.last(f"kafka_dlt-original-{name}") for letter in letters}) == 1

    async def test_dead_letters_have_a_handler_of_their_own(
        self, harness: Harness, topic: Topic[str], group: str
    ) -> None:
        app, letters = harness.app(group), list[tuple[bytes, str]]()

        @app.listener(topic, retry=Never())
        async def handle(value: str) -> None:
            raise ValueError(value)

        @app.dlt_handler(topic)
        async def look_at(record: Record) -> None:
            if record.attempt == 1:
                raise OSError("try again")
            letters.append((record.value or b"", record.headers.text("kafka_dlt-exception-message") or ""))

        await harness.produce(topic.name, [("k", "bad"), ("k", b"\xff")])
        async with harness.running(app):
            await harness.until_committed(f"{group}-dlt", dead_letters_of(topic, group), 2)

        assert min(letters) == (b"bad", "bad")
        assert {value for value, _ in letters} == {b"bad", b"\xff"}

    async def test_an_exception_may_have_a_dead_letter_topic_of_its_own(
        self, harness: Harness, topic: Topic[str], group: str
    ) -> None:
        app = harness.app(group)
        await with_topics(harness, topic, group, "-unreadable-dlt")
        routed = DeadLetterTopic(routes={Undecodable: "-unreadable"})

        @app.listener(topic, retry=Never(), dead_letter=routed)
        async def handle(value: str) -> None:
            raise ValueError(value)

        await harness.produce(topic.name, [("k", "bad"), ("k", b"\xff")])
        async with harness.running(app):
            await harness.until_committed(group, topic.name, 2)

        assert [letter.value for letter in await harness.read(dead_letters_of(topic, group))] == [b"bad"]
        (unreadable,) = await harness.read(f"{topic.name}-{group}-unreadable-dlt")
        assert unreadable.value == b"\xff"

    async def test_a_run_of_failures_ends_at_the_bound_and_a_success_lifts_it(
        self, harness: Harness, topic: Topic[str], group: str
    ) -> None:
        app = harness.app(group)
        tried: set[str] = set()
        is_mended = False

        @app.listener(topic, concurrency=2, retry=Never(), dead_letter=DeadLetterTopic(guard=Guard(run=5)))
        async def handle(value: str) -> None:
            tried.add(value)
            if not is_mended:
                raise ValueError(value)

        await harness.produce(topic.name, [(f"k-{n}", f"{n:02d}") for n in range(20)])
        async with harness.running(app):
            guard = f"{group}/{topic.name} guard"
            await harness.until(lambda: guard in app.unready(), "the guard has tripped")
            at_once = len(tried)
            await harness.until(lambda: len(tried) > at_once, "another key is tried as a probe")
            before = await harness.read(dead_letters_of(topic, group))
            is_mended = True
            await harness.until_committed(group, topic.name, 20)
            reasons = app.unready()
        letters = await harness.read(dead_letters_of(topic, group))

        assert len(before) == len(letters) == 5
        assert reasons == {}
        assert len(tried) == 20

    async def test_what_the_guard_holds_back_is_tried_again_while_nothing_else_comes(
        self, harness: Harness, topic: Topic[str], group: str
    ) -> None:
        app, is_mended, tried = harness.app(group), False, list[str]()

        @app.listener(topic, retry=Never(), dead_letter=DeadLetterTopic(guard=Guard(run=2)))
        async def handle(value: str) -> None:
            tried.append(value)
            if not is_mended:
                raise ValueError(value)

        await harness.produce(topic.name, [("k", "1"), ("k", "2"), ("k", "held back")])
        async with harness.running(app):
            await harness.until(lambda: tried.count("held back") == 4, "it is tried again and again")
            is_mended = True
            await harness.until_committed(group, topic.name, 3)
            reasons = app.unready()

        assert reasons == {}
        assert [letter.value for letter in await harness.read(dead_letters_of(topic, group))] == [b"1", b"2"]

    async def test_poison_at_the_end_of_its_retry_topics_does_not_stop_a_listener_that_works(
        self, harness: Harness, topic: Topic[str], group: str
    ) -> None:
        app = harness.app(group)
        await with_topics(harness, topic, group, "-retry")
        retry = RetryTopics(attempts=2, first_s=0.1)

        @app.listener(topic, retry=retry, dead_letter=DeadLetterTopic(guard=Guard(run=2)))
        async def handle(value: str) -> None:
            if value == "poison":
                raise ValueError(value)

        async with harness.running(app):
            for number in range(1, 6):
                await harness.produce(topic.name, [("k", "healthy")] * 9 + [("k", "poison")])
                await harness.until_committed(f"{group}-retry", f"{topic.name}-{group}-retry", number)
            reasons = app.unready()

        assert reasons == {}
        assert len(await harness.read(dead_letters_of(topic, group))) == 5


def replayed(headers: Headers) -> list[tuple[str, bytes | None]]:
    return [*headers, ("ottla-replay-id", b"r-1")]
