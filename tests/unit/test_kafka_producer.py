"""The producer over librdkafka's in-process mock cluster; `tests/integration` has real brokers."""

from __future__ import annotations

import asyncio
import ctypes
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from confluent_kafka import KafkaError

from ottla.embedded.broker import MockCluster
from ottla.errors import (
    FatalClientError,
    NotSerializable,
    ProducerClosed,
    RecordTooLarge,
    SendFailed,
    SendRefused,
    SendTimedOut,
    SendUnproven,
    SettingsError,
    Unavailable,
)
from ottla.kafka.client_errors import send_failure
from ottla.kafka.producer import KafkaProducer
from ottla.kafka.sending_client import SendingClient
from ottla.records import Headers

MOCK = {"bootstrap.servers": "mock", "test.mock.num.brokers": "1", "enable.idempotence": "true"}
NOBODY = {"bootstrap.servers": "127.0.0.1:1", "enable.idempotence": "true"}
NONE = Headers(())


@asynccontextmanager
async def started(properties: dict[str, str], close_s: float = 5) -> AsyncIterator[KafkaProducer]:
    producer = KafkaProducer(properties)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.close(close_s)


async def send(producer: KafkaProducer, value: bytes | None = b"v", key: bytes | None = b"k") -> int:
    result = await producer.send("orders", key=key, value=value, headers=NONE)
    return result.offset


async def test_a_send_returns_where_the_record_stands() -> None:
    async with started(MOCK) as producer:
        result = await producer.send(
            "orders", key=b"k", value=None, headers=Headers((("a", None), ("a", b"\xff"))), partition=2
        )

    assert (result.topic, result.partition, result.offset) == ("orders", 2, 0)


async def test_sends_of_one_key_are_written_in_the_order_of_their_calls() -> None:
    async with started(MOCK) as producer:
        offsets = await asyncio.gather(*(send(producer) for _ in range(500)))

    assert offsets == list(range(500))


async def test_a_full_queue_is_waited_for_and_loses_and_reorders_nothing() -> None:
    async with started(MOCK | {"queue.buffering.max.messages": "5"}) as producer:
        offsets = await asyncio.gather(*(send(producer) for _ in range(200)))

    assert offsets == list(range(200))


async def test_a_cancelled_wait_for_room_sends_nothing_and_lets_the_next_one_in() -> None:
    async with started(MOCK | {"queue.buffering.max.messages": "1", "linger.ms": "100"}) as producer:
        first, second, third = (asyncio.create_task(send(producer)) for _ in range(3))
        await asyncio.sleep(0)
        second.cancel()
        offsets = [await first, await third]

    assert offsets == [0, 1]
    assert second.cancelled()


async def test_a_cancelled_wait_for_the_acknowledgement_leaves_the_record_in_the_queue() -> None:
    async with started(MOCK | {"linger.ms": "100"}) as producer:
        given_up = asyncio.create_task(send(producer))
        await asyncio.sleep(0)
        given_up.cancel()
        offset = await send(producer)

    assert given_up.cancelled()
    assert offset == 1


async def test_close_waits_for_what_is_not_acknowledged_yet() -> None:
    async with started(MOCK | {"linger.ms": "200"}) as producer:
        sending = [asyncio.create_task(send(producer)) for _ in range(3)]
        await asyncio.sleep(0)

    assert await asyncio.gather(*sending) == [0, 1, 2]


async def test_close_ends_within_its_bound_and_says_what_it_gave_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.get_running_loop()
    producer = KafkaProducer(NOBODY | {"queue.buffering.max.messages": "1"})
    await producer.start()
    queued, in_line = (asyncio.create_task(send(producer)) for _ in range(2))
    await asyncio.sleep(0)

    begin = loop.time()
    await producer.close(0.3)
    took = loop.time() - begin

    assert took < 3
    assert "1 sends were not acknowledged within 0.3 s" in caplog.text
    with pytest.raises(ProducerClosed, match=r"topic 'orders', key b'k'.*may still have been written"):
        await queued
    with pytest.raises(ProducerClosed, match="send between start and stop"):
        await in_line


async def test_a_send_before_start_or_after_close_is_refused() -> None:
    producer = KafkaProducer(MOCK)
    with pytest.raises(ProducerClosed, match="send between start and stop"):
        await send(producer)

    await producer.start()
    await producer.close(1)
    await producer.close(1)

    with pytest.raises(ProducerClosed):
        await send(producer)


async def test_a_broker_that_does_not_answer_ends_as_timed_out_with_the_clients_trouble() -> None:
    async with started(NOBODY | {"delivery.timeout.ms": "1000", "linger.ms": "0"}) as producer:
        with pytest.raises(SendTimedOut, match=r"127\.0\.0\.1:1.*Connection refused.*may still") as caught:
            await send(producer)

    assert isinstance(caught.value, Unavailable)
    assert (caught.value.topic, caught.value.key) == ("orders", b"k")


async def test_a_record_over_the_clients_limit_is_refused_at_once() -> None:
    async with started(MOCK | {"message.max.bytes": "1000"}) as producer:
        with pytest.raises(RecordTooLarge, match=r"topic 'orders', key b'k'.*reference"):
            await send(producer, b"x" * 1001)

        assert await send(producer) == 0


async def test_a_partition_that_does_not_exist_is_refused() -> None:
    async with started(MOCK) as producer:
        await send(producer)

        with pytest.raises(SendRefused, match=r"TOPICS__<NAME>"):
            await producer.send("orders", key=b"k", value=b"v", headers=NONE, partition=99)


