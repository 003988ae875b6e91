"""The storefront: replays purchases from a CSV file as `OrderCreated` events.

    KAFKA_BOOTSTRAP_SERVERS=localhost:9092 python -m examples.shop.producer --rate 250

An order's event id is made of its order id, so whoever sends it again (a restart, a retry
of the whole replay) sends the same event, and not another one.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

from examples.shop.contracts import ORDERS, OrderCreated
from examples.shop.purchases import SAMPLE, BadPurchases, read_purchases
from ottla import App, KafkaTemplate, OttlaError

_TURN_S = 0.01
_AGAIN_AFTER = 20
"""How many orders later, at most, an event is sent for the second time."""

_UNDECODABLE = (
    b"\xff\xfe not even text",
    b'{"order_id": "broken-2", "quantity": 1}',
    b'{"order_id": "broken-3", "customer_id": "1", "placed_on": "tomorrow", "quantity": 1, "amount_usd": 1}',
)

Send = OrderCreated | bytes


def event_id(order: OrderCreated) -> str:
    """The id of the event that `order` was placed: the same whenever it is sent."""
    return f"order-created:{order.order_id}"


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


async def replay(template: KafkaTemplate, sends: list[Send], *, rate: float | None) -> None:
    """Send all of it, `rate` records a second or as fast as they are acknowledged."""
    begun, sent, told = time.monotonic(), 0, 0.0
    while sent < len(sends):
        elapsed = time.monotonic() - begun
        due = min(len(sends), sent + 500 if rate is None else int(elapsed * rate) + 1)
        await asyncio.gather(*(_send(template, send) for send in sends[sent:due]))
        sent = due
        if elapsed - told >= 1 or sent == len(sends):
            told = elapsed
            print(f"producer: {sent} of {len(sends)} records acknowledged", flush=True)
        await asyncio.sleep(0 if rate is None else _TURN_S)


async def _send(template: KafkaTemplate, send: Send) -> None:
    if isinstance(send, bytes):
        await template.send(ORDERS.name, send)
    else:
        await template.send(ORDERS, send, event_id=event_id(send))


async def _run(arguments: argparse.Namespace) -> None:
    orders = read_purchases(arguments.data, arguments.orders)
    sends = schedule(orders, again=arguments.again, undecodable=arguments.undecodable)
    async with App("storefront") as app:
        await replay(app.template, sends, rate=arguments.rate)


def main() -> int:
    """Replay; 0 once everything is acknowledged."""
    parser = argparse.ArgumentParser(prog="python -m examples.shop.producer", description=__doc__)
    parser.add_argument("--data", type=Path, default=SAMPLE, help="the CSV file")
    parser.add_argument("--orders", type=int, help="only the first so many")
    parser.add_argument("--rate", type=float, help="records a second; else as fast as acknowledged")
    parser.add_argument("--again", type=int, default=0, help="how many events to send a second time")
    parser.add_argument("--undecodable", type=int, default=0, help="how many undecodable records to add")
    try:
        asyncio.run(_run(parser.parse_args()))
    except (BadPurchases, OttlaError) as error:
        print(f"producer: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
