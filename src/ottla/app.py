"""The application: declares listeners, and alone builds the edges and joins them to the runtime.

Over 500 lines because a third of it is what authors read, and the rest joins parts: where
each edge meets the runtime is to be seen in one place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ottla.assembly import Listening, Reader, Shared, listener_name, most_readers, places
from ottla.core.access import Access
from ottla.core.backoff import InPlace, exponential_s
from ottla.core.classify import NOTHING_IS_FATAL, Fatal
from ottla.core.dead_letters import DeadLetterTopic
from ottla.core.figures import ListenerFigures, ServiceFigures
from ottla.core.lanes import Order
from ottla.core.liveness import Pulse
from ottla.core.retry_topics import RetryTopics
from ottla.core.schemas import WantedSchema, subject_of
from ottla.core.start_offsets import Offsets
from ottla.core.topology import WantedTopic
from ottla.errors import BrokerUnavailable, Unavailable, WiringError
from ottla.kafka.admin import KafkaAdmin
from ottla.kafka.cluster import KafkaCluster
from ottla.kafka.properties import client_properties
from ottla.listener import ListenerSpec, Parameters
from ottla.ports import Cluster, Connect, GroupMember, OutboxStatus, Producer, SchemaRegistry
from ottla.records import TopicPartition
from ottla.registry import registry_of
from ottla.runtime.counts import Counts, total
from ottla.runtime.engine import Engine
from ottla.runtime.lifecycle import Health, supervise
from ottla.serde.codecs import Codecs
from ottla.serde.schemas import Schemas
from ottla.settings import Settings, load_settings
from ottla.template import KafkaTemplate
from ottla.topics import Topic
from ottla.transaction import Transaction
from ottla.wiring import Wiring

if TYPE_CHECKING:  # an HTTP server, and an extra that costs 0.3 s of import: only who uses them pays it
    from ottla.admin import AdminEndpoint
    from ottla.storage import Storage

F = TypeVar("F", bound=Callable[..., Any])

_log = logging.getLogger("ottla")

_WITHOUT_END = 10**9
"""Attempts: five times a second, it would last for years."""
_RELAY_PART = 0.5
"""Of what is left of the drain bound once the listeners have stopped."""


class App:
    """A service's listeners and its template. `name` is also the consumer group.

    `topics` are those that it sends to: `ottla topics` sees to them beside those of the
    listeners, and one that is missing keeps the app unready. Others may be sent to as well.

    `fatal` are exceptions that no retry can cure, in any listener; where a listener names the
    same class, its word counts.

    Nothing is read or opened before `run`, `start` or `async with`. A running app belongs
    to one event loop; once stopped it may be started again, on another one as well.
    """

    def __init__(
        self,
        name: str,
        *,
        topics: Iterable[Topic[Any]] = (),
        fatal: Fatal | tuple[type[BaseException], ...] = (),
        settings: Settings | None = None,
    ) -> None:
        self.name = name
        self._fatal = _fatal(fatal)
        self._given_settings = settings
        self._topics = tuple(topics)
        self._specs: list[ListenerSpec] = []
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Know nothing of an earlier run."""
        self._cluster: Cluster | None = None
        self._health = Health()
        self._engines: list[Engine] = []
        self._sources: list[GroupMember] = []
        self._threads: list[ThreadPoolExecutor] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._joining: list[asyncio.Task[None]] = []
        self._producer: Producer | None = None
        self._template: KafkaTemplate | None = None
        self._schemas: Schemas | None = None
        self._storage: Storage | None = None
        self._admin_endpoint: AdminEndpoint | None = None
        self._passage: str | None = None
        self._failure: BaseException | None = None
        self._has_failed = asyncio.Event()
        self._stopping: asyncio.Task[None] | None = None

    # -- declaring

    def listener(
        self,
        topic: Topic[Any],
        *,
        concurrency: int = 64,
        order: Order = Order.KEY,
        retry: InPlace | RetryTopics | None = None,
        fatal: Fatal | tuple[type[BaseException], ...] = (),
        dead_letter: DeadLetterTopic | bool = True,
        offsets: Offsets | None = None,
    ) -> Callable[[F], F]:
        """Handle every record of `topic` at least once, in order per key, `concurrency` keys at once.

        The function stays a function that a test can call. Its parameters are filled
        by annotation: the event (a pydantic model, dataclass, TypedDict, `bytes`,
        `str`; with `| None` also tombstones), and where wanted `Record`,
        `KafkaTemplate` and `Transaction`. A `def` runs in a thread. With a
        `Transaction`, what it writes takes place once per event id.

        Args:
            topic: what to listen to; its key does not matter here.
            concurrency: how many lanes may run at once. Threads of `def` handlers: at most 32.
            order: what keeps its order: records of a key (default), of a partition, or none.
                A null key is ordered by nothing under `Order.KEY`.
            retry: how a failed record is tried again; `InPlace()` by default: five attempts, and only
                its key waits. With `RetryTopics` nothing waits: a failed record comes back by a
                topic, and later ones of its key pass it.
            fatal: exceptions that no retry can cure; their records are dead-lettered at once.
            dead_letter: whether a record that is given up goes to the dead-letter topic, and what
                is special about it. If not, its partition stops at it, unready, until the
                service is started anew.
            offsets: where a partition begins whose committed offset does not tell; `Offsets()` by
                default: by the setting where there is none, and not at all where its record is gone.
        """

        def declare(function: F) -> F:
            self._specs.append(
                ListenerSpec(
                    topic,
                    function,
                    concurrency=concurrency,
                    order=order,
                    retry=InPlace() if retry is None else retry,
                    fatal=_fatal(fatal),
                    dead_letter=(DeadLetterTopic() if dead_letter else None)
                    if isinstance(dead_letter, bool)
                    else dead_letter,
                    offsets=Offsets() if offsets is None else offsets,
                )
            )
            return function

        return declare

    def dlt_handler(self, topic: Topic[Any]) -> Callable[[F], F]:
        """Handle the dead letters of this app's listener of `topic`, at least once; not those with a route.

        The function takes a `Record`, the dead letter as it stands, and may take a
        `KafkaTemplate` and a `Transaction`. When it fails it is tried again, at last every 30 s,
        without end; only its key waits. The consumer group is `<group>-dlt`. Who inspects and replays
        dead letters by hand needs none.

        Source: Spring Kafka `@DltHandler`; there a failing one writes the record to the same topic again.
        """

        def declare(function: F) -> F:
            self._specs.append(
                ListenerSpec(
                    topic,
                    function,
                    concurrency=64,
                    order=Order.KEY,
                    retry=InPlace(attempts=_WITHOUT_END),
                    fatal=NOTHING_IS_FATAL,
                    dead_letter=None,
                    offsets=Offsets(),
                    is_dlt_handler=True,
                )
            )
            return function

        return declare

    @property
    def template(self) -> KafkaTemplate:
        """Sends to topics; there once the app has started.

        Raises:
            WiringError: it has not.
        """
        if self._template is None:
            raise WiringError(f"app {self.name!r} has not started: use `async with app:` or `ottla run`")
        return self._template

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """One database transaction: what is written and what is sent through it take place together, or not.

        For what no record asks for, such as an HTTP request:

            async with app.transaction() as tx:
                tx.session.add(order)
                await tx.send(ORDERS, order.created())

        Commits when the block ends, rolls back when it raises. Events leave after the
        commit, also when Kafka is away now. It is not idempotent by itself: a request
        that is made twice writes twice, unless the tables or the caller see to it.

        Raises:
            WiringError: the app has not started, or has no DATABASE_URL.
            DatabaseUnavailable: PostgreSQL is to blame. If the answer to the COMMIT was
                lost, it may have taken place.
            TransactionConflict: another transaction was in the way; nothing took place, so run
                the block again.
            DatabaseNotMigrated: `ottla db upgrade` has not run.
        """
        storage = self._storage
        if storage is None:
            raise WiringError(
                f"app {self.name!r} has no transactions: set DATABASE_URL "
                "(postgresql://user:password@host/name), install ottla[postgres], and start the app first"
            )
        async with storage.transactions.begin() as transaction:
            yield transaction
        if transaction.outgoing.records:
            storage.relay.nudge()

    # -- running

    async def start(self, *, fail_fast: bool | None = None, connect: Connect = KafkaCluster.connect) -> None:
        """Begin to send and to listen. Returns at once; what is not there yet is waited for.

        With `fail_fast` (default: the setting) it returns once everything outside was
        found, and raises an `Unavailable` for what was not. `connect` makes what the app
        runs on: Kafka, unless a test has `ottla.testing` put something else there.

        Raises:
            SettingsError: settings are missing or unsound, all of them in one error; or
                the port of OTTLA_ADMIN_PORT cannot be had.
            WiringError: listeners do not fit together, all problems in one error; or the
                app runs already, or was not stopped after a start that failed.
        """
        if self._cluster is not None:
            raise WiringError(f"app {self.name!r} is started already: stop it first, or make a second App")
        self._begin_anew()
        self._cluster = cluster = connect(self.name, self._given_settings)
        self._passage = "is starting"
        settings = cluster.settings
        codecs = self._codecs(cluster)
        wiring = self._wiring(settings)
        parameters = wiring.check(codecs)
        self._open_admin_endpoint(settings)
        self._producer = cluster.producer(f"{self.name} producer", self._fail)
        await self._producer.start()
        self._template = KafkaTemplate(self._producer, topic_name=settings.topic_name, codecs=codecs)
        shared = Shared(
            cluster,
            wiring.group,
            self._producer,
            self._template,
            codecs,
            self._health,
            self._fatal,
            self._fail,
        )
        joins = []
        if any(found.transaction for found in parameters) or _may_use_database(settings):
            joins.append(await self._open_storage(shared, parameters))
        joins += [
            self._join(spec, found, shared) for spec, found in zip(self._specs, parameters, strict=True)
        ]
        if self._topics:
            joins.append(self._look_for_topics(cluster, codecs))
        if settings.fail_fast if fail_fast is None else fail_fast:
            for join in joins:
                await join.attempt()
        for join in joins:
            self._joining.append(
                supervise(join.until_there(), name=f"{join.name} start", on_crash=self._fail)
            )
        self._passage = None

    async def stop(self) -> None:
        """End within the drain bound: what was not finished then is redelivered. May be called twice.

        Who is cancelled while waiting for it hears of that when it has ended: given up half
        way it would leave members in the group that hold partitions and read nothing.
        """
        if self._cluster is None:
            return
        if self._stopping is None:
            stop = self._stop(self._cluster.settings)
            self._stopping = asyncio.get_running_loop().create_task(stop, name=f"{self.name} stop")
        await _to_its_end(self._stopping)

    async def _stop(self, settings: Settings) -> None:
        try:
            await self._end_all(settings)
        finally:
            self._stopping = None

    async def _end_all(self, settings: Settings) -> None:
        self._passage = "is stopping"
        tasks = self._joining + self._tasks
        self._joining, self._tasks = [], []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        clock = asyncio.get_running_loop().time
        deadline = clock() + settings.kafka.drain_s
        # The rest of the bound is for sends that are not acknowledged yet.
        await asyncio.gather(*(engine.stop(settings.kafka.drain_s * 0.9) for engine in self._engines))
        self._engines.clear()
        self._sources.clear()
        if self._storage is not None:
            await self._storage.relay.stop((deadline - clock()) * _RELAY_PART)
        if self._producer is not None:
            await self._producer.close(deadline - clock())
        if self._storage is not None:
            await self._storage.close()
        if self._schemas is not None:
            self._schemas.close()
        for pool in self._threads:
            pool.shutdown(wait=False, cancel_futures=True)
        if self._admin_endpoint is not None:
            self._admin_endpoint.close()
        self._passage = None
        self._cluster = None

    async def run(self, *, fail_fast: bool | None = None) -> None:
        """Start, and stay until cancelled; stops cleanly then.

        Raises:
            FatalClientError: the Kafka client cannot go on.
        """
        try:
            await self.start(fail_fast=fail_fast)
            await self._failed()
        finally:
            await self.stop()

    @asynccontextmanager
    async def lifespan(self, _: object) -> AsyncIterator[None]:
        """The app between the start and the stop of a web application: `FastAPI(lifespan=app.lifespan)`.

        Its listeners run in the web process, if it has any. An application that has a
        lifespan already opens the app inside it: `async with app:`. The web server starts
        also when Kafka or the database are not there yet: `unready` tells.

        Raises:
            SettingsError: settings are missing or unsound; the server does not start.
            WiringError: listeners do not fit together.
        """
        async with self:
            yield

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def unready(self) -> dict[str, str]:
        """Why the service is not ready: subject to reason, empty when it is. Threads may ask.

        `/readyz` tells the same, where OTTLA_ADMIN_PORT is set.
        """
        reasons = self._health.reasons()
        if (passage := self._passage) is not None:
            reasons.setdefault(self.name, passage)
        for task in tuple(self._joining):  # first: who is done with it stands among the engines
            if not task.done():
                reasons.setdefault(task.get_name(), "is still looking for what it needs")
        for engine, source in zip(tuple(self._engines), tuple(self._sources), strict=False):
            if not (engine.has_joined or source.is_member()):
                reasons.setdefault(engine.name, "has not joined its group yet")
        return reasons

    def assigned(self) -> list[TopicPartition]:
        """The partitions that this process handles now. Threads may ask."""
        return [partition for engine in tuple(self._engines) for partition in engine.partitions()]

    def counts(self) -> Counts:
        """How records ended in this process, up to its stop. Threads may ask."""
        return total(engine.counts() for engine in tuple(self._engines))

    def under_way(self) -> list[str]:
        """Which records are handled now, one line each.

        Empty when every record that is left waits: for its back-off, or for something
        outside. On the event loop only.
        """
        return [line for engine in self._engines for line in engine.under_way()]

    async def outbox(self) -> OutboxStatus:
        """How many records wait in the outbox of this database, whichever process stored them, and how long.

        Raises:
            WiringError: the app has not started, or has no DATABASE_URL.
            Unavailable: the database does not answer.
        """
        if self._storage is None:
            raise WiringError(f"app {self.name!r} has no outbox: set DATABASE_URL, and start the app first")
        return await self._storage.outbox.status()

    def outbox_stopped(self) -> list[str]:
        """Which records of the outbox are refused and hold up their keys; the relaying process knows."""
        return [] if self._storage is None else self._storage.relay.stopped()

    def wanted_topics(self) -> list[str]:
        """The topics that the app needs on this cluster, the listeners' dead-letter topics included.

        Raises:
            SettingsError: settings are missing or unsound.
        """
        return [topic.name for topic in self._wiring().topics()]

    def topology(self) -> list[WantedTopic]:
        """What the app wants of its topics on this cluster, the listeners' dead-letter topics included.

        DATABASE_URL need not be known: who applies topics has no use for it.

        Raises:
            SettingsError: settings are missing or unsound.
            WiringError: listeners do not fit together, all problems in one error.
        """
        return self._wiring_that_fits().topics()

    def access(self) -> Access:
        """What the app reads and writes on this cluster, and in which groups, for whoever grants rights.

        Raises:
            SettingsError: settings are missing or unsound.
            WiringError: listeners do not fit together, all problems in one error.
        """
        return self._wiring_that_fits().access()

    def wanted_schemas(self) -> list[WantedSchema]:
        """The schemas of the app's topics that have one: those that it sends to, and its listeners'.

        Raises:
            SettingsError: settings are missing or unsound.
            WiringError: listeners do not fit together, all problems in one error.
        """
        return self._wiring_that_fits().schemas()

    def check_wiring(self) -> None:
        """Look whether the app could start by its settings: listeners fit together, and have DATABASE_URL.

        Raises:
            SettingsError: settings are missing or unsound.
            WiringError: not so, all problems in one error.
        """
        self._wiring().check()

    def _wiring(self, settings: Settings | None = None) -> Wiring:
        return Wiring(self.name, tuple(self._specs), self._topics, settings or self.settings())

    def _wiring_that_fits(self) -> Wiring:
        wiring = self._wiring()
        wiring.check(needs_database=False)
        return wiring

    def settings(self) -> Settings:
        """The settings that the app was given, else those in force now.

        Raises:
            SettingsError: settings are missing or unsound, all of them in one error.
        """
        return self._given_settings or load_settings(self.name)

    def schema_registry(self) -> SchemaRegistry:
        """What asks and changes the schemas of this app's topics; opens nothing before it is asked.

        Raises:
            SettingsError: settings are missing or unsound.
            WiringError: no SCHEMA_REGISTRY_URL is set.
        """
        registry = registry_of(self.settings())
        if registry is None:
            raise WiringError("no schema registry is named: set SCHEMA_REGISTRY_URL (https://host:port)")
        return registry

    def admin(self) -> KafkaAdmin:
        """What asks and changes the topics of this app's cluster; opens nothing before it is asked.

        Raises:
            SettingsError: settings are missing or unsound.
        """
        return KafkaAdmin(client_properties(self.settings()))

    def has_running_threads(self) -> bool:
        """Whether `def` handlers still run after a stop: a thread cannot be ended, only its process."""
        return any(thread.is_alive() for pool in self._threads for thread in pool._threads)  # noqa: SLF001

    # -- what the admin endpoint asks, on threads of its own

    def _open_admin_endpoint(self, settings: Settings) -> None:
        if settings.admin_port is None:
            return
        from ottla.admin import AdminEndpoint, Probes

        probes = Probes(self._pulses, self.unready, self._figures)
        endpoint = AdminEndpoint(self.name, settings.admin_host, settings.admin_port, probes)
        endpoint.open()
        self._admin_endpoint = endpoint

    def _pulses(self) -> list[Pulse]:
        return [source.pulse() for source in tuple(self._sources)]

    def _figures(self) -> ServiceFigures:
        storage = self._storage
        return ServiceFigures(
            is_ready=not self.unready(),
            listeners=[
                ListenerFigures(engine.name, engine.figures(), source.figures())
                for engine, source in zip(tuple(self._engines), tuple(self._sources), strict=False)
            ],
            outbox=None if storage is None else storage.relay.figures(),
        )

    # -- joining the parts

    def _codecs(self, cluster: Cluster) -> Codecs:
        """By the registry of `cluster`, which is asked nothing yet."""
        settings = cluster.settings
        registry = cluster.schema_registry()
        if registry is not None:
            self._schemas = Schemas(
                registry,
                # In memory nobody else could: a test's schemas are those of its apps.
                auto_register=settings.schema_registry_auto_register or not registry.is_remote,
                timeout_s=settings.schema_registry_timeout_s,
            )
        return Codecs(
            self._schemas,
            topic_name=settings.topic_name,
            has_registry=settings.schema_registry_url is not None,
        )

    async def _open_storage(self, shared: Shared, parameters: list[Parameters]) -> _Join:
        """What PostgreSQL keeps; the join begins to relay once its tables are there."""
        try:
            from ottla.storage import Storage
        except ImportError as error:
            raise WiringError(f"a listener takes a Transaction: install ottla[postgres] ({error})") from error
        threads = self._connections_of_threads(shared.cluster.settings, parameters)
        storage = self._storage = Storage(self.name, shared, threads=threads)
        await storage.open()
        return _Join(f"{self.name} database", storage.check, storage.begin, self._health)

    def _connections_of_threads(self, settings: Settings, parameters: list[Parameters]) -> int:
        """Of the bound on connections, those for `def` handlers; one is the relay's."""
        in_thread = [
            not spec.is_async
            for spec, found in zip(self._specs, parameters, strict=True)
            if found.transaction
        ]
        connections = settings.database_connections - 1
        return (connections - 1 if all(in_thread) else connections // 2) if any(in_thread) else 0

    def _join(self, spec: ListenerSpec, parameters: Parameters, shared: Shared) -> _Join:
        threads = None
        if not spec.is_async:
            name = listener_name(spec, shared.group)
            threads = ThreadPoolExecutor(
                max_workers=places(spec) * most_readers(spec), thread_name_prefix=name
            )
            self._threads.append(threads)
        storage = self._storage if parameters.transaction else None
        inbox = None if storage is None else storage.inbox
        listening = Listening(spec, parameters, shared, inbox=inbox, threads=threads)

        codecs = shared.codecs

        async def attempt() -> None:
            await listening.look_for_topics()
            if self._schemas is not None and codecs.asks_to_read(spec.topic):
                await self._schemas.learn_newest(subject_of(listening.topic))
            if storage is not None:
                await storage.check()

        def begin() -> None:
            for reader in listening.readers:
                self._read(reader)
            watch = supervise(
                self._read_replays(listening), name=f"{listening.name} replays", on_crash=self._fail
            )
            self._tasks.append(watch)

        return _Join(listening.name, attempt, begin, self._health)

    def _read(self, reader: Reader) -> None:
        reader.engine.start()
        self._engines.append(reader.engine)
        self._sources.append(reader.source)

    async def _read_replays(self, listening: Listening) -> None:
        reader = await listening.replays()
        if reader is not None:
            self._read(reader)

    def _look_for_topics(self, cluster: Cluster, codecs: Codecs) -> _Join:
        """Whether the topics are there that we send to, and their schemas are registered.

        A broker that is away is not missed: sends wait.
        """

        async def attempt() -> None:
            for wanted in map(codecs.wanted, self._topics):
                if wanted is not None and self._schemas is not None:
                    await self._schemas.learn_id(wanted)
            try:
                await cluster.partitions([cluster.settings.topic_name(topic.name) for topic in self._topics])
            except BrokerUnavailable as error:
                _log.warning("%s: the topics that are sent to were not looked for: %s", self.name, error)

        return _Join(f"{self.name} topics", attempt, lambda: None, self._health)

    def _fail(self, error: BaseException) -> None:
        """The process cannot go on; the first reason counts."""
        if self._failure is None:
            self._failure = error
            self._has_failed.set()
            # Whoever embeds the app in a process of its own sees it here: nothing raises it there.
            self._health.unready(self.name, f"has failed and must be started anew: {error}")

    async def _failed(self) -> None:
        """Wait for a failure that ends the process, and raise it."""
        await self._has_failed.wait()
        assert self._failure is not None  # noqa: S101  (set before the event)
        raise self._failure


class _Join:
    """A listener on its way into its group: first everything outside must be there."""

    def __init__(
        self, name: str, attempt: Callable[[], Any], begin: Callable[[], None], health: Health
    ) -> None:
        self.name = name
        self.attempt = attempt
        self._begin = begin
        self._health = health

    async def until_there(self) -> None:
        """Try without end, say why not, then join."""
        failures = 0
        while True:
            try:
                await self.attempt()
                break
            except Unavailable as error:
                failures += 1
                self._health.unready(f"{self.name} start", str(error))
            await asyncio.sleep(exponential_s(failures, first_s=0.2, factor=2, max_s=5))
        self._health.ready(f"{self.name} start")
        self._begin()


async def _to_its_end(task: asyncio.Task[None]) -> None:
    """Wait for `task`, and only then be cancelled, if we were meanwhile."""
    is_cancelled = False
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            is_cancelled = True
    task.result()
    if is_cancelled:
        raise asyncio.CancelledError


def _may_use_database(settings: Settings) -> bool:
    """Whether `App.transaction` can work: nothing declares beforehand that it is used."""
    url = settings.database_url
    is_postgres = url is not None and url.get_secret_value().startswith("postgres")
    return is_postgres and all(find_spec(name) for name in ("sqlalchemy", "psycopg"))


def _fatal(named: Fatal | tuple[type[BaseException], ...]) -> Fatal:
    return named if isinstance(named, Fatal) else Fatal(named)
