"""The service: `uvicorn examples.shop.orders.api:api`.

The row and the event, or neither: an order that was answered with 201 is stored, and its
event leaves, also when Kafka is away.
"""

from __future__ import annotations

from fastapi import FastAPI, HTTPException, Response
from sqlalchemy.exc import IntegrityError

from examples.shop.contracts import ORDERS, OrderCreated
from examples.shop.orders.orders import NewOrder, Order
from examples.shop.orders.publishing import KafkaOrderEventPublisher
from ottla import App, Unavailable

kafka = App("orders", topics=[ORDERS])
api = FastAPI(title="Orders", lifespan=kafka.lifespan)


@api.post("/orders", status_code=201)
async def place(new: NewOrder, response: Response) -> OrderCreated:
    """Place an order. The same again is answered with 200, other content under its id with 409."""
    try:
        async with kafka.transaction() as tx:
            known = await tx.session.get(Order, new.order_id)
            if known is None:
                order = Order.place(new)
                tx.session.add(order)
                await tx.session.flush()
                await KafkaOrderEventPublisher(tx).publish_order_created(event := order.created())
                return event
    except IntegrityError:
        known = await _find(new.order_id)  # a twin was quicker
    if known is None or not known.is_asked_for_by(new):
        raise HTTPException(409, f"order {new.order_id} was placed with other content")
    response.status_code = 200
    return known.created()


@api.get("/orders/{order_id}")
async def find(order_id: str) -> OrderCreated:
    """An order that was placed."""
    order = await _find(order_id)
    if order is None:
        raise HTTPException(404, f"there is no order {order_id}")
    return order.created()


@api.get("/readyz")
async def readyz(response: Response) -> dict[str, str]:
    """Whether orders can be taken, and why not. Kafka need not be there for it."""
    reasons = kafka.unready()
    if reasons:
        response.status_code = 503
    return reasons


async def _find(order_id: str) -> Order | None:
    async with kafka.transaction() as tx:
        return await tx.session.get(Order, order_id)


@api.exception_handler(Unavailable)
async def unavailable(_: object, error: Unavailable) -> Response:
    """The database or a topic is not there: the caller may ask again, and asks for the same order."""
    return Response(str(error), status_code=503, headers={"Retry-After": "1"})
