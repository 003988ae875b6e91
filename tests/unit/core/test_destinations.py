from __future__ import annotations

import pytest

from ottla import DeadLetterTopic, InPlace, RetryTopics, WiringError
from ottla.core.decide import Bury, Forward, Reason
from ottla.core.destinations import Destinations
from ottla.core.retry_topics import Stage
from ottla.core.topology import Naming
from ottla.errors import Undecodable

ROUTED = DeadLetterTopic(routes={LookupError: "-unknown", Undecodable: "-unreadable"})
GROWING = RetryTopics(attempts=3, first_s=1, factor=2)


def topics(
    retry: InPlace | RetryTopics, dead_letter: DeadLetterTopic | None, naming: Naming = Naming.PER_GROUP
) -> Destinations:
    return Destinations("orders", "billing", naming, retry, dead_letter)


@pytest.mark.parametrize(
    ("destinations", "beside", "replay"),
    [
        (topics(InPlace(), None), [], "orders-billing-replay"),
        (topics(InPlace(), DeadLetterTopic()), ["orders-billing-dlt"], "orders-billing-replay"),
        (
            topics(RetryTopics(), ROUTED),
            [
                "orders-billing-retry",
                "orders-billing-dlt",
                "orders-billing-unknown-dlt",
                "orders-billing-unreadable-dlt",
            ],
            "orders-billing-retry",
        ),
        (
            topics(GROWING, DeadLetterTopic(), Naming.SPRING),
            ["orders-retry-1000", "orders-retry-2000", "orders-dlt"],
            "orders-retry-1000",
        ),
        (topics(InPlace(), DeadLetterTopic(), Naming.SPRING), ["orders-dlt"], "orders-billing-replay"),
    ],
)
def test_the_topics_beside_a_listeners_own(
    destinations: Destinations, beside: list[str], replay: str
) -> None:
    assert (destinations.beside, destinations.replay) == (beside, replay)


@pytest.mark.parametrize(
    ("error", "topic"),
    [
        (ValueError(), "orders-billing-dlt"),
        (KeyError(), "orders-billing-unknown-dlt"),  # by its nearest class
        (Undecodable(), "orders-billing-unreadable-dlt"),
    ],
)
def test_a_dead_letter_goes_where_its_exception_is_routed(error: Exception, topic: str) -> None:
    assert topics(InPlace(), ROUTED).of(Bury(Reason.FATAL, error)) == topic


def test_a_record_goes_on_to_the_topic_of_its_stage() -> None:
    forward = Forward(Stage("-retry-2000", 2_000), 0, ValueError())

    assert topics(GROWING, DeadLetterTopic()).of(forward) == "orders-billing-retry-2000"


@pytest.mark.parametrize(
    "routes", [{ValueError: "unknown"}, {ValueError: ""}, {ValueError: "-a b"}, {ValueError: 1}, {int: "-x"}]
)
def test_a_route_that_cannot_be_is_refused(routes: dict[type[BaseException], str]) -> None:
    with pytest.raises(
        WiringError, match=r"^DeadLetterTopic: .* (must begin with a dash|is no exception class)"
    ):
        DeadLetterTopic(routes=routes)
