"""What Prometheus reads, from figures as a service tells them."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from ottla.admin.metrics import COUNTER, METRICS, exposition
from ottla.core.figures import (
    Histogram,
    ListenerFigures,
    OutboxFigures,
    ServiceFigures,
    SourceFigures,
    WorkFigures,
)
from tests.support.http import samples

LISTENER = "billing/orders"


def figures(*, lag: int | None = 7, outbox: OutboxFigures | None = None) -> ServiceFigures:
    handler, commits = Histogram(), Histogram()
    for seconds in (0.002, 0.002, 100.0):
        handler.observe(seconds)
    commits.observe(0.004)
    work = WorkFigures(
        in_flight=1,
        backing_off=2,
        buffered=3,
        oldest_s=4.5,
        stopped_partitions=5,
        succeeded=6,
        duplicates=7,
        skipped=8,
        dead_lettered=9,
        forwarded=13,
        retried=10,
        held_back=14,
        conflicts=16,
        guard_trips=15,
        handler=handler.now(),
    )
    source = SourceFigures(lag, pauses=11, rebalances=12, commits=commits.now())
    return ServiceFigures(is_ready=True, listeners=[ListenerFigures(LISTENER, work, source)], outbox=outbox)


def test_every_figure_of_a_listener_is_told_under_its_name() -> None:
    told = samples(exposition(figures()).decode())

    single = {
        name.removeprefix("ottla_listener_"): value
        for (name, labels), value in told.items()
        if labels == (LISTENER,) and not name.endswith(("_sum", "_count"))
    }
    outcomes = {labels[1]: value for (name, labels), value in told.items() if name.endswith("_records_total")}
    assert single == {
        "lag_records": 7,
        "in_flight_records": 1,
        "backing_off_records": 2,
        "buffered_records": 3,
        "held_back_records": 14,
        "conflicts_total": 16,
        "guard_trips_total": 15,
        "oldest_unfinished_age_seconds": 4.5,
        "stopped_partitions": 5,
        "retries_total": 10,
        "pauses_total": 11,
        "rebalances_total": 12,
    }
    assert outcomes == {"succeeded": 6, "duplicate": 7, "skipped": 8, "dead_lettered": 9, "forwarded": 13}
    assert told["ottla_ready", ()] == 1


def test_durations_are_told_in_buckets_with_their_sum_and_count() -> None:
    told = samples(exposition(figures()).decode())

    def bucket(name: str, bound: str) -> float:
        return told[f"ottla_listener_{name}_duration_seconds_bucket", (bound, LISTENER)]

    assert [bucket("handler", bound) for bound in ("0.001", "0.0025", "60.0", "+Inf")] == [0, 2, 2, 3]
    assert told["ottla_listener_handler_duration_seconds_sum", (LISTENER,)] == 100.004
    assert told["ottla_listener_handler_duration_seconds_count", (LISTENER,)] == 3
    assert [bucket("commit", bound) for bound in ("0.0025", "0.005", "+Inf")] == [0, 1, 1]


def test_what_is_not_known_and_what_is_not_there_has_no_sample() -> None:
    told = samples(exposition(figures(lag=None)).decode())

    assert {name for name, _ in told if "lag" in name or "outbox" in name} == set()


def test_the_outbox_is_told_where_there_is_one() -> None:
    told = samples(exposition(figures(outbox=OutboxFigures(shards=5, stopped_keys=2))).decode())

    assert told["ottla_outbox_leading", ()] == 5
    assert told["ottla_outbox_stopped_keys", ()] == 2


def test_a_service_without_listeners_tells_whether_it_is_ready() -> None:
    told = samples(exposition(ServiceFigures(is_ready=False)).decode())

    assert told == {("ottla_ready", ()): 0}


def test_names_keep_the_conventions_and_the_table_tells_what_is_exposed() -> None:
    text = exposition(figures(outbox=OutboxFigures(shards=0, stopped_keys=0))).decode()

    exposed = {
        f"{family.name}_total" if family.type == COUNTER else family.name: (family.type, family.documentation)
        for family in text_string_to_metric_families(text)
    }
    assert exposed == {metric.name: (metric.kind, metric.description) for metric in METRICS}
    assert all(re.fullmatch(r"ottla_[a-z_]+[a-z]", name) for name in exposed)
    assert all(name.endswith("_total") == (kind == COUNTER) for name, (kind, _) in exposed.items())
