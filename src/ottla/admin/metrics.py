"""Every metric, and how it is read from the service's figures when somebody scrapes.

Rules of this file:

- A label is a listener's name or one of few known words. Keys, ids and offsets make a series
  of every record, and tell strangers what is in them.
- A name is for ever: dashboards and alerts hold it.
- What is not known has no sample. A zero would be believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ottla.core.figures import Distribution, ListenerFigures, ServiceFigures

if TYPE_CHECKING:  # an extra
    from prometheus_client import Metric as Family

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of the text that every Prometheus reads; our names need nothing newer."""

Value = float | Distribution | None
Sample = tuple[Sequence[str], Value]
"""The labels' values, and what was measured; None: it is not known."""


class Metric(NamedTuple):
    """One metric: what it is called, what it is, and where its samples come from."""

    name: str
    kind: str
    labels: tuple[str, ...]
    description: str
    samples: Callable[[ServiceFigures], Iterable[Sample]]


def _of_listeners(
    name: str, kind: str, description: str, value: Callable[[ListenerFigures], Value]
) -> Metric:
    def samples(figures: ServiceFigures) -> Iterator[Sample]:
        return (([listener.listener], value(listener)) for listener in figures.listeners)

    return Metric(f"ottla_listener_{name}", kind, ("listener",), description, samples)


def _outcomes(figures: ServiceFigures) -> Iterator[Sample]:
    for listener in figures.listeners:
        work = listener.work
        yield (listener.listener, "succeeded"), work.succeeded
        yield (listener.listener, "duplicate"), work.duplicates
        yield (listener.listener, "skipped"), work.skipped
        yield (listener.listener, "dead_lettered"), work.dead_lettered
        yield (listener.listener, "forwarded"), work.forwarded


def _stopped_keys(figures: ServiceFigures) -> Iterator[Sample]:
    if figures.outbox is not None:
        yield (), figures.outbox.stopped_keys


def _shards(figures: ServiceFigures) -> Iterator[Sample]:
    if figures.outbox is not None:
        yield (), figures.outbox.shards


GAUGE, COUNTER, HISTOGRAM = "gauge", "counter", "histogram"

METRICS = (
    Metric("ottla_ready", GAUGE, (), "1 when /readyz answers 200, else 0", lambda of: [((), of.is_ready)]),
    _of_listeners(
        "lag_records",
        GAUGE,
        "offsets from the lowest unfinished record to the end of the log, over this process's partitions",
        lambda of: of.source.lag,
    ),
    _of_listeners(
        "buffered_records",
        GAUGE,
        "records polled and not ended, those in flight and in back-off included",
        lambda of: of.work.buffered,
    ),
    _of_listeners(
        "in_flight_records",
        GAUGE,
        "records whose handler runs, or that are being written to another topic",
        lambda of: of.work.in_flight,
    ),
    _of_listeners(
        "backing_off_records",
        GAUGE,
        "records that wait for their next attempt, on a retry topic for their time",
        lambda of: of.work.backing_off,
    ),
    _of_listeners(
        "held_back_records",
        GAUGE,
        "records whose dead letters the flood guard holds back",
        lambda of: of.work.held_back,
    ),
    _of_listeners(
        "oldest_unfinished_age_seconds",
        GAUGE,
        "how long ago the oldest unfinished record was polled; 0 when there is none",
        lambda of: of.work.oldest_s,
    ),
    _of_listeners(
        "stopped_partitions",
        GAUGE,
        "partitions that go on only when somebody mends something; /readyz tells which and what",
        lambda of: of.work.stopped_partitions,
    ),
    Metric(
        "ottla_listener_records_total",
        COUNTER,
        ("listener", "outcome"),
        "records that have ended: succeeded, duplicate, skipped, dead_lettered, forwarded (to a retry topic)",
        _outcomes,
    ),
    _of_listeners(
        "retries_total", COUNTER, "failed attempts that were followed by another", lambda of: of.work.retried
    ),
    _of_listeners(
        "conflicts_total",
        COUNTER,
        "transactions that were given up for another's sake (deadlock, serialization, lock) and run again",
        lambda of: of.work.conflicts,
    ),
    _of_listeners(
        "guard_trips_total",
        COUNTER,
        "how often the flood guard began to hold dead letters back",
        lambda of: of.work.guard_trips,
    ),
    _of_listeners(
        "pauses_total",
        COUNTER,
        "how often the fetching of a partition, or of all of them, was paused",
        lambda of: of.source.pauses,
    ),
    _of_listeners(
        "rebalances_total",
        COUNTER,
        "how often the group gave partitions to this process, or took some; one rebalance may do both",
        lambda of: of.source.rebalances,
    ),
    _of_listeners(
        "handler_duration_seconds",
        HISTOGRAM,
        "how long each call of the handler took, its transaction included",
        lambda of: of.work.handler,
    ),
    _of_listeners(
        "commit_duration_seconds",
        HISTOGRAM,
        "how long the broker took to acknowledge committed offsets",
        lambda of: of.source.commits,
    ),
    Metric(
        "ottla_outbox_leading",
        GAUGE,
        (),
        "how many of the 16 shards of the outbox this process relays; all processes together, all of them",
        _shards,
    ),
    Metric(
        "ottla_outbox_stopped_keys",
        GAUGE,
        (),
        "keys that wait behind a record of the outbox that was refused; whoever leads their shards knows",
        _stopped_keys,
    ),
)


def exposition(figures: ServiceFigures) -> bytes:
    """`figures` as Prometheus reads them. Raises ImportError without `ottla[metrics]`."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(figures))
    return generate_latest(registry)


class _Collector:
    """One scrape's figures, in the shape that the library asks for."""

    def __init__(self, figures: ServiceFigures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Family]:
        for metric in METRICS:
            yield _family(metric, self._figures)


def _family(metric: Metric, figures: ServiceFigures) -> Family:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    name, labels, told = metric.name, metric.labels, metric.description
    samples = [(values, value) for values, value in metric.samples(figures) if value is not None]
    if metric.kind == HISTOGRAM:
        histogram = HistogramMetricFamily(name, told, labels=labels)
        for values, value in samples:
            assert isinstance(value, Distribution)  # noqa: S101  (the table says so)
            histogram.add_metric(values, value.cumulative(), value.sum_s)
        return histogram
    family = (CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily)(name, told, labels=labels)
    for values, value in samples:
        assert not isinstance(value, Distribution)  # noqa: S101  (the same)
        family.add_metric(values, value)
    return family
