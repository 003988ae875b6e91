"""What a probe, a load balancer and Prometheus are told by a service that works on real records."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial

import pytest

from ottla import App, InPlace, Record, Skip, Topic
from ottla.errors import SettingsError
from tests.conftest import NewTopic
from tests.support.apps import committed, produce, running, settings_for, until
from tests.support.failing import dead_letters, topic_with_dead_letters
from tests.support.http import Reply, admin_port, ask, samples
from tests.support.kafka_server import Kafka


async def asked(app: App, path: str) -> Reply:
    return await asyncio.to_thread(ask, admin_port(app), path)


async def has_lag(app: App, records: int) -> bool:
    told = samples((await asked(app, "/metrics")).body)
    return [n for (name, _), n in told.items() if name == "ottla_listener_lag_records"] == [records]


async def test_readyz_names_a_topic_that_is_missing_until_it_is_there(kafka: Kafka, unique: str) -> None:
    app = App("billing", settings=settings_for(kafka, OTTLA_ADMIN_PORT="0"))

    @app.listener(Topic(unique, str), dead_letter=False)
    async def handle(value: str) -> None: ...

    try:
        await app.start()
        at_once = await asked(app, "/readyz")
        await until(
            lambda: "topics apply" in app.unready()[f"billing/{unique} start"], what="it has been looked for"
        )
        missing = await asked(app, "/readyz")
        livez_meanwhile = await asked(app, "/livez")
        metrics_meanwhile = await asked(app, "/metrics")
        kafka.create_topic(unique)
        await until(lambda: not app.unready(), what="it is there")
        ready = await asked(app, "/readyz")
    finally:
        await app.stop()

    assert at_once.status == missing.status == 503
    assert missing.json()["ready"] is False
    assert "ottla topics apply" in missing.json()["reasons"][f"billing/{unique} start"]
    assert livez_meanwhile.status == 200
    assert samples(metrics_meanwhile.body) == {("ottla_ready", ()): 0}
    assert (ready.status, ready.json()) == (200, {"ready": True, "reasons": {}})


async def test_metrics_count_what_was_handled_retried_and_given_up_and_tell_of_no_record(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = topic_with_dead_letters(kafka, new_topic, partitions=2)
    app = App("billing", settings=settings_for(kafka, OTTLA_ADMIN_PORT="0"))
    listener, ids = f"billing/{topic}", list[str]()
    goes_on = asyncio.Event()

    @app.listener(Topic(topic, str), retry=InPlace(attempts=3, first_s=0.1, max_s=0.1))
    async def handle(value: str, record: Record) -> None:
        ids.append(record.event_id)
        match value:
            case "poison":
                raise ValueError
            case "test":
                raise Skip("a test")
            case "slow":
                await goes_on.wait()

    sent = [("customer-17", "good")] * 20 + [("customer-18", "poison"), ("customer-19", "test")]
    produce(kafka, topic, sent)
    async with running(app):
        await until(lambda: sum(committed(kafka, "billing", topic).values()) == 22, what="all is committed")
        produce(kafka, topic, [("customer-20", "slow"), ("customer-20", "good")])
        await until(app.under_way, what="one runs")
        await until(partial(has_lag, app, 2), what="the lag is read, once a second")
        metrics = await asked(app, "/metrics")
        goes_on.set()
        await until(lambda: sum(committed(kafka, "billing", topic).values()) == 24, what="all is committed")
        await until(partial(has_lag, app, 0), what="the lag is read again")
        at_last = samples((await asked(app, "/metrics")).body)
    letters = dead_letters(kafka, topic)

    told = samples(metrics.body)
    outcomes = {labels[1]: int(n) for (name, labels), n in told.items() if name.endswith("_records_total")}
    one = {
        name.removeprefix("ottla_listener_"): n for (name, labels), n in told.items() if labels == (listener,)
    }
    assert len(letters) == 1
    assert outcomes == {"succeeded": 20, "duplicate": 0, "skipped": 1, "dead_lettered": 1, "forwarded": 0}
    assert (one["retries_total"], one["handler_duration_seconds_count"]) == (2, 24)
    assert (one["in_flight_records"], one["buffered_records"], one["lag_records"]) == (1, 2, 2)
    assert one["backing_off_records"] == one["stopped_partitions"] == one["pauses_total"] == 0
    assert 0 < one["oldest_unfinished_age_seconds"] < 30
    assert one["rebalances_total"] >= 1
    assert one["commit_duration_seconds_count"] >= 1
    assert 0 < one["commit_duration_seconds_sum"] < 30
    assert told["ottla_ready", ()] == 1
    assert at_last["ottla_listener_oldest_unfinished_age_seconds", (listener,)] == 0
    assert at_last["ottla_listener_records_total", (listener, "succeeded")] == 22
    labels = {value for _, values in told for value in values}
    buckets = {value for value in labels if value == "+Inf" or value.replace(".", "").isdigit()}
    assert labels - buckets == {listener, *outcomes}
    assert not any(text in metrics.body for text in ("customer", "poison", *ids))


async def test_an_event_loop_that_is_busy_keeps_nobody_from_an_answer(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = new_topic()
    app = App("billing", settings=settings_for(kafka, OTTLA_ADMIN_PORT="0"))
    replies = list[Reply]()
    is_busy, is_over, were_in_time = threading.Event(), threading.Event(), list[bool]()

    @app.listener(Topic(topic, str), dead_letter=False)
    async def handle(value: str) -> None:
        is_busy.set()
        time.sleep(2)  # noqa: ASYNC251  (the fault that this is about)
        is_over.set()

    def ask_meanwhile(port: int) -> None:
        is_busy.wait()
        for path in ("/livez", "/readyz", "/metrics"):
            replies.append(ask(port, path))
        were_in_time.append(not is_over.is_set())

    async with running(app):
        asking = threading.Thread(target=ask_meanwhile, args=[admin_port(app)])
        asking.start()
        produce(kafka, topic, [("key", "any")])
        await until(is_over.is_set, what="the handler has ended")
        asking.join()

    assert were_in_time == [True]
    assert [reply.status for reply in replies] == [200, 200, 200]
    assert samples(replies[-1].body)["ottla_listener_in_flight_records", (f"billing/{topic}",)] == 1


async def test_a_port_that_is_taken_stops_the_start_and_is_free_once_its_owner_has_stopped(
    kafka: Kafka, new_topic: NewTopic
) -> None:
    topic = new_topic()
    first = App("billing", settings=settings_for(kafka, OTTLA_ADMIN_PORT="0"))

    @first.listener(Topic(topic, str), dead_letter=False)
    async def handle(value: str) -> None: ...

    async with running(first):
        port = admin_port(first)
        second = App("refunds", settings=settings_for(kafka, OTTLA_ADMIN_PORT=str(port)))
        with pytest.raises(SettingsError, match=f"OTTLA_ADMIN_PORT .* {port} is taken on 127.0.0.1"):
            await second.start()
        await second.stop()
    async with running(second):
        status = (await asked(second, "/readyz")).status
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(ask, port, "/livez")

    assert status == 200


async def test_a_service_that_is_stopping_is_alive_and_not_ready(kafka: Kafka, new_topic: NewTopic) -> None:
    topic = new_topic()
    app = App("billing", settings=settings_for(kafka, OTTLA_ADMIN_PORT="0"))
    begun, goes_on = asyncio.Event(), asyncio.Event()

    @app.listener(Topic(topic, str), dead_letter=False)
    async def handle(value: str) -> None:
        begun.set()
        await goes_on.wait()

    produce(kafka, topic, [("key", "any")])
    async with running(app):
        await begun.wait()
        stopping = asyncio.ensure_future(app.stop())
        await asyncio.sleep(0)
        readyz, livez = await asked(app, "/readyz"), await asked(app, "/livez")
        goes_on.set()
        await stopping

    assert readyz.json() == {"ready": False, "reasons": {"billing": "is stopping"}}
    assert livez.status == 200
