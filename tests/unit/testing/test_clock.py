from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ottla.testing import ManualClock


def test_what_is_due_is_called_in_its_order_each_at_its_own_time() -> None:
    clock = ManualClock()
    called: list[tuple[str, float]] = []
    for name, delay_s in (("late", 3.0), ("early", 1.0), ("beyond", 3.5), ("early too", 1.0)):
        clock.call_later(delay_s, lambda name=name: called.append((name, clock.now())))  # type: ignore[misc]

    clock.advance(3.25)

    assert called == [("early", 1.0), ("early too", 1.0), ("late", 3.0)]
    assert clock.now() == 3.25


def test_a_timer_that_is_set_by_another_fires_in_the_same_advance() -> None:
    clock = ManualClock()
    called: list[float] = []

    def again() -> None:
        called.append(clock.now())
        clock.call_later(1.0, again)

    clock.call_later(1.0, again)
    clock.advance(3.5)

    assert called == [1.0, 2.0, 3.0]


def test_a_cancelled_timer_is_neither_called_nor_jumped_to() -> None:
    clock = ManualClock()
    called: list[str] = []
    clock.call_later(1.0, lambda: called.append("cancelled")).cancel()
    clock.call_later(3600.0, lambda: called.append("kept"))

    jumped = clock.jump(), clock.now(), clock.jump()

    assert jumped == (True, 3600.0, False)
    assert called == ["kept"]


def test_it_jumps_no_further_than_told() -> None:
    clock = ManualClock()
    clock.call_later(30.0, lambda: None)

    assert not clock.jump(29.9)
    assert clock.now() == 0.0
    assert clock.jump(30.0)


def test_the_date_goes_on_with_the_clock() -> None:
    clock = ManualClock()
    before = clock.time_ms()

    clock.advance(86_400)

    assert clock.time_ms() == before + 86_400_000


@given(st.lists(st.floats(0, 100)), st.floats(0, 50))
def test_whatever_is_set_exactly_what_is_due_is_called(delays: list[float], seconds: float) -> None:
    clock = ManualClock()
    called: list[float] = []
    for delay_s in delays:
        clock.call_later(delay_s, lambda delay_s=delay_s: called.append(delay_s))  # type: ignore[misc]

    clock.advance(seconds)

    assert called == sorted(delay_s for delay_s in delays if delay_s <= seconds)
