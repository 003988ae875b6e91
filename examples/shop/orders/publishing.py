"""How the orders tell of themselves: a port that the domain knows, and its adapter for Kafka."""

from __future__ import annotations

from typing import Protocol

from examples.shop.contracts import ORDERS, OrderCreated
from ottla import Publisher


class OrderEventPublisher(Protocol):
    """Where the events of orders go."""

    async def publish_order_created(self, event: OrderCreated) -> None:
        """Tell that an order was placed."""
        ...


class KafkaOrderEventPublisher:
    """To Kafka: by a `KafkaTemplate` acknowledged at once, by a `Transaction` with its commit."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def publish_order_created(self, event: OrderCreated) -> None:
        """As the port says; the key is the order's id, because the topic says so."""
        await self._publisher.send(ORDERS, event, event_id=event.event_id)
