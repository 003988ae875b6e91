"""Joins the parts of one listener: an engine for its topic, one for each retry topic, one for replays.

They share handler, inbox and settlement. Each reads by a consumer of its own, so that a
record that waits on one topic holds up none of another.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import NamedTuple

from ottla.core.classify import Fatal, is_fatal
from ottla.core.dead_letters import DeadLetterTopic
from ottla.core.detours import Road
from ottla.core.figures import Histogram
from ottla.core.guard import GuardState
from ottla.core.offsets import CommitPolicy
from ottla.core.pacing import BufferLimits
from ottla.core.retry_topics import RetryTopics
from ottla.core.start_offsets import Offsets
from ottla.core.topology import dead_letter_group, dead_letter_topic, replay_group, retry_group
from ottla.errors import Unavailable
from ottla.listener import ListenerSpec, Parameters
from ottla.ports import Cluster, GroupMember, Inbox, Producer, SourcePolicy
from ottla.runtime.engine import Engine, EnginePolicy
from ottla.runtime.invoker import Call, Invoker
from ottla.runtime.lifecycle import Health, LoopClock
from ottla.runtime.settlement import Settlement
from ottla.serde.codecs import Codecs, FramedReader
from ottla.settings import Settings
from ottla.template import KafkaTemplate
from ottla.wiring import destinations

MOST_THREADS = 32
_LOOK_FOR_REPLAYS_S = 30.0
_ALL_KEPT = Offsets(start="earliest")
"""For topics that only we write: what was written before we first came to read it is ours too."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all listeners of an app work with."""

    cluster: Cluster
    group: str
    producer: Producer
    template: KafkaTemplate
    codecs: Codecs
    health: Health
    fatal: Fatal
    on_fatal: Callable[[BaseException], None]


class Reader(NamedTuple):
    """An engine, and the group member that it reads by."""

    engine: Engine
    source: GroupMember


