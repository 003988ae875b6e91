from __future__ import annotations

from ottla.core.access import Access, ReadTopic, Use, all_of, dlt_handler_access, listener_access
from ottla.core.backoff import InPlace
from ottla.core.dead_letters import DeadLetterTopic
from ottla.core.destinations import Destinations
from ottla.core.retry_topics import RetryTopics
from ottla.core.topology import Naming


def to(
    retry: InPlace | RetryTopics, dead_letter: DeadLetterTopic | None, naming: Naming = Naming.PER_GROUP
) -> Destinations:
    return Destinations("orders", "billing", naming, retry, dead_letter)


def test_a_listener_reads_its_topic_and_replays_and_writes_dead_letters() -> None:
    access = listener_access(to(InPlace(), DeadLetterTopic()))

    assert access.uses == {
        "orders": Use.READ,
        "orders-billing-replay": Use.READ,
        "orders-billing-dlt": Use.WRITE,
    }
    assert access.optional == {"orders-billing-replay"}
    assert list(access.groups) == ["billing", "billing-replay"]


def test_a_listener_with_retry_topics_reads_and_writes_them_and_needs_no_replay_topic() -> None:
    access = listener_access(to(RetryTopics(first_s=1, factor=2, attempts=3), DeadLetterTopic()))

    assert access.uses["orders-billing-retry-1000"] == Use.READ | Use.WRITE
    assert access.uses["orders-billing-retry-2000"] == Use.READ | Use.WRITE
    assert list(access.groups) == ["billing", "billing-retry-1000", "billing-retry-2000"]
    assert access.optional == set()


def test_a_listener_without_dead_letters_writes_nothing() -> None:
    assert listener_access(to(InPlace(), None)).uses == {"orders": Use.READ}


def test_a_handler_of_dead_letters_reads_them_in_a_group_of_its_own() -> None:
    access = dlt_handler_access(to(InPlace(), DeadLetterTopic(), Naming.SPRING))

    assert access == Access((ReadTopic("orders-dlt", "billing-dlt"),))


def test_a_topic_that_one_part_writes_and_another_reads_takes_both_rights_and_is_not_optional() -> None:
    reading = Access((ReadTopic("a", "g", is_optional=True), ReadTopic("b", "g", is_optional=True)))

    together = all_of([reading, reading, Access(written=("a",))])

    assert together.uses == {"a": Use.READ | Use.WRITE, "b": Use.READ}
    assert together.optional == {"b"}
    assert together.groups == {
        "g": [ReadTopic("a", "g", is_optional=True), ReadTopic("b", "g", is_optional=True)]
    }
