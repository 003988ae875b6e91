from __future__ import annotations

from collections import Counter

import httpx
import pytest
from pydantic import ValidationError

from examples.shop.contracts import OrderCreated
from examples.shop.purchases import SAMPLE, read_purchases
from examples.shop.storefront import NotTaken, Storefront, schedule
from ottla import App
from ottla.testing import InMemoryBroker

ORDERS = read_purchases(SAMPLE, 100)


def test_every_order_is_sent_in_the_order_of_the_file() -> None:
    assert schedule(ORDERS) == ORDERS


def test_events_are_sent_twice_behind_their_first_time_and_spread_over_the_replay() -> None:
    sends = schedule(ORDERS, again=10)

    times = Counter(send.order_id for send in sends if isinstance(send, OrderCreated))
    twice = [order for order in ORDERS if times[order.order_id] == 2]
    assert Counter(times.values()) == {1: 90, 2: 10}
    assert [ORDERS.index(order) // 10 for order in twice] == list(range(10))


def test_fewer_orders_than_second_sends_are_sent_more_often() -> None:
    sends = schedule(ORDERS[:10], again=50)

    assert Counter(Counter(sends).values()) == {6: 10}


def test_undecodable_records_stand_among_the_orders() -> None:
    sends = schedule(ORDERS, undecodable=3)

    where = [at for at, send in enumerate(sends) if isinstance(send, bytes)]
    assert where == [17, 51, 85]


def test_no_undecodable_record_can_be_read_as_an_order() -> None:
    broken = [send for send in schedule(ORDERS, undecodable=3) if isinstance(send, bytes)]

    assert len(set(broken)) == 3
    for value in broken:
        with pytest.raises(ValidationError):
            OrderCreated.model_validate_json(value)


def test_an_order_has_one_event_id_whenever_it_is_sent() -> None:
    assert ORDERS[0].event_id == read_purchases(SAMPLE, 1)[0].event_id
    assert len({order.event_id for order in ORDERS}) == len(ORDERS)


async def _post(orders: list[OrderCreated], answers: list[int], broker: InMemoryBroker) -> list[str]:
    """The requests of a storefront that is answered so."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(OrderCreated.model_validate_json(request.content).order_id)
        return httpx.Response(answers[len(asked) - 1])

    shop = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://shop")
    app = App("storefront")
    async with broker.run(app), shop:
        await Storefront(shop, app.template, rate=None).run([*orders])
    return asked


async def test_an_order_that_could_not_be_taken_now_is_posted_again(broker: InMemoryBroker) -> None:
    asked = await _post(ORDERS[:1], [503, 500, 201], broker)

    assert asked == [ORDERS[0].order_id] * 3


async def test_an_order_that_is_refused_ends_the_replay(broker: InMemoryBroker) -> None:
    with pytest.raises(NotTaken, match="409"):
        await _post(ORDERS[:1], [409], broker)
