"""What authors of tests are promised: time costs none, `settle` waits for what there is, or says why."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Literal

import pytest
from pydantic import BaseModel

from ottla import App, InPlace, Never, Offsets, Record, Retry, Skip, Topic, WiringError
from ottla.errors import ProducerClosed, SendRefused, SettingsError, Undecodable
from ottla.settings import load_settings
from ottla.testing import ConsumerRecord, InMemoryBroker, NotSettled


class Order(BaseModel):
    order_id: str
    cents: int = 0


ORDERS = Topic("orders", Order, key=lambda order: order.order_id)


def an_app(handle: Callable[..., object], *, name: str = "billing", retry: InPlace | None = None) -> App:
    app = App(name)
    app.listener(ORDERS, retry=retry)(handle)
    return app


async def fail(order: Order) -> None:
    raise ValueError(order.order_id)


async def test_a_retry_in_hours_costs_no_time_and_happens_at_its_hour(broker: InMemoryBroker) -> None:
    times: list[float] = []

    async def handle(order: Order, record: Record) -> None:
        times.append(broker.clock.now())
        if record.attempt == 1:
            raise Retry(after=timedelta(hours=10))

    async with broker.run(an_app(handle)):
        await broker.send(ORDERS, Order(order_id="o-1"))
        await broker.settle()

    assert times == [0.0, 36_000.0]
    assert sum(broker.committed("billing", ORDERS).values()) == 1


async def test_nothing_happens_before_its_time(broker: InMemoryBroker) -> None:
    attempts: list[int] = []

    async def handle(order: Order, record: Record) -> None:
        attempts.append(record.attempt)
        raise Retry(after=timedelta(seconds=30))

    async with broker.run(an_app(handle, retry=InPlace(attempts=2))):
        await broker.send(ORDERS, Order(order_id="o-1"))
        await broker.advance(0)
        at_once = list(attempts)
        await broker.advance(29.9)
        too_early = list(attempts)
        await broker.advance(0.1)

    assert (at_once, too_early, attempts) == ([1], [1], [1, 2])
    assert broker.clock.now() == 30.0


@pytest.mark.parametrize(
    ("chosen", "setting", "handled"),
    [
        (None, "earliest", ["o-1"]),
        (None, "latest", []),
        ("earliest", "latest", ["o-1"]),
        ("latest", "earliest", []),
    ],
)
async def test_where_a_group_begins_is_told_by_its_listener_else_by_the_setting(
    broker: InMemoryBroker, chosen: Literal["earliest", "latest"] | None, setting: str, handled: list[str]
) -> None:
    app, seen = App("billing"), list[str]()

    @app.listener(ORDERS, offsets=Offsets(start=chosen))
    async def handle(order: Order) -> None:
        seen.append(order.order_id)

    await broker.send(ORDERS, Order(order_id="o-1"))
    async with broker.run(app, KAFKA_START=setting):
        await broker.settle()

    assert seen == handled


async def test_settle_waits_for_a_handler_that_waits_for_something_outside(broker: InMemoryBroker) -> None:
    outside = threading.Event()
    answered: list[str] = []

    async def handle(order: Order) -> None:
        await asyncio.to_thread(outside.wait, 10)
        answered.append(order.order_id)

    async with broker.run(an_app(handle)):
        await broker.send(ORDERS, Order(order_id="o-1"))
        asyncio.get_running_loop().call_later(0.05, outside.set)
        await broker.settle()

    assert answered == ["o-1"]


async def test_settle_waits_for_a_handler_in_a_thread(broker: InMemoryBroker) -> None:
    handled: list[str] = []

    def handle(order: Order) -> None:
        handled.append(f"{order.order_id} in {threading.current_thread().name}")

    async with broker.run(an_app(handle)):
        await broker.send(ORDERS, Order(order_id="o-1"))
        await broker.settle()

    assert handled == ["o-1 in billing/orders_0"]


async def test_what_does_not_end_is_named(broker: InMemoryBroker) -> None:
    async def handle(order: Order) -> None:
        await asyncio.Event().wait()

    async with broker.run(an_app(handle), KAFKA_DRAIN_S="0.05"):
        sent = await broker.send(ORDERS, Order(order_id="o-1"))
        with pytest.raises(NotSettled) as caught:
            await broker.settle(within_s=0.05)

    where = f"billing/orders: orders-{sent.partition}@0 is handled, attempt 1"
    assert str(caught.value) == f"not within 0.05 s of real time: {where}; the clock stands at 0 s"


async def test_what_is_handled_again_and_again_is_said_to_have_no_end(broker: InMemoryBroker) -> None:
    async with broker.run(an_app(fail, retry=InPlace(attempts=1_000_000_000))):
        await broker.send(ORDERS, Order(order_id="o-1"))
        with pytest.raises(NotSettled, match=r"the clock stands at \d{3,}|e\+\d+ s"):
            await broker.settle(within_s=0.1)


async def test_a_stopped_partition_is_settled_and_unready(broker: InMemoryBroker) -> None:
    app = App("billing")
    app.listener(ORDERS, retry=Never(), dead_letter=False)(fail)

    async with broker.run(app):
        sent = await broker.send(ORDERS, Order(order_id="o-1"))
        await broker.settle()
        reasons = app.unready()

    assert "has stopped this partition" in reasons[f"orders-{sent.partition}"]
    assert broker.committed(app, ORDERS)[sent.partition] == 0


async def test_what_handlers_send_is_handled_before_all_is_settled(broker: InMemoryBroker) -> None:
    invoices = Topic("invoices", Order)
    app, seen = App("billing"), list[str]()

    @app.listener(ORDERS)
    async def bill(order: Order) -> None:
        await app.template.send(invoices, order, key=order.order_id)

    @app.listener(invoices)
    async def post(order: Order) -> None:
        seen.append(order.order_id)

    async with broker.run(app):
        for number in range(100):
            await broker.send(ORDERS, Order(order_id=f"o-{number}"))
        await broker.settle()

    assert len(seen) == 100
    assert len(broker.records(invoices)) == 100


async def test_records_are_read_in_the_order_of_their_writing_with_all_they_carry(
    broker: InMemoryBroker,
) -> None:
    broker.create_topic("orders", 2)
    first = await broker.send(
        ORDERS, Order(order_id="o-1", cents=5), headers={"trace": "t"}, event_id="e-1", partition=1
    )
    await broker.send(ORDERS, None, key="o-1", partition=0, timestamp_ms=5)

    told = broker.records(ORDERS)

    assert told[0] == ConsumerRecord(
        topic="orders",
        partition=1,
        offset=0,
        key=b"o-1",
        value=Order(order_id="o-1", cents=5),
        headers=told[0].headers,
        timestamp_ms=first.timestamp_ms or 0,
    )
    assert (told[0].event_id, told[0].headers.text("trace")) == ("e-1", "t")
    assert (told[1].value, told[1].timestamp_ms) == (None, 5)


async def test_a_topic_by_name_is_read_as_bytes_and_one_with_a_type_refuses_what_is_not_of_it(
    broker: InMemoryBroker,
) -> None:
    await broker.send("orders", b"no JSON")

    assert [record.value for record in broker.records("orders")] == [b"no JSON"]
    with pytest.raises(Undecodable):
        broker.records(ORDERS)


async def test_dead_letters_are_found_by_app_and_by_group_wherever_the_settings_put_them(
    broker: InMemoryBroker,
) -> None:
    app = an_app(fail, retry=Never())

    async with broker.run(app, KAFKA_GROUP_ID="ledger", KAFKA_NAMING="spring"):
        await broker.send(ORDERS, Order(order_id="o-1"))
        await broker.settle()

    (by_app,), (by_group,) = broker.dead_letters(app, ORDERS), broker.dead_letters("ledger", "orders")
    assert by_app == by_group
    assert by_app.topic == "orders-dlt"
    assert by_app.headers.text("ottla-dead-letter-reason") == "attempts exhausted"
    assert broker.committed(app, ORDERS) == broker.committed("ledger", "orders")


async def test_an_app_runs_again_and_goes_on_where_its_group_stands(broker: InMemoryBroker) -> None:
    seen: list[str] = []

    async def handle(order: Order) -> None:
        seen.append(order.order_id)

    app = an_app(handle)
    for number in range(2):
        async with broker.run(app):
            await broker.send(ORDERS, Order(order_id=f"o-{number}"))
            await broker.settle()

    assert seen == ["o-0", "o-1"]


def test_an_app_runs_on_another_event_loop_as_if_it_had_never_run() -> None:
    async def handle(order: Order) -> None:
        if order.order_id == "skipped":
            raise Skip("nothing to bill")
        raise ValueError

    app = App("billing")
    app.listener(ORDERS, retry=Never(), dead_letter=False)(handle)

    async def run(order_id: str) -> tuple[int, bool]:
        broker = InMemoryBroker()
        async with broker.run(app):
            await broker.send(ORDERS, Order(order_id=order_id))
            await broker.settle()
            return app.counts().skipped, bool(app.unready())

    assert asyncio.run(run("failed")) == (0, True)
    assert asyncio.run(run("skipped")) == (1, False)


async def test_nothing_is_read_from_the_developers_environment(
    broker: InMemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_GROUP_ID", "production")
    monkeypatch.setenv("TOPICS__ORDERS", "prod.orders")
    monkeypatch.setenv("DATABASE_URL", "no URL at all")
    monkeypatch.setenv("OTTLA_CONFIG", "/nowhere/ottla.toml")

    async with broker.run(an_app(fail, retry=Never())):
        await broker.send(ORDERS, Order(order_id="o-1"))
        await broker.settle()

    assert len(broker.dead_letters("billing", ORDERS)) == 1


async def test_a_setting_that_is_none_is_refused_by_name(broker: InMemoryBroker) -> None:
    with pytest.raises(SettingsError, match="DATABSE_URL is no setting"):
        async with broker.run(an_app(fail), DATABSE_URL="postgresql://u@h/d"):
            pass


async def test_settings_for_an_app_that_has_its_own_are_refused(broker: InMemoryBroker) -> None:
    app = App("billing", settings=load_settings(environ={"KAFKA_BOOTSTRAP_SERVERS": "localhost"}))

    with pytest.raises(WiringError, match="was made with settings of its own"):
        async with broker.run(app, KAFKA_DRAIN_S="2"):
            pass


async def test_members_have_their_partitions_when_the_block_begins(broker: InMemoryBroker) -> None:
    first, second, third = (an_app(fail) for _ in range(3))

    async with broker.run(first, second):
        two = [len(app.assigned()) for app in (first, second)]
        async with broker.run(third):
            three = [len(app.assigned()) for app in (first, second, third)]

    assert (two, three) == ([2, 1], [1, 1, 1])


async def test_a_member_joins_although_a_handler_of_another_does_not_end(broker: InMemoryBroker) -> None:
    may_end = asyncio.Event()

    async def wait(order: Order) -> None:
        await may_end.wait()

    first, second = an_app(wait), an_app(wait)
    async with broker.run(first):
        for number in range(20):
            await broker.send(ORDERS, Order(order_id=f"o-{number}"))
        async with broker.run(second):
            before = len(first.assigned()), len(second.assigned())
            may_end.set()
            await broker.settle()
            after = len(first.assigned()), len(second.assigned())

    assert (before, after) == ((3, 0), (2, 1))


async def test_an_app_that_is_started_is_not_started_again_before_it_is_stopped(
    broker: InMemoryBroker,
) -> None:
    app = an_app(fail, retry=Never())

    async with broker.run(app):
        with pytest.raises(WiringError, match="stop it first"):
            await app.start()
        await broker.send(ORDERS, Order(order_id="o-1"))
        await broker.settle()

    assert len(broker.dead_letters(app, ORDERS)) == 1


async def test_an_app_that_runs_already_is_refused_and_runs_on(broker: InMemoryBroker) -> None:
    app = an_app(fail, retry=Never())

    async with broker.run(app):
        with pytest.raises(WiringError, match="a second member is a second App"):
            async with broker.run(app):
                pass
        await broker.send(ORDERS, Order(order_id="o-1"))
        await broker.settle()

    assert len(broker.dead_letters(app, ORDERS)) == 1


async def test_a_listener_that_cannot_be_wired_is_refused_as_in_production(broker: InMemoryBroker) -> None:
    async def handle(order: Order, whatever) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        pass

    with pytest.raises(WiringError, match="'whatever' has no annotation"):
        async with broker.run(an_app(handle)):
            pass


async def test_a_partition_that_is_not_there_is_refused(broker: InMemoryBroker) -> None:
    with pytest.raises(SendRefused, match="has 3 partitions and no partition 3"):
        await broker.send(ORDERS, Order(order_id="o-1"), partition=3)


async def test_a_topic_cannot_be_made_twice_with_other_partitions(broker: InMemoryBroker) -> None:
    broker.create_topic("orders", 6)
    broker.create_topic("orders", 6)

    with pytest.raises(ValueError, match="is there with 6 partitions, not 3"):
        broker.create_topic("orders", 3)


async def test_an_app_that_has_stopped_sends_no_more(broker: InMemoryBroker) -> None:
    app = App("shop")

    async with broker.run(app):
        template = app.template

    with pytest.raises(ProducerClosed):
        await template.send(ORDERS, Order(order_id="o-1"))


async def test_null_keys_are_spread_the_same_way_every_time(broker: InMemoryBroker) -> None:
    results = [await broker.send("orders", b"v") for _ in range(6)]

    assert [result.partition for result in results] == [0, 1, 2, 0, 1, 2]


async def test_a_buffer_that_is_full_of_waiting_records_lets_others_pass_in_time(
    broker: InMemoryBroker,
) -> None:
    broker.create_topic("orders", 1)
    seen: list[str] = []

    async def handle(order: Order, record: Record) -> None:
        if record.offset < 10 and record.attempt == 1:
            raise Retry(after=timedelta(hours=1))
        seen.append(order.order_id)

    async with broker.run(an_app(handle), KAFKA_BUFFERED_RECORDS="10"):
        for number in range(50):
            await broker.send(ORDERS, Order(order_id=f"o-{number}"))
        await broker.settle()

    assert len(seen) == 50
    assert sum(broker.committed("billing", ORDERS).values()) == 50


async def test_the_broker_stays_usable_after_a_test_that_failed_inside_the_block(
    broker: InMemoryBroker,
) -> None:
    app = an_app(fail, retry=Never())

    with pytest.raises(ZeroDivisionError):
        async with broker.run(app):
            raise ZeroDivisionError
    async with broker.run(app):
        await broker.send(ORDERS, Order(order_id="o-1"))
        await broker.settle()

    assert len(broker.dead_letters(app, ORDERS)) == 1
