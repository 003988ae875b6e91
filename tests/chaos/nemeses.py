"""Carries faults out, and heals them. What cannot be done now is noted as without effect, never assumed.

Each nemesis is a context manager: entered it strikes, left it heals. Healing must succeed, or the run ends.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
from confluent_kafka import Consumer, ElectionType, KafkaException, TopicPartition

from tests.chaos.history import History, Tail
from tests.chaos.reassign import reassign
from tests.chaos.schedule import Family, Fault, Kind, Protocol
from tests.chaos.servers import Cluster
from tests.chaos.workload import PARTITIONS
from tests.chaos.world import PROCESSES, READS, STOP_S, Process, World, until
from tests.support.apps import read_all
from tests.support.kafka_server import KafkaServer
from tests.support.tcp_proxy import TcpProxy

_STRIKE_S = 6.0
"""How long a process may take to come to a failpoint."""
_TAKE_OVER_S = 25.0
"""How long a freeze inside a transaction may last until another process has the record."""
_IN_SYNC_S = 8.0
_ADMIN_S = 15.0
_SMALLEST = "60"
"""Bytes: no dead letter is so small."""
_USUAL = "10485760"
_FOREIGN = ("", "AQID", '{"epoch": 7}', "\x01\x02\x7f", "x" * 4_000)
"""What others keep beside an offset, and what nobody does."""


class NoEffect(Exception):
    """The fault could not take place; says why."""


class Nemeses:
    """Strikes one world. `history` is the conductor's."""

    def __init__(self, world: World, history: History) -> None:
        self._world = world
        self._kafka: Cluster = world.servers.kafka
        self._history = history
        self._turns = {family: threading.Lock() for family in Family}
        self._places = defaultdict[tuple[str, int], threading.Lock](threading.Lock)
        self._by_kind: dict[Kind, Callable[[Fault], object]] = {
            Kind.KILL: self._kill,
            Kind.KILL_AT: self._kill_at,
            Kind.FREEZE: self._freeze,
            Kind.FREEZE_IN_TX: self._freeze_in_tx,
            Kind.FREEZE_AT_COMMIT: self._freeze_in_tx,
            Kind.RESTART: self._restart,
            Kind.REBALANCES: self._rebalances,
            Kind.METADATA: self._metadata,
            Kind.BROKER_KILL: self._broker_kill,
            Kind.BROKER_ROLL: self._broker_roll,
            Kind.BROKER_FREEZE: self._broker_freeze,
            Kind.LEADERS: self._leaders,
            Kind.LETTERS_REFUSED: self._letters_refused,
            Kind.LETTERS_TOO_LARGE: self._letters_too_large,
            Kind.LETTERS_MISSING: self._letters_missing,
            Kind.LATENCY: self._latency,
            Kind.CUT: self._cut,
            Kind.HALF_OPEN: self._half_open,
            Kind.DATABASE_RESTART: self._database_restart,
            Kind.BACKENDS: self._backends,
            Kind.DATABASE_CUT: self._database_cut,
        }

    def carry_out(self, fault: Fault) -> None:
        """The whole of one fault: note it, strike, wait, heal, note whether it took place."""
        if fault.kind.family is Family.KILL:
            self._strike(fault)
            return
        with self._turns[fault.kind.family]:  # on a busy machine the one before may take longer than planned
            self._strike(fault)

    def _strike(self, fault: Fault) -> None:
        self._history.note(
            "fault", number=fault.number, kind=fault.kind.label, role=fault.role, point=fault.point
        )
        effect = "yes"
        try:
            self._by_kind[fault.kind](fault)
        except (NoEffect, KafkaException, psycopg.OperationalError) as error:
            effect = f"none: {error}"
        self._history.note("healed", number=fault.number, kind=fault.kind.label, effect=effect)

    @staticmethod
    def _place(fault: Fault) -> tuple[str, int]:
        return fault.role, fault.index % PROCESSES

    def _process(self, fault: Fault) -> Process:
        return self._world.processes[self._place(fault)]

    # -- processes

    def _kill(self, fault: Fault) -> None:
        with self._places[self._place(fault)]:
            process = self._running(fault)
            process.send(signal.SIGKILL)
            self._bury(fault, process, "at random")

    def _kill_at(self, fault: Fault) -> None:
        """At its failpoint; where it does not come there in time, at any moment."""
        with self._places[self._place(fault)]:
            process = self._running(fault)
            process.tell(f"kill {fault.point}")
            where = fault.point if process.wait(_STRIKE_S) else "at random"
            process.send(signal.SIGKILL)
            self._bury(fault, process, where)

    def _running(self, fault: Fault) -> Process:
        """The process, awaited where it is being started anew."""
        if not until(lambda: self._process(fault).is_running(), within_s=STOP_S):
            raise NoEffect(f"{self._process(fault).name} does not run")
        return self._process(fault)

    def _bury(self, fault: Fault, process: Process, where: str) -> None:
        process.popen.wait()
        if process.popen.returncode == -signal.SIGKILL:
            self._history.note("killed", process=process.name, where=where)
        time.sleep(fault.lasts_s)
        self._world.revive(*self._place(fault))

    def _freeze(self, fault: Fault) -> None:
        process = self._process(fault)
        process.send(signal.SIGSTOP)
        if not until(process.is_stopped, within_s=1):
            raise NoEffect(f"{process.name} does not run")
        try:
            time.sleep(fault.lasts_s)
        finally:
            process.send(signal.SIGCONT)

    def _freeze_in_tx(self, fault: Fault) -> None:
        """Until another process has been given the same record, and waits for its row, or a bound."""
        process = self._process(fault)
        tail = Tail(self._world.folder, f"{fault.role}-*.jsonl")
        process.tell(f"stop {fault.point}")
        try:
            if not until(process.is_stopped, within_s=_STRIKE_S):
                process.tell("disarm")
                time.sleep(0.5)  # or it stops behind our back
                raise NoEffect(f"{process.name} did not come to a transaction in time")
            time.sleep(fault.lasts_s)
            struck: list[str] = []
            is_taken_over = until(lambda: self._is_taken_over(tail, process, struck), within_s=_TAKE_OVER_S)
            self._history.note("froze", process=process.name, events=struck, is_taken_over=is_taken_over)
            if is_taken_over:
                time.sleep(0.5)
        finally:
            process.send(signal.SIGCONT)

    @staticmethod
    def _is_taken_over(tail: Tail, frozen: Process, struck: list[str]) -> bool:
        begun = set()
        for name, line in tail.new():
            if name == frozen.name and line["what"] == "struck":
                struck.append(line.get("event_id", ""))
            if name != frozen.name and line["what"] == "begin":
                begun.add(line["event_id"])
        return any(event in begun for event in struck)

    def _restart(self, fault: Fault) -> None:
        process = self._process(fault)
        process.send(signal.SIGTERM)
        if not process.wait(STOP_S) and process.is_running():
            self._history.note("late-stop", process=process.name, bound_s=STOP_S)
            process.send(signal.SIGKILL)
            process.popen.wait()
        time.sleep(fault.lasts_s)
        self._world.revive(*self._place(fault))

    def _rebalances(self, fault: Fault) -> None:
        """Members that are given partitions, do nothing with them, and leave."""
        chance = random.Random(fault.draw)
        deadline = time.monotonic() + fault.lasts_s
        while time.monotonic() < deadline:
            consumer = Consumer(
                {
                    **self._kafka.properties(),
                    "group.id": self._world.group(fault.role),
                    "enable.auto.commit": False,
                    "auto.offset.reset": "error",
                    "log_level": 0,
                    **_MEMBER[self._world.protocols[fault.role]],
                }
            )
            consumer.subscribe([self._world.topic(topic) for topic in READS[fault.role]])
            leaves = time.monotonic() + chance.uniform(0.5, 3)
            while time.monotonic() < leaves:
                consumer.poll(0.1)
            consumer.close()

    def _metadata(self, fault: Fault) -> None:
        """All members leave, because nobody else may commit for a group that has any."""
        places = [(fault.role, index) for index in range(PROCESSES)]
        for place in places:
            self._world.processes[place].send(signal.SIGTERM)
        try:
            for place in places:
                if not self._world.processes[place].wait(STOP_S):
                    raise NoEffect(f"{self._world.processes[place].name} did not stop in time")
            self._spoil_metadata(fault)
        finally:
            for place in places:
                self._world.revive(*place)

    def _spoil_metadata(self, fault: Fault) -> None:
        group = self._world.group(fault.role)
        chance = random.Random(fault.draw)
        with self._world.reader(group) as consumer:
            asked = [TopicPartition(t, n) for g, t, n in self._world.partitions() if g == group]
            spoiled = [
                TopicPartition(p.topic, p.partition, p.offset, metadata=chance.choice(_FOREIGN))
                for p in consumer.committed(asked, timeout=_ADMIN_S)
                if p.offset >= 0
            ]
            consumer.commit(offsets=spoiled, asynchronous=False)

    # -- brokers

    def _broker(self, fault: Fault) -> KafkaServer:
        """The controller, the coordinator of a group, or the leader of a partition, by what was drawn."""
        admin = self._kafka.admin()
        which = int(fault.draw * 3)
        if which == 0:
            node = admin.describe_cluster(request_timeout=_ADMIN_S).result().controller
        elif which == 1:
            group = self._world.group(fault.role)
            node = (
                admin.describe_consumer_groups([group], request_timeout=_ADMIN_S)[group].result().coordinator
            )
        else:
            return self._kafka.brokers[fault.index % len(self._kafka.brokers)]
        return self._kafka.brokers[(node.id if node is not None else 1) - 1]

    def _broker_kill(self, fault: Fault) -> None:
        broker = self._broker(fault)
        broker.kill()
        try:
            time.sleep(fault.lasts_s)
        finally:
            broker.start()

    def _broker_roll(self, fault: Fault) -> None:
        """One after the other, each when all replicas are in sync again."""
        for broker in self._kafka.brokers:
            try:
                broker.stop()
            except TimeoutError:
                broker.kill()
            finally:
                broker.start()
            until(self._is_in_sync, within_s=_IN_SYNC_S, every_s=0.5)

    def _is_in_sync(self) -> bool:
        try:
            topics = self._kafka.admin().list_topics(timeout=_ADMIN_S).topics
        except KafkaException:
            return False
        return all(
            len(p.isrs) == len(p.replicas) for topic in topics.values() for p in topic.partitions.values()
        )

    def _broker_freeze(self, fault: Fault) -> None:
        broker = self._broker(fault)
        broker.pause()
        try:
            time.sleep(fault.lasts_s)
        finally:
            broker.unpause()

    def _leaders(self, fault: Fault) -> None:
        """The next replica of each partition becomes its leader."""
        admin = self._kafka.admin()
        ours = {topic for _, topic, _ in self._world.partitions()} | set(self._world.dead_letter_topics())
        known = admin.list_topics(timeout=_ADMIN_S).topics
        replicas = {
            (topic, number): [*partition.replicas[1:], partition.replicas[0]]
            for topic in ours
            for number, partition in known[topic].partitions.items()
        }
        try:
            reassign(("127.0.0.1", self._kafka.ports[fault.index % len(self._kafka.ports)]), replicas)
        except OSError as error:
            raise NoEffect(str(error)) from error
        # no `request_timeout`: with it confluent-kafka 2.16 raises SystemError
        elected = admin.elect_leaders(
            ElectionType.PREFERRED, [TopicPartition(*partition) for partition in replicas]
        ).result(_ADMIN_S)
        if all(error is not None for error in elected.values()):
            raise NoEffect("no leader was moved")
        time.sleep(fault.lasts_s)

    # -- dead letters

    def _letters_refused(self, fault: Fault) -> None:
        topics = list(self._world.dead_letter_topics())
        try:
            for topic in topics:
                self._kafka.refuse_writes(topic)
            time.sleep(fault.lasts_s)
        finally:
            for topic in topics:
                _surely(partial(self._kafka.permit_writes, topic))

    def _letters_too_large(self, fault: Fault) -> None:
        topics = list(self._world.dead_letter_topics())
        try:
            for topic in topics:
                self._kafka.alter_topic(topic, {"max.message.bytes": _SMALLEST})
            time.sleep(fault.lasts_s)
        finally:
            for topic in topics:
                _surely(partial(self._kafka.alter_topic, topic, {"max.message.bytes": _USUAL}))

    def _letters_missing(self, fault: Fault) -> None:
        """One topic is deleted and made anew. What is in it is kept first, when nobody can write any more."""
        topics = sorted(self._world.dead_letter_topics())
        topic = topics[int(fault.draw * len(topics))]
        is_deleted = False
        try:
            self._kafka.refuse_writes(topic)
            seen = [-1, -2]
            if not until(lambda: _stands_still(self._world, topic, seen), within_s=_ADMIN_S, every_s=1.0):
                raise NoEffect(f"{topic} still grows")
            kept = read_all(self._kafka, topic)
            self._kafka.delete_topic(topic)
            is_deleted = True
            self._world.kept_letters.extend(kept)
            _surely(partial(self._kafka.permit_writes, topic))
            time.sleep(fault.lasts_s)
        finally:
            if is_deleted:
                _surely(partial(self._kafka.create_topic, topic, PARTITIONS))
            _surely(partial(self._kafka.permit_writes, topic))

    # -- the network

    def _each_proxy(self, fault: Fault) -> TcpProxy:
        return self._kafka.proxies[fault.index % len(self._kafka.proxies)]

    def _latency(self, fault: Fault) -> None:
        with _healed(*self._kafka.proxies):
            for proxy in self._kafka.proxies:
                proxy.be_slow(0.02 + fault.draw / 4)
            time.sleep(fault.lasts_s)

    def _cut(self, fault: Fault) -> None:
        proxy = self._each_proxy(fault)
        with _healed(proxy):
            proxy.cut()
            time.sleep(fault.lasts_s)

    def _half_open(self, fault: Fault) -> None:
        proxy = self._each_proxy(fault)
        with _healed(proxy):
            proxy.fall_silent()
            time.sleep(fault.lasts_s)

    # -- the database

    def _database_restart(self, fault: Fault) -> None:
        server = self._world.servers.postgres.server
        try:
            server.stop("immediate")
            time.sleep(fault.lasts_s)
        finally:
            server.start()

    def _backends(self, fault: Fault) -> None:
        """Each other connection of the services."""
        with self._world.sql() as connection:
            ended = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'ottla' AND pid %% 2 = %s",
                (fault.index % 2,),
            ).fetchall()
        if not ended:
            raise NoEffect("there were no connections")
        time.sleep(fault.lasts_s)

    def _database_cut(self, fault: Fault) -> None:
        proxy = self._world.servers.postgres.proxy
        with _healed(proxy):
            proxy.cut()
            time.sleep(fault.lasts_s)


_MEMBER: dict[Protocol, dict[str, Any]] = {
    Protocol.EAGER: {"partition.assignment.strategy": "range", "session.timeout.ms": 6000},
    Protocol.COOPERATIVE: {"partition.assignment.strategy": "cooperative-sticky", "session.timeout.ms": 6000},
    Protocol.KIP_848: {"group.protocol": "consumer"},
}


@contextmanager
def _healed(*proxies: TcpProxy) -> Iterator[None]:
    try:
        yield
    finally:
        for proxy in proxies:
            proxy.heal()


def _stands_still(world: World, topic: str, seen: list[int]) -> bool:
    """Whether the topic has the length that it had at the last three looks."""
    seen.append(world.length(topic))
    return len(set(seen[-3:])) == 1


def _surely(heal: Callable[[], None]) -> None:
    """Heal, over brokers that are just coming back."""
    for attempt in range(5):
        try:
            return heal()
        except (KafkaException, TimeoutError):
            if attempt == 4:
                raise
            time.sleep(2)
    return None
