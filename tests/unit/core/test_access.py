from __future__ import annotations

from collections.abc import Iterable

from ottla.core.access import Access, AccessList, ReadTopic, Use, all_of, dlt_handler_access, listener_access
from ottla.core.backoff import InPlace
from ottla.core.dead_letters import DeadLetterTopic
from ottla.core.destinations import Destinations
from ottla.core.retry_topics import RetryTopics
from ottla.core.topology import Naming
from ottla.errors import Undecodable


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


def listening(
    *,
    retry: InPlace | RetryTopics | None = None,
    dead_letter: DeadLetterTopic | None = None,
    naming: Naming = Naming.PER_GROUP,
) -> Destinations:
    return to(retry or InPlace(), dead_letter, naming)


def listed(*listened: Destinations, handles_letters: bool = False, sent: Iterable[str] = ()) -> AccessList:
    handling = [dlt_handler_access(each) for each in listened if handles_letters]
    parts = [*map(listener_access, listened), *handling, Access(written=tuple(sent))]
    return all_of(parts).listed


def test_an_app_that_only_sends_reads_nothing_and_is_in_no_group() -> None:
    assert listed(sent=["orders"]) == AccessList((), ("orders",), (), (), (), None)


def test_a_listener_reads_replays_that_may_not_be_there_yet_and_writes_dead_letters() -> None:
    found = listed(listening(dead_letter=DeadLetterTopic()), sent=["invoices"])

    assert found == AccessList(
        reads=("orders", "orders-billing-replay"),
        writes=("invoices", "orders-billing-dlt"),
        groups=("billing", "billing-replay"),
        dead_letters=("orders-billing-dlt",),
        replays=("orders-billing-replay",),
        ledger="billing-replays",
    )


def test_retry_topics_are_written_and_read_each_in_a_group_of_its_own_and_replays_come_by_the_first() -> None:
    retry = RetryTopics(attempts=3, first_s=1, factor=2)

    found = listed(listening(retry=retry, dead_letter=DeadLetterTopic()))

    assert found == AccessList(
        reads=("orders", "orders-billing-retry-1000", "orders-billing-retry-2000"),
        writes=("orders-billing-dlt", "orders-billing-retry-1000", "orders-billing-retry-2000"),
        groups=("billing", "billing-retry-1000", "billing-retry-2000"),
        dead_letters=("orders-billing-dlt",),
        replays=("orders-billing-retry-1000",),
        ledger="billing-replays",
    )


def test_a_listener_that_stops_instead_of_dead_lettering_writes_nothing() -> None:
    found = listed(listening())

    assert found == AccessList(("orders",), (), ("billing",), (), (), None)


def test_routed_dead_letters_are_written_and_replayed_too() -> None:
    routed = DeadLetterTopic(routes={Undecodable: "-unreadable"})

    found = listed(listening(dead_letter=routed))

    assert found.writes == found.dead_letters == ("orders-billing-dlt", "orders-billing-unreadable-dlt")


def test_a_handler_of_dead_letters_reads_them_in_its_own_group() -> None:
    found = listed(listening(dead_letter=DeadLetterTopic()), handles_letters=True)

    assert "orders-billing-dlt" in found.reads
    assert "billing-dlt" in found.groups


def test_names_follow_springs_where_they_are_asked_for() -> None:
    found = listed(listening(dead_letter=DeadLetterTopic(), naming=Naming.SPRING))

    assert found.writes == ("orders-dlt",)
    assert found.replays == ("orders-billing-replay",)
