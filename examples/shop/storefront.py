"""The storefront: posts the purchases of a CSV file as orders, and makes the noise that real life makes.

    KAFKA_BOOTSTRAP_SERVERS=localhost:9092 python -m examples.shop.storefront --orders-url http://localhost:8000

`--again` sends events a second time under the same event id, as a relay does that dies
before it has noted the acknowledgement; `--undecodable` puts bytes on the orders' topic
that nobody can read. Both go to Kafka directly.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import httpx

from examples.shop.contracts import ORDERS, OrderCreated
from examples.shop.purchases import SAMPLE, BadPurchases, read_purchases
from ottla import App, KafkaTemplate, OttlaError

_AGAIN_AFTER = 20
"""How many orders later, at most, an event is sent for the second time."""
_CUSTOMERS = 16
"""How many post at once."""
_PATIENCE_S = 60.0
_ASK_AGAIN_S = 0.2

_UNDECODABLE = (
    b"\xff\xfe not even text",
    b'{"order_id": "broken-2", "quantity": 1}',
    b'{"order_id": "broken-3", "customer_id": "1", "placed_on": "tomorrow", "quantity": 1, "amount_usd": 1}',
)

Send = OrderCreated | bytes


def schedule(orders: list[OrderCreated], *, again: int = 0, undecodable: int = 0) -> list[Send]:
    """What to send, in order: `again` events a second time, and bytes that nobody can read, spread evenly."""
    count = len(orders)
    later = min(_AGAIN_AFTER, count // 5)
    second = islice(cycle(_spread(min(again, count), count)), again)
    broken = zip(_spread(undecodable, count), cycle(_UNDECODABLE), strict=False)
    sends: list[tuple[float, Send]] = [
        *((float(at), order) for at, order in enumerate(orders)),
        *((float(at + later), orders[at]) for at in second),
        *((at + 0.5, value) for at, value in broken),
    ]
    return [send for _, send in sorted(sends, key=lambda item: item[0])]


def _spread(count: int, among: int) -> Iterator[int]:
    return (number * among // count + among // (2 * count) for number in range(count))


class NotTaken(Exception):
    """An order was not taken, and asking again would not help."""


class Storefront:
    """Carries out a schedule, at most `rate` a second."""

    def __init__(self, shop: httpx.AsyncClient, template: KafkaTemplate, rate: float | None) -> None:
        self._shop = shop
        self._template = template
        self._rate = rate
        self._placed: dict[str, asyncio.Future[None]] = {}
        self.done = 0

    async def run(self, sends: list[Send]) -> None:
        """All of `sends`; returns when every order was taken and everything else is acknowledged."""
        begun, waiting = time.monotonic(), iter(enumerate(sends))

        async def serve() -> None:
            for at, send in waiting:
                if self._rate is not None:
                    await asyncio.sleep(begun + at / self._rate - time.monotonic())
                await self._send(send)
                self.done += 1

        telling = asyncio.create_task(self._tell(len(sends)))
        try:
            await asyncio.gather(*(serve() for _ in range(_CUSTOMERS)))
        finally:
            telling.cancel()
        print(f"storefront: all {len(sends)} done", flush=True)

    async def _tell(self, count: int) -> None:
        while True:
            await asyncio.sleep(1)
            print(f"storefront: {self.done} of {count} done", flush=True)

    async def _send(self, send: Send) -> None:
        if isinstance(send, bytes):
            await self._template.send(ORDERS.name, send)
        elif (placed := self._placed.get(send.order_id)) is None:
            placed = self._placed[send.order_id] = asyncio.get_running_loop().create_future()
            await self._place(send)
            placed.set_result(None)
        else:
            await placed
            await self._template.send(ORDERS, send, event_id=send.event_id)

    async def _place(self, order: OrderCreated) -> None:
        """Until it is taken; asking again asks for the same order."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                answer = await self._shop.post("/orders", content=order.model_dump_json())
                if answer.is_success:
                    return
                if not answer.is_server_error:
                    raise NotTaken(f"order {order.order_id}: {answer.status_code} {answer.text}")
                problem = f"{answer.status_code} {answer.text}"
            except httpx.TransportError as error:
                problem = repr(error)
            if time.monotonic() > deadline:
                raise NotTaken(f"order {order.order_id} was not taken in {_PATIENCE_S:.0f} s: {problem}")
            await asyncio.sleep(_ASK_AGAIN_S)


async def _run(arguments: argparse.Namespace) -> None:
    orders = read_purchases(arguments.data, arguments.orders)
    sends = schedule(orders, again=arguments.again, undecodable=arguments.undecodable)
    shop = httpx.AsyncClient(
        base_url=arguments.orders_url, timeout=_PATIENCE_S, headers={"content-type": "application/json"}
    )
    async with App("storefront") as app, shop:
        await Storefront(shop, app.template, arguments.rate).run(sends)


def main() -> int:
    """Post and send; 0 once everything was taken."""
    parser = argparse.ArgumentParser(prog="python -m examples.shop.storefront", description=__doc__)
    parser.add_argument("--orders-url", default="http://127.0.0.1:8000", help="where orders are taken")
    parser.add_argument("--data", type=Path, default=SAMPLE, help="the CSV file")
    parser.add_argument("--orders", type=int, help="only the first so many")
    parser.add_argument("--rate", type=float, help="at most so many a second; else as fast as they are taken")
    parser.add_argument("--again", type=int, default=0, help="how many events to send a second time")
    parser.add_argument("--undecodable", type=int, default=0, help="how many undecodable records to add")
    try:
        asyncio.run(_run(parser.parse_args()))
    except (BadPurchases, NotTaken, OttlaError) as error:
        print(f"storefront: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
