"""The in-memory broker as authors of tests meet it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, overload

from ottla.core.topology import Naming, dead_letter_topic
from ottla.errors import SettingsError, WiringError
from ottla.ports import Connect, OutboxStatus
from ottla.records import Headers, SendResult
from ottla.serde.codecs import Codecs, FramedReader
from ottla.serde.schemas import SchemaNotKnown, Schemas
from ottla.settings import Settings, load_settings
from ottla.settings.model import BY_VARIABLE
from ottla.template import HeaderValues, KafkaTemplate
from ottla.testing.clock import ManualClock
from ottla.testing.cluster import InMemoryCluster
from ottla.testing.consumer_record import ConsumerRecord
from ottla.testing.group import Group
from ottla.testing.log import Topics
from ottla.testing.patience import Patience
from ottla.testing.producer import InMemoryProducer
from ottla.testing.registry import InMemoryRegistry
from ottla.testing.source import InMemorySource
from ottla.topics import Key, Topic

T = TypeVar("T")

_DEFAULTS = {
    "KAFKA_BOOTSTRAP_SERVERS": "localhost",  # asked for by the settings, and never looked at
    "KAFKA_DRAIN_S": "1",  # real seconds that a handler has left at the end of a test
}
_FOR_EVER = float("inf")
_JOIN_S = 10.0


class Application(Protocol):
    """What is asked of an `ottla.App`."""

    name: str

    async def start(self, *, fail_fast: bool | None = ..., connect: Connect = ...) -> None: ...
    async def stop(self) -> None: ...
    def unready(self) -> dict[str, str]: ...
    def under_way(self) -> list[str]: ...
    async def outbox(self) -> OutboxStatus: ...


class InMemoryBroker:
    """Topics, partitions and consumer groups in memory, for tests of apps: no server, no thread, no waiting.

    Engine, handlers, retries, dead letters and commits are those of production; only the
    edges are other ones. Topics are made when they are first asked for, with
    `partitions` partitions; `create_topic` makes others. Belongs to one event loop.

    Time stands still unless `settle` or `advance` turns `clock`: a retry in half a minute
    costs nothing. It shows what an app does with its records, not what Kafka does when
    brokers, networks or processes fail.
    """

    def __init__(self, *, partitions: int = 3) -> None:
        self.clock = ManualClock()
        self._topics = Topics(partitions)
        self._groups: dict[str, Group] = {}
        self._running: dict[Application, InMemoryCluster | None] = {}
        self._groups_of: dict[str, str] = {}  # by names of apps
        self._namings: dict[str, Naming] = {}  # by groups
        self._registry = InMemoryRegistry()
        schemas = Schemas(self._registry, auto_register=True)
        self._codecs = Codecs(schemas)
        # What may be JSON is sent as JSON: listeners read both, and apps have settings of their own.
        self._template = KafkaTemplate(
            InMemoryProducer(self._topics, self.clock), codecs=Codecs(schemas, has_registry=False)
        )

    # -- apps

    @asynccontextmanager
    async def run(self, *apps: Application, **environment: str) -> AsyncIterator[None]:
        """Run the apps; the block begins when they have their partitions, and they stop at its end.

        `environment` are settings by the names of their variables, such as
        `DATABASE_URL=…`; nothing is read from the process's environment or a file. An
        app made with `settings=` keeps those. Apps may be run again, and beside others;
        two members of a group are two `App` objects of one name.

        Raises:
            SettingsError: what `environment` says is unsound, or no setting.
            WiringError: listeners do not fit together; an app has settings of its own and
                `environment` has some as well; or an app runs already.
            Unavailable: the database is not there, or not migrated.
        """
        for app in apps:
            if app in self._running or apps.count(app) > 1:
                raise WiringError(
                    f"app {app.name!r} runs already: a second member is a second App of that name"
                )
        try:
            for app in apps:
                self._running[app] = None
                await app.start(fail_fast=True, connect=partial(self._connect, app, environment))
            await self._all_have_joined()
            yield
        finally:
            await asyncio.gather(*(app.stop() for app in apps))
            for app in apps:
                self._running.pop(app, None)

    async def settle(self, *, within_s: float = 5) -> None:
        """Return when everything has come to its end: nothing runs, nothing is due, all is committed.

        The clock jumps over back-off and whatever else waits for time. A handler that waits
        for something outside is waited for. What waits for neither stays: the records of
        a stopped partition.

        Raises:
            NotSettled: after `within_s` real seconds; says what has not ended.
        """
        await self._run_until(_FOR_EVER, within_s)

    async def advance(self, seconds: float, *, within_s: float = 5) -> None:
        """Let `seconds` pass on the clock, and return when everything has run that is due by then.

        For what must not happen before its time.

        Raises:
            NotSettled: after `within_s` real seconds; says what has not ended.
        """
        await self._run_until(self.clock.now() + seconds, within_s)

    # -- topics

    def create_topic(self, name: str, partitions: int) -> None:
        """Make a topic that shall have another number of partitions. Raises ValueError if it has one."""
        self._topics.create(name, partitions)

    async def send(
        self,
        topic: Topic[T] | str,
        value: T | None,
        *,
        key: Key = None,
        headers: HeaderValues | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        event_id: str | None = None,
    ) -> SendResult:
        """Send as some other service would; everything is as in `KafkaTemplate.send`."""
        return await self._template.send(
            topic,
            value,
            key=key,
            headers=headers,
            partition=partition,
            timestamp_ms=timestamp_ms,
            event_id=event_id,
        )

    @overload
    def records(self, topic: Topic[T]) -> list[ConsumerRecord[T]]: ...
    @overload
    def records(self, topic: str) -> list[ConsumerRecord[bytes]]: ...
    def records(self, topic: Topic[Any] | str) -> list[ConsumerRecord[Any]]:
        """All records of `topic`, in the order in which they were written, values as its type has them.

        A topic given by name has bytes. Raises `Undecodable` for a value that is none of the type's.
        """
        if isinstance(topic, Topic):
            return self._read(topic.name, self._decoder(topic))
        return self._read(topic, _raw)

    def dead_letters(self, group: Application | str, topic: Topic[Any] | str) -> list[ConsumerRecord[bytes]]:
        """What `group` has given up of `topic`, byte for byte; the headers say where it stood and why."""
        name = self._group_name(group)
        naming = self._namings.get(name, Naming.PER_GROUP)
        return self._read(dead_letter_topic(_name(topic), name, naming), _raw)

    def committed(self, group: Application | str, topic: Topic[Any] | str) -> dict[int, int]:
        """The offset that `group` reads next, of each partition of `topic` that it has committed."""
        offsets = self._group(self._group_name(group)).committed
        return {p.partition: offset for p, offset in sorted(offsets.items()) if p.topic == _name(topic)}

    # -- what stands behind

    def _connect(
        self, app: Application, environment: dict[str, str], name: str, given: Settings | None
    ) -> InMemoryCluster:
        """Fills `ports.Connect`."""
        if given is not None and environment:
            raise WiringError(
                f"app {name!r} was made with settings of its own: give it {', '.join(environment)} there, "
                "or make it without"
            )
        settings = given or _settings(name, environment)
        group = self._groups_of[name] = settings.kafka.group_id or name
        self._namings[group] = settings.kafka.naming
        cluster = InMemoryCluster(
            settings, topics=self._topics, group=self._group, clock=self.clock, registry=self._registry
        )
        self._running[app] = cluster
        return cluster

    def _group(self, name: str) -> Group:
        return self._groups.setdefault(name, Group(self._topics.partitions))

    def _group_name(self, group: Application | str) -> str:
        """An app's group is its name, unless its settings say otherwise."""
        if isinstance(group, str):
            return group
        return self._groups_of.get(group.name, group.name)

    def _decoder(self, topic: Topic[Any]) -> Callable[[bytes | None, Headers], Any]:
        reader = self._codecs.reader(topic, topic.type)
        if not isinstance(reader, FramedReader):
            return lambda value, _: reader(value)

        def decode(value: bytes | None, headers: Headers) -> Any:
            try:
                return reader.decode(value, headers)
            except SchemaNotKnown as unknown:
                unknown.learn_in_thread()
            return reader.decode(value, headers)

        return decode

    def _read(self, topic: str, decode: Callable[[bytes | None, Headers], Any]) -> list[ConsumerRecord[Any]]:
        return [ConsumerRecord[Any].of(record, decode) for record in self._topics.log(topic).written]

    # -- until there is nothing to do

    async def _run_until(self, until: float, within_s: float) -> None:
        """The clock moves only when nothing goes on without it, and no further than `until`."""
        patience = Patience(within_s)
        while True:
            await patience.turn(self._why_not)
            if self._under_way():
                continue
            if self.clock.jump(until):
                patience.renew()
            elif not await self._backlog() and not self._under_way():
                break
        if until < _FOR_EVER:
            self.clock.advance(until - self.clock.now())

    async def _all_have_joined(self) -> None:
        """And have their partitions, unless a handler holds that up: a test may keep it from ending."""
        patience = Patience(_JOIN_S)
        while self._joining() or (self._rebalances() and not self._handled()):
            await patience.turn(self._why_not)

    def _joining(self) -> list[str]:
        return [f"{member.name}: joining its group" for member in self._members() if not member.has_joined]

    def _under_way(self) -> list[str]:
        """What goes on without the clock."""
        reads = [f"{member.name}: records to read" for member in self._members() if member.is_reading]
        return self._handled() + self._rebalances() + reads

    def _handled(self) -> list[str]:
        return [each for app in self._running for each in app.under_way()]

    def _rebalances(self) -> list[str]:
        return [f"group {name}: a rebalance" for name, group in self._groups.items() if group.is_rebalancing]

    def _members(self) -> list[InMemorySource]:
        return [member for cluster in self._running.values() if cluster for member in cluster.members]

    async def _backlog(self) -> int:
        """How many records wait in the outboxes of the apps."""
        backlog = 0
        for app, cluster in self._running.items():
            if cluster is not None and cluster.settings.database_url is not None:
                with contextlib.suppress(WiringError):  # a database that the app has no use for
                    backlog += (await app.outbox()).backlog
        return backlog

    def _why_not(self) -> str:
        """What has not ended, and the clock: far ahead it tells of retries without end."""
        reasons = [f"{subject}: {why}" for app in self._running for subject, why in app.unready().items()]
        told = self._joining() + self._under_way() + reasons or ["something that waits in time, or an outbox"]
        return f"{'; '.join(told)}; the clock stands at {self.clock.now():g} s"


def _raw(value: bytes | None, _headers: Headers) -> bytes | None:
    return value


def _settings(app_name: str, environment: Mapping[str, str]) -> Settings:
    unknown = [name for name in environment if name not in BY_VARIABLE and not name.startswith("TOPICS__")]
    if unknown:
        raise SettingsError(tuple(f"{name} is no setting; `ottla config` lists them" for name in unknown))
    return load_settings(app_name, environ={**_DEFAULTS, **environment}, file=Path(os.devnull))


def _name(topic: Topic[Any] | str) -> str:
    return topic if isinstance(topic, str) else topic.name
