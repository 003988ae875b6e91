"""A service that places orders, a customer after the other, until it is killed. Relays as well.

Environment: TOPIC, FROM the first number, UNTIL the number before which to stop, and wait.
"""

from __future__ import annotations

import asyncio
import os

from ottla import App
from tests.support.apps import until
from tests.support.orders import Order, orders_topic, place

CUSTOMERS = 10


async def main() -> None:
    app = App("shop")
    topic = orders_topic(os.environ["TOPIC"])
    async with app:
        await until(lambda: not app.unready(), what="the app is ready")
        print("placing", flush=True)
        for number in range(int(os.environ["FROM"]), int(os.environ["UNTIL"])):
            await asyncio.gather(
                *(
                    place(app, topic, Order(customer=f"customer-{customer}", number=number))
                    for customer in range(CUSTOMERS)
                )
            )
        print("placed", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
