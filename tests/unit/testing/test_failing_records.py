"""What authors say of failing records, on the in-memory broker."""

from __future__ import annotations

import pytest

from ottla import App, Fatal, InPlace, Record, RetryTopics, Topic, WiringError
from ottla.testing import InMemoryBroker

ORDERS = Topic("orders", str)


def reasons(broker: InMemoryBroker) -> list[str | None]:
    return [
        letter.headers.text("ottla-dead-letter-reason") for letter in broker.dead_letters("billing", ORDERS)
    ]


async def test_a_handler_of_dead_letters_needs_a_listener_that_writes_them(broker: InMemoryBroker) -> None:
    app = App("billing")

    @app.listener(ORDERS, dead_letter=False)
    async def handle(value: str) -> None: ...

    @app.dlt_handler(ORDERS)
    async def look_at(record: Record) -> None: ...

    with pytest.raises(WiringError, match=r"dlt_handler .*: no listener of this app writes dead letters"):
        async with broker.run(app):
            pass


async def test_a_handler_of_dead_letters_takes_no_payload(broker: InMemoryBroker) -> None:
    app = App("billing")

    @app.listener(ORDERS)
    async def handle(value: str) -> None: ...

    @app.dlt_handler(ORDERS)
    async def look_at(value: str) -> None: ...

    with pytest.raises(WiringError, match="parameter 'value' would have to be decoded"):
        async with broker.run(app):
            pass


async def test_what_is_fatal_for_the_app_may_be_retryable_for_a_listener(broker: InMemoryBroker) -> None:
    app, attempts = App("billing", fatal=(OSError,)), list[int]()

    @app.listener(ORDERS, fatal=Fatal((), retryable=(ConnectionError,)), retry=InPlace(attempts=2))
    async def handle(value: str, record: Record) -> None:
        attempts.append(record.attempt)
        raise ConnectionError if value == "again" else FileNotFoundError

    async with broker.run(app):
        await broker.send(ORDERS, "again")
        await broker.settle()
        await broker.send(ORDERS, "never")
        await broker.settle()

    assert attempts == [1, 2, 1]
    assert sorted(map(str, reasons(broker))) == ["attempts exhausted", "fatal exception"]


async def test_retry_topics_end_after_their_time_out(broker: InMemoryBroker) -> None:
    app, times = App("billing"), list[float]()

    @app.listener(ORDERS, retry=RetryTopics(attempts=10, first_s=60, timeout_s=150))
    async def handle(value: str) -> None:
        times.append(broker.clock.now())
        raise ValueError(value)

    async with broker.run(app):
        await broker.send(ORDERS, "late")
        await broker.settle()

    assert times == [0.0, 60.0, 120.0, 180.0]
    assert reasons(broker) == ["attempts exhausted"]


async def test_a_fatal_error_of_the_app_does_not_end_a_handler_of_dead_letters(
    broker: InMemoryBroker,
) -> None:
    app, attempts = App("billing", fatal=(ValueError,)), list[int]()

    @app.listener(ORDERS)
    async def handle(value: str) -> None:
        raise ValueError(value)

    @app.dlt_handler(ORDERS)
    async def look_at(record: Record) -> None:
        attempts.append(record.attempt)
        if record.attempt < 20:
            raise ValueError

    async with broker.run(app):
        await broker.send(ORDERS, "bad")
        await broker.settle()

    assert attempts == list(range(1, 21))
