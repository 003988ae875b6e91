from __future__ import annotations

import asyncio
import threading

import pytest

from ottla.errors import (
    AuthenticationFailed,
    BrokerUnavailable,
    NotAuthorized,
    RecordTooLarge,
    TopicMissing,
    Unavailable,
)
from ottla.kafka.topic_limits import TopicLimits
from ottla.records import EncodedRecord, Headers

SMALL = EncodedRecord("orders", b"k", b"v", Headers())
LARGE = EncodedRecord("orders", b"k", b"v" * 100, Headers())
LARGE_BYTES = 171


class ScriptedCluster:
    """Tells what the test has it tell, once it may."""

    def __init__(self) -> None:
        self.tells: int | Unavailable | None = 1_000_000
        self.may_tell = asyncio.Event()
        self.may_tell.set()
        self.is_asked = asyncio.Event()
        self.asked: list[str] = []
        self.asked_in: set[threading.Thread] = set()

    async def largest_batch(self, topic: str) -> int | None:
        self.asked.append(topic)
        self.asked_in.add(threading.current_thread())
        self.is_asked.set()
        await self.may_tell.wait()
        if isinstance(self.tells, Unavailable):
            raise self.tells
        return self.tells


class Clock:
    """Turned by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def cluster() -> ScriptedCluster:
    return ScriptedCluster()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def limits(cluster: ScriptedCluster, clock: Clock) -> TopicLimits:
    return TopicLimits(cluster, clock=clock)


async def answers_have_come() -> None:
    """Questions that nobody waits for are answered too."""
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))


async def test_a_record_passes_that_takes_all_the_topic_allows(
    limits: TopicLimits, cluster: ScriptedCluster
) -> None:
    cluster.tells = LARGE_BYTES

    await limits.check(LARGE)

    assert cluster.asked == ["orders"]


async def test_a_record_that_is_too_large_is_refused_with_its_topic_and_both_sizes(
    limits: TopicLimits, cluster: ScriptedCluster
) -> None:
    cluster.tells = LARGE_BYTES - 1

    with pytest.raises(RecordTooLarge, match=r"topic 'orders', key b'k': 171 bytes.* takes 170;") as caught:
        await limits.check(LARGE)

    assert (caught.value.topic, caught.value.key) == ("orders", b"k")


async def test_headers_count_for_the_size(limits: TopicLimits, cluster: ScriptedCluster) -> None:
    cluster.tells = LARGE_BYTES

    with pytest.raises(RecordTooLarge):
        await limits.check(LARGE._replace(headers=Headers((("name", None),))))


async def test_a_topic_whose_limit_nobody_tells_takes_every_size(
    limits: TopicLimits, cluster: ScriptedCluster, clock: Clock
) -> None:
    cluster.tells = None

    await limits.check(LARGE)
    clock.now += 59
    await limits.check(LARGE)

    assert cluster.asked == ["orders"]


async def test_an_answer_holds_for_a_minute_and_for_its_topic(
    limits: TopicLimits, cluster: ScriptedCluster, clock: Clock
) -> None:
    await limits.check(SMALL)
    clock.now += 60
    await limits.check(SMALL)
    await limits.check(SMALL._replace(topic="mail"))

    assert cluster.asked == ["orders", "mail"]


async def test_an_old_answer_is_used_while_the_new_question_is_under_way(
    limits: TopicLimits, cluster: ScriptedCluster, clock: Clock
) -> None:
    await limits.check(LARGE)
    clock.now += 60.1
    cluster.tells = LARGE_BYTES - 1
    cluster.may_tell.clear()

    await limits.check(LARGE)
    await limits.check(LARGE)
    cluster.may_tell.set()
    await answers_have_come()

    assert cluster.asked == ["orders", "orders"]
    with pytest.raises(RecordTooLarge):
        await limits.check(LARGE)


async def test_an_old_limit_holds_on_while_nobody_answers(
    limits: TopicLimits, cluster: ScriptedCluster, clock: Clock
) -> None:
    cluster.tells = LARGE_BYTES - 1
    await limits.check(SMALL)
    clock.now += 60.1
    cluster.tells = BrokerUnavailable("nobody")

    await limits.check(SMALL)
    await answers_have_come()

    assert cluster.asked == ["orders", "orders"]
    with pytest.raises(RecordTooLarge):
        await limits.check(LARGE)


async def test_a_topic_that_is_gone_is_found_out_in_the_background(
    limits: TopicLimits, cluster: ScriptedCluster, clock: Clock
) -> None:
    await limits.check(SMALL)
    clock.now += 60.1
    cluster.tells = TopicMissing("create topic orders")

    await limits.check(SMALL)
    await answers_have_come()

    with pytest.raises(TopicMissing):
        await limits.check(SMALL)


@pytest.mark.parametrize("kind", [TopicMissing, NotAuthorized])
async def test_a_topic_that_cannot_be_written_is_refused_and_asked_after_again_a_second_later(
    limits: TopicLimits, cluster: ScriptedCluster, clock: Clock, kind: type[Unavailable]
) -> None:
    cluster.tells = kind("what to do")

    with pytest.raises(kind, match="what to do"):
        await limits.check(SMALL)
    clock.now += 0.9
    with pytest.raises(kind, match="what to do"):
        await limits.check(SMALL)
    asked_within_a_second = len(cluster.asked)
    clock.now += 0.1
    cluster.tells = 1_000_000
    await limits.check(SMALL)

    assert asked_within_a_second == 1
    assert len(cluster.asked) == 2


async def test_a_topic_that_is_still_missing_is_asked_after_every_second(
    limits: TopicLimits, cluster: ScriptedCluster, clock: Clock
) -> None:
    cluster.tells = TopicMissing("create topic orders")

    with pytest.raises(TopicMissing):
        await limits.check(SMALL)
    clock.now += 1
    with pytest.raises(TopicMissing):
        await limits.check(SMALL)
    with pytest.raises(TopicMissing):
        await limits.check(SMALL)

    assert cluster.asked == ["orders", "orders"]


@pytest.mark.parametrize("kind", [BrokerUnavailable, AuthenticationFailed])
async def test_where_nobody_answers_nothing_is_refused_and_nobody_asked_again_for_five_seconds(
    limits: TopicLimits, cluster: ScriptedCluster, clock: Clock, kind: type[Unavailable]
) -> None:
    cluster.tells = kind("nobody")

    await limits.check(LARGE)
    clock.now += 4.9
    await limits.check(LARGE)
    await limits.check(LARGE._replace(topic="mail"))
    asked_within_five_seconds = list(cluster.asked)
    clock.now += 0.1
    cluster.tells = LARGE_BYTES - 1
    with pytest.raises(RecordTooLarge):
        await limits.check(LARGE)

    assert asked_within_five_seconds == ["orders"]
    assert cluster.asked == ["orders", "orders"]


async def test_a_topic_that_was_missing_is_not_refused_while_nobody_answers(
    limits: TopicLimits, cluster: ScriptedCluster, clock: Clock
) -> None:
    cluster.tells = TopicMissing("create topic orders")
    with pytest.raises(TopicMissing):
        await limits.check(SMALL)

    clock.now += 3_600
    cluster.tells = BrokerUnavailable("nobody is there")
    await limits.check(SMALL)
    await limits.check(SMALL)

    assert cluster.asked == ["orders", "orders"]


async def test_checks_of_one_topic_at_one_time_share_a_question(
    limits: TopicLimits, cluster: ScriptedCluster
) -> None:
    cluster.tells = LARGE_BYTES - 1

    results = await asyncio.gather(
        limits.check(SMALL), limits.check(LARGE), limits.check(SMALL), return_exceptions=True
    )

    assert cluster.asked == ["orders"]
    assert [type(result) for result in results] == [type(None), RecordTooLarge, type(None)]


async def test_a_check_that_is_cancelled_takes_the_answer_from_nobody(
    limits: TopicLimits, cluster: ScriptedCluster
) -> None:
    cluster.tells = TopicMissing("create topic orders")
    cluster.may_tell.clear()
    given_up, other = (asyncio.create_task(limits.check(SMALL)) for _ in range(2))
    await cluster.is_asked.wait()

    given_up.cancel()
    await asyncio.wait([given_up])
    cluster.may_tell.set()

    with pytest.raises(TopicMissing):
        await other
    assert given_up.cancelled()
    assert cluster.asked == ["orders"]


async def test_a_check_in_a_thread_asks_on_the_event_loop(
    limits: TopicLimits, cluster: ScriptedCluster
) -> None:
    await asyncio.to_thread(limits.check_in_thread, SMALL)

    assert cluster.asked == ["orders"]
    assert cluster.asked_in == {threading.current_thread()}


async def test_a_check_in_a_thread_refuses_there(limits: TopicLimits, cluster: ScriptedCluster) -> None:
    cluster.tells = LARGE_BYTES - 1

    with pytest.raises(RecordTooLarge, match="takes 170"):
        await asyncio.to_thread(limits.check_in_thread, LARGE)