class Listening:
    """One listener of an app, about to run."""

    def __init__(
        self,
        spec: ListenerSpec,
        parameters: Parameters,
        shared: Shared,
        *,
        inbox: Inbox | None,
        threads: Executor | None,
    ) -> None:
        cluster = shared.cluster
        # Of the declared name: the inbox still knows it when the topic or the function is renamed.
        self.name = listener_name(spec, shared.group)
        self._spec = spec
        self._shared = shared
        self._group = shared.group
        self._destinations = destinations(spec, cluster.settings, shared.group)
        self._clock = cluster.clock or LoopClock(asyncio.get_running_loop())
        self._partitions: dict[str, int] = {}
        self._engines: list[Engine] = []
        reader = shared.codecs.reader(spec.topic, parameters.annotation)
        call = Call(
            spec.function,
            is_async=spec.is_async,
            decode=None if isinstance(reader, FramedReader) else reader,
            read=reader if isinstance(reader, FramedReader) else None,
            payload=parameters.payload,
            record=parameters.record,
            transaction=parameters.transaction,
            given={parameters.template: shared.template} if parameters.template else None,
        )
        self._invoke = Invoker(
            self.name,
            call,
            is_fatal=self._is_fatal,
            inbox=inbox,
            threads=threads,
        )
        self._settlement = Settlement(
            self.name,
            self._destinations,
            partitions=self._partitions,
            producer=shared.producer,
            inbox=inbox,
            clock=self._clock,
        )
        self.readers = tuple(self._readers())
        """Of the topics that are there from the start; none has joined its group yet."""

    def _is_fatal(self, error: BaseException) -> bool:
        """A handler of dead letters knows no fatal error: there is nowhere else for them to go."""
        if self._spec.is_dlt_handler:
            return False
        return is_fatal(error, listener=self._spec.fatal, app=self._shared.fatal)

    async def look_for_topics(self) -> None:
        """Raise an `Unavailable` for what is missing of the topics that the listener needs."""
        topics = [self._read_topic, *self._destinations.beside]
        self._partitions.update(await self._shared.cluster.partitions(topics))

    def _readers(self) -> Iterator[Reader]:
        name, spec = self.name, self._spec
        if spec.is_dlt_handler:
            yield self._reader(name, self._read_topic, dead_letter_group(self._group), Road.DEAD_LETTER)
            return
        yield self._reader(name, self._read_topic, self._group, Road.MAIN)
        for stage in self._destinations.stages:
            yield self._reader(
                f"{name}{stage.suffix}",
                self._destinations.of_stage(stage),
                retry_group(self._group, stage.suffix),
                Road.RETRY,
            )

    async def replays(self) -> Reader | None:
        """The reader of replays, once there is a topic for them; None where they come by another topic.

        `ottla dlt replay` makes that topic when it first has something to send: most
        listeners never need it, and its reader.
        """
        if self._spec.dead_letter is None or self._destinations.stages:
            return None
        topic = self._destinations.replay
        while not await self._is_there(topic):  # noqa: ASYNC110  (nobody tells us: it is made on the cluster)
            await asyncio.sleep(_LOOK_FOR_REPLAYS_S)
        return self._reader(f"{self.name}-replay", topic, replay_group(self._group), Road.REPLAY)

    async def _is_there(self, topic: str) -> bool:
        try:
            return await self._shared.cluster.has_topic(topic)
        except Unavailable:
            return False  # whoever reads the main topic tells why

    @property
    def topic(self) -> str:
        """What its topic is called on the cluster."""
        return self._destinations.topic

    @property
    def _read_topic(self) -> str:
        topic, settings = self._destinations.topic, self._shared.cluster.settings
        if self._spec.is_dlt_handler:
            return dead_letter_topic(topic, self._group, settings.kafka.naming)
        return topic

    def _reader(self, name: str, topic: str, group: str, road: Road) -> Reader:
        spec, shared = self._spec, self._shared
        settings = shared.cluster.settings
        policy = _source_policy(spec.offsets if road is Road.MAIN else _ALL_KEPT, settings)
        source = shared.cluster.member(topic, policy, group=group, name=name)
        engine = Engine(
            name,
            EnginePolicy(
                concurrency=places(spec),
                order=spec.order,
                retry=spec.retry,
                has_dead_letter=spec.dead_letter is not None,
                window=settings.kafka.window,
                is_cancellable=spec.is_async,
                road=road,
                group=self._group,
            ),
            source=source,
            invoke=self._invoke,
            settlement=self._settlement,
            guard=GuardState((spec.dead_letter or DeadLetterTopic()).guard),
            health=shared.health,
            clock=self._clock,
            chance=random.random,
            on_fatal=shared.on_fatal,
            handler_durations=Histogram() if _is_observed(settings) else None,
            succeeded_beside=lambda: sum(each.succeeded() for each in self._engines if each is not engine),
        )
        self._engines.append(engine)
        return Reader(engine, source)


def listener_name(spec: ListenerSpec, group: str) -> str:
    """How a listener of `group` is called, in its inbox rows too."""
    return f"{group}/{spec.topic.name}{'-dlt' if spec.is_dlt_handler else ''}"


def most_readers(spec: ListenerSpec) -> int:
    """By how many engines its records may come: of its topic, of its retry topics, of replays."""
    return 1 + (len(spec.retry.stages) if isinstance(spec.retry, RetryTopics) else 1)


def places(spec: ListenerSpec) -> int:
    """How many records run at once: no more than there are threads, so that none waits for one."""
    return spec.concurrency if spec.is_async else min(spec.concurrency, MOST_THREADS)


def _source_policy(offsets: Offsets, settings: Settings) -> SourcePolicy:
    kafka = settings.kafka
    return SourcePolicy(
        offsets=replace(offsets, start=offsets.start or kafka.start),
        drain_s=kafka.drain_s,
        limits=BufferLimits(records=kafka.buffered_records, bytes=kafka.buffered_mb * 1024 * 1024),
        commits=CommitPolicy(records=kafka.commit_records, interval_s=kafka.commit_interval_s),
        is_observed=_is_observed(settings),
    )


def _is_observed(settings: Settings) -> bool:
    """Whether anybody can ask for what would cost something to measure."""
    return settings.admin_port is not None
