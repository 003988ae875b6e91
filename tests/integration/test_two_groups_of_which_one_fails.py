"""Two services read one topic: what one of them cannot handle is its own affair."""

from __future__ import annotations

from pydantic import BaseModel

from ottla import App, InPlace, Topic
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.failing import dead_letters, header, topic_with_dead_letters
from tests.support.kafka_server import Kafka


class Event(BaseModel):
    number: int


async def test_only_the_group_that_fails_has_a_dead_letter(kafka: Kafka, new_topic: NewTopic) -> None:
    topic = topic_with_dead_letters(kafka, new_topic, groups=("billing", "mailing"))
    billing, mailing = (App(name, settings=settings_for(kafka)) for name in ("billing", "mailing"))
    billed: list[int] = []
    mailed: list[int] = []

    @billing.listener(Topic(topic, Event), retry=InPlace(attempts=2, first_s=0.01, max_s=0.01))
    async def bill(event: Event) -> None:
        if event.number == 2:
            raise ValueError
        billed.append(event.number)

    @mailing.listener(Topic(topic, Event))
    async def mail(event: Event) -> None:
        mailed.append(event.number)

    produce(kafka, topic, ((b"k", f'{{"number": {number}}}') for number in range(5)))
    async with running(billing, mailing):
        await until(lambda: committed(kafka, "billing", topic) == {0: 5}, what="billing commits all")
        await until(lambda: committed(kafka, "mailing", topic) == {0: 5}, what="mailing commits all")

    assert billed == [0, 1, 3, 4]
    assert mailed == [0, 1, 2, 3, 4]
    (letter,) = dead_letters(kafka, topic, "billing")
    assert letter.value() == b'{"number": 2}'
    assert header(letter, "kafka_dlt-original-consumer-group") == b"billing"
    assert dead_letters(kafka, topic, "mailing") == []