@pytest.mark.parametrize("name", ["\ud800", "a\0b"])
async def test_a_header_name_that_would_crash_the_client_is_refused_before_it(name: str) -> None:
    async with started(MOCK) as producer:
        with pytest.raises(NotSerializable, match="topic 'orders', key b'k': the header name"):
            await producer.send("orders", key=b"k", value=b"v", headers=Headers((("ü", b""), (name, b""))))


@pytest.mark.parametrize(("partition", "timestamp_ms"), [(2**40, None), (None, 2**70)])
async def test_what_the_client_cannot_carry_is_not_serializable(
    partition: int | None, timestamp_ms: int | None
) -> None:
    async with started(MOCK) as producer:
        with pytest.raises(NotSerializable, match="the client takes no such record"):
            await producer.send(
                "orders", key=b"k", value=b"v", headers=NONE, partition=partition, timestamp_ms=timestamp_ms
            )


async def test_a_property_that_librdkafka_does_not_know_is_a_settings_error() -> None:
    producer = KafkaProducer(MOCK | {"linger.msec": "5"})

    with pytest.raises(SettingsError, match=r'"linger.msec".*\[kafka.producer\] in TOML'):
        await producer.start()


async def test_a_failed_send_that_nobody_waits_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with started(NOBODY | {"delivery.timeout.ms": "300", "linger.ms": "0"}) as producer:
        given_up = asyncio.create_task(send(producer))
        await asyncio.sleep(0)
        given_up.cancel()

    assert [r.levelno for r in caplog.records if "nobody waits for" in r.message] == [logging.ERROR]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, RecordTooLarge),
        (KafkaError.RECORD_LIST_TOO_LARGE, RecordTooLarge),
        (KafkaError._MSG_TIMED_OUT, SendTimedOut),
        (KafkaError._UNKNOWN_TOPIC, SendRefused),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, SendRefused),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, SendRefused),
        (KafkaError.POLICY_VIOLATION, SendRefused),
        (KafkaError._PURGE_QUEUE, ProducerClosed),
        (KafkaError.INVALID_RECORD, SendFailed),
    ],
)
def test_each_failure_is_its_own_exception_with_topic_and_key(code: int, kind: type[SendFailed]) -> None:
    failure = send_failure(KafkaError(code), "orders", b"o1")

    assert type(failure) is kind
    assert str(failure).startswith("topic 'orders', key b'o1': ")


def test_a_long_key_is_cut_in_messages_and_whole_in_the_attribute() -> None:
    failure = send_failure(KafkaError(KafkaError._MSG_TIMED_OUT), "orders", b"k" * 1000)

    assert len(str(failure)) < 400
    assert failure.key == b"k" * 1000


async def test_a_fatal_error_is_told_once() -> None:
    told: asyncio.Queue[FatalClientError] = asyncio.Queue()
    producer = KafkaProducer(MOCK, name="orders-producer", on_fatal=told.put_nowait)

    producer._fatal("fenced")
    producer._fatal("fenced")

    assert str(told.get_nowait()) == (
        "orders-producer: the Kafka client cannot go on: fenced; start a new process"
    )
    assert told.empty()


async def test_a_fatal_error_of_the_client_comes_from_its_thread_to_the_loop() -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    client = SendingClient(
        MOCK,
        name="orders",
        loop=asyncio.get_running_loop(),
        on_reports=lambda *_: None,
        on_refusal=lambda _: None,
        on_fatal=told.put_nowait,
    )
    client.start()

    await asyncio.to_thread(client._on_error, KafkaError(KafkaError._FATAL, "fenced", fatal=True))
    reason = await asyncio.wait_for(told.get(), 5)
    await client.end()

    assert reason == "fenced"


async def test_after_a_time_out_another_client_sends_and_what_is_out_is_waited_for_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with started(NOBODY | {"delivery.timeout.ms": "1000", "linger.ms": "0"}) as producer:
        first = asyncio.create_task(send(producer))
        await asyncio.sleep(0.5)
        second = asyncio.create_task(send(producer))
        with pytest.raises(SendTimedOut):
            await first
        third = asyncio.create_task(send(producer))
        with pytest.raises(SendTimedOut):
            await second
        begin = asyncio.get_running_loop().time()
        with pytest.raises(SendTimedOut):
            await third
        took = asyncio.get_running_loop().time() - begin

    assert took > 0.9  # the whole of its time-out: it was not with a client yet
    assert "another client takes over" in caplog.text


async def test_a_record_that_the_client_calls_written_without_an_offset_is_not_taken_for_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = MockCluster(group_wait_ms=0)
    properties = {"bootstrap.servers": cluster.bootstrap_servers(), "enable.idempotence": "true"}
    async with started(properties) as producer:
        assert await send(producer, b"1") == 0
        refuse_next(cluster, KafkaError.DUPLICATE_SEQUENCE_NUMBER)
        with pytest.raises(SendUnproven, match=r"topic 'orders', key b'k'.*no offset.*send it again"):
            await send(producer, b"2")
        assert await send(producer, b"2") == 1  # nobody had written it

    assert "another client takes over" in caplog.text


PRODUCE = 0


def refuse_next(cluster: MockCluster, code: int) -> None:
    """The next request to write is refused, and nothing is written."""
    push = cluster._library.rd_kafka_mock_push_request_errors_array
    push.argtypes = [ctypes.c_void_p, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int)]
    push(cluster._cluster, PRODUCE, 1, (ctypes.c_int * 1)(code))
