"""The road end to end: every record once into its handler, in the order of its key, and committed."""

from __future__ import annotations

from collections import defaultdict

from pydantic import BaseModel

from ottla import App, Topic
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.kafka_server import Kafka


class Placed(BaseModel):
    order_id: str
    number: int


async def test_every_record_is_handled_once_in_the_order_of_its_key_and_committed(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = new_topic(partitions=6)
    kafka.create_topic(f"{topic}-billing-dlt", 6)
    app = App("billing", settings=settings_for(kafka))
    seen: dict[str, list[int]] = defaultdict(list)

    @app.listener(Topic(topic, Placed), concurrency=64)
    async def on_placed(event: Placed) -> None:
        seen[event.order_id].append(event.number)

    numbers = range(20)
    keys = [f"order-{number}" for number in range(200)]
    produce(
        kafka,
        topic,
        ((key, Placed(order_id=key, number=number).model_dump_json()) for number in numbers for key in keys),
    )

    async with running(app):
        await until(lambda: sum(map(len, seen.values())) >= 4000, what="4,000 records are handled")

    assert seen == {key: list(numbers) for key in keys}
    assert sum(committed(kafka, "billing", topic).values()) == 4000
