from __future__ import annotations

from ottla.core.liveness import Pulse, standing


def test_a_process_without_listeners_is_alive() -> None:
    assert standing([]) == []


def test_a_poll_loop_may_stand_for_as_long_as_its_bound_and_not_longer() -> None:
    assert standing([Pulse("billing/orders", 45.0, 45.0)]) == []
    assert standing([Pulse("billing/orders", 45.1, 45.0)]) == [
        "billing/orders: its poll loop last turned 45.1 s ago, which is more than 45 s"
    ]


def test_every_listener_that_stands_is_named_and_no_other() -> None:
    pulses = [Pulse("one", 50, 45), Pulse("two", 0.1, 45), Pulse("three", 99, 45)]

    assert [line.split(":")[0] for line in standing(pulses)] == ["one", "three"]
