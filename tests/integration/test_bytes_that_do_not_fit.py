"""Anybody may write anything into a topic: each record ends in the handler or, as it is, as a dead letter."""

from __future__ import annotations

from pydantic import BaseModel

from ottla import App, InPlace, Record, Topic
from tests.conftest import NewTopic
from tests.support.apps import Sent, committed, produce, running, settings_for, until
from tests.support.failing import (
    dead_letters,
    header,
    number_in,
    produce_with_header_name,
    topic_with_dead_letters,
)
from tests.support.kafka_server import Kafka

FIVE_MB = 5_000_000
LARGE = {"max.message.bytes": "10000000"}


class Placed(BaseModel):
    order_id: str
    note: str = ""


GOOD = b'{"order_id": "a"}'
UNFIT: list[Sent] = [
    (b"not UTF-8", b"\xff\xfe\x00"),
    (b"broken off", b'{"order_id": "a'),
    (b"another type", b'{"order_id": ["a"]}'),
    (b"a missing field", b'{"note": "n"}'),
    (b"nested too deep", b"[" * 100_000),
    (b"no value", None),
    (b"an empty value", b""),
    (None, None),
    (None, b"no key"),
    (b"", b"an empty key"),
    (b"\xff\x00", b"a key that is not UTF-8"),
]


async def test_what_cannot_be_decoded_goes_to_the_dead_letter_topic_at_once_and_byte_for_byte(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App("billing", settings=settings_for(kafka))
    handled: list[str] = []

    @app.listener(Topic(topic, Placed), retry=InPlace(attempts=2, first_s=3600, max_s=3600))
    async def handle(event: Placed) -> None:
        handled.append(event.order_id)

    produce(kafka, topic, [(b"k", GOOD), *UNFIT, (None, GOOD)])
    async with running(app):
        await until(
            lambda: committed(kafka, "billing", topic) == {0: len(UNFIT) + 2}, what="all is committed"
        )

    assert handled == ["a", "a"]
    letters = {
        number_in(letter, "kafka_dlt-original-offset"): letter for letter in dead_letters(kafka, topic)
    }
    assert [(letters[at].key(), letters[at].value()) for at in sorted(letters)] == UNFIT
    assert {header(letter, "ottla-dead-letter-reason") for letter in letters.values()} == {b"undecodable"}


async def test_a_header_name_that_is_not_utf8_keeps_no_handler_from_the_payload(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App("billing", settings=settings_for(kafka))
    handled: list[str] = []

    @app.listener(Topic(topic, Placed))
    async def handle(event: Placed) -> None:
        handled.append(event.order_id)

    produce_with_header_name(kafka, topic, name=b"\xff\xfe", value=GOOD)
    async with running(app):
        await until(lambda: committed(kafka, "billing", topic).get(0) == 1, what="all is committed")

    assert handled == ["a"]
    assert dead_letters(kafka, topic) == []


async def test_a_handler_that_takes_headers_which_cannot_be_read_is_spared_them_by_a_dead_letter(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App("billing", settings=settings_for(kafka))
    handled: list[int] = []

    @app.listener(Topic(topic, Placed))
    async def handle(event: Placed, record: Record) -> None:
        handled.append(record.offset)

    produce_with_header_name(kafka, topic, name=b"\xff\xfe", value=GOOD)
    produce(kafka, topic, [(b"k", GOOD)])
    async with running(app):
        await until(lambda: committed(kafka, "billing", topic).get(0) == 2, what="all is committed")

    assert handled == [1]
    (letter,) = dead_letters(kafka, topic)
    assert letter.value() == GOOD
    assert header(letter, "ottla-headers-lost") == b"a header name is not UTF-8"


async def test_records_of_5_mb_reach_the_handler_and_the_dead_letter_topic(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic, config=LARGE)
    app = App("billing", settings=settings_for(kafka))
    handled: list[int] = []
    large, unfit = b'{"order_id": "' + b"a" * FIVE_MB + b'"}', b"\xff" * FIVE_MB

    @app.listener(Topic(topic, Placed))
    async def handle(event: Placed) -> None:
        handled.append(len(event.order_id))

    produce(kafka, topic, [(b"k", large), (b"k", unfit), (b"k", GOOD)])
    async with running(app):
        await until(lambda: committed(kafka, "billing", topic).get(0) == 3, what="all is committed")

    assert handled == [FIVE_MB, 1]
    (letter,) = dead_letters(kafka, topic)
    assert letter.value() == unfit
