"""One record that cannot be handled costs one record: not its partition, its neighbours or its bytes."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel

from ottla import App, InPlace, Record, Retry, Topic
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.failing import KEPT, dead_letters, header, number_in, topic_with_dead_letters
from tests.support.kafka_server import Kafka

POISON = 5


class Event(BaseModel):
    number: int


def json_of(number: int) -> str:
    return Event(number=number).model_dump_json()


async def test_only_the_poison_goes_to_the_dead_letter_topic_after_its_attempts(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App("billing", settings=settings_for(kafka))
    calls: list[int] = []

    @app.listener(Topic(topic, Event), retry=InPlace(attempts=3, first_s=0.01, max_s=0.01))
    async def handle(event: Event) -> None:
        calls.append(event.number)
        if event.number == POISON:
            raise ValueError("no such customer")

    produce(kafka, topic, ((f"key-{number % 3}", json_of(number)) for number in range(10)))
    async with running(app):
        await until(lambda: committed(kafka, "billing", topic).get(0) == 10, what="all is committed")

    assert sorted(calls) == sorted([*range(10), POISON, POISON])
    (letter,) = dead_letters(kafka, topic)
    assert letter.value() == json_of(POISON).encode()


async def test_a_dead_letter_carries_the_record_byte_for_byte_and_says_where_it_stood_and_why(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic, partitions=3, config=KEPT)
    app = App("billing", settings=settings_for(kafka))
    customers: dict[str, int] = {}
    own: list[tuple[str, bytes | None]] = [
        ("trace", b"\x00\xff\xfe"),
        ("trace", b"twice"),
        ("null", None),
        ("empty", b""),
    ]

    @app.listener(Topic(topic, Event), retry=InPlace(attempts=2, first_s=0.01, max_s=0.01))
    async def handle(event: Event) -> None:
        try:
            customers["customer 7"]
        except KeyError as error:
            raise ValueError("no such customer") from error

    produce(kafka, topic, [(b"before", json_of(0))], partition=0)
    produce(
        kafka,
        topic,
        [(b"\xff\x00key", b' {"number": 7}\n')],
        partition=2,
        headers=own,
        timestamp_ms=1_700_000_000_123,
    )
    async with running(app):
        await until(lambda: committed(kafka, "billing", topic).get(2) == 1, what="all is committed")
    (letter,) = [each for each in dead_letters(kafka, topic) if each.partition() == 2]

    assert (letter.key(), letter.value()) == (b"\xff\x00key", b' {"number": 7}\n')
    assert list(letter.headers() or [])[:4] == own
    assert header(letter, "kafka_dlt-original-topic") == topic.encode()
    assert header(letter, "kafka_dlt-original-partition") == b"\0\0\0\2"
    assert number_in(letter, "kafka_dlt-original-offset") == 0
    assert number_in(letter, "kafka_dlt-original-timestamp") == 1_700_000_000_123
    assert header(letter, "kafka_dlt-original-timestamp-type") == b"CreateTime"
    assert header(letter, "kafka_dlt-original-consumer-group") == b"billing"
    assert header(letter, "kafka_dlt-exception-fqcn") == b"builtins.ValueError"
    assert header(letter, "kafka_dlt-exception-cause-fqcn") == b"builtins.KeyError"
    assert b"no such customer" in (header(letter, "kafka_dlt-exception-message") or b"")
    assert b"in handle" in (header(letter, "kafka_dlt-exception-stacktrace") or b"")
    assert header(letter, "ottla-dead-letter-reason") == b"attempts exhausted"


async def test_while_a_record_is_in_back_off_only_its_key_waits(kafka: Kafka, new_topic: NewTopic) -> None:
    topic = topic_with_dead_letters(kafka, new_topic)
    app = App("billing", settings=settings_for(kafka))
    handled: list[tuple[bytes | None, int]] = []

    @app.listener(Topic(topic, Event), concurrency=1)
    async def handle(event: Event, record: Record) -> None:
        handled.append((record.key, event.number))
        if event.number == POISON:
            raise Retry(after=timedelta(hours=1))

    async with running(app):
        produce(kafka, topic, (("stuck" if n % 2 else "free", json_of(n)) for n in range(20)))
        await until(lambda: (b"free", 18) in handled, what="the other key is handled to its end")

    assert [number for key, number in handled if key == b"stuck"] == [1, 3, POISON]
    assert [number for key, number in handled if key == b"free"] == list(range(0, 20, 2))
    assert committed(kafka, "billing", topic) == {0: POISON}
    assert dead_letters(kafka, topic) == []
