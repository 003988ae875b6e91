"""One broker of Apache Kafka itself (KRaft, combined mode) on loopback, for tests and benchmarks."""

from __future__ import annotations

import os
import shutil
import signal
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from ottla.embedded.guarded import GuardedServer, free_port

ROOT = Path(__file__).parents[2]
_LOG = "server.log"
_CONSOLE = "console.log"
_START_S = 60.0
_STOP_S = 30.0
_ADMIN_S = 30.0

_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "num.partitions": "1",
    "default.replication.factor": "1",
    # one broker can replicate to nobody
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "5",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "2",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # groups that form and break quickly
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.consumer.heartbeat.interval.ms": "1000",
    # records of 5 MB
    "message.max.bytes": "10485760",
    "replica.fetch.max.bytes": "10485760",
    # truncation that a test can wait for
    "log.retention.check.interval.ms": "1000",
    "log.initial.task.delay.ms": "500",
    # a restarted broker is let in once its former self has timed out
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}

_LOG4J = """\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="warn">
  <Appenders>
    <File name="file" fileName="{file}"><PatternLayout pattern="%d %p %c{{1}}: %m%n"/></File>
  </Appenders>
  <Loggers>
    <Root level="info"><AppenderRef ref="file"/></Root>
  </Loggers>
</Configuration>
"""


class KafkaMissing(RuntimeError):
    """Java or Kafka's jars are not here; the message says how to get them."""


class Kafka:
    """A broker that runs already: its address, and what tests do to its topics."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers

    def admin(self) -> AdminClient:
        """An admin client of this broker."""
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 3})

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Create a topic and wait until the broker leads all of its partitions."""
        admin = self.admin()  # held until the answer: a client that is dropped cancels what it was asked
        topic = NewTopic(name, num_partitions=partitions, replication_factor=-1, config=dict(config or {}))
        admin.create_topics([topic], operation_timeout=_ADMIN_S)[name].result(_ADMIN_S)
        deadline = time.monotonic() + _ADMIN_S
        while True:
            found = admin.list_topics(name, timeout=_ADMIN_S).topics[name]
            if len(found.partitions) == partitions and all(p.leader >= 0 for p in found.partitions.values()):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"topic {name} has no leaders after {_ADMIN_S} s")
            time.sleep(0.02)

    def delete_topic(self, name: str) -> None:
        """Delete a topic; returns when the controller has."""
        admin = self.admin()
        admin.delete_topics([name], operation_timeout=_ADMIN_S)[name].result(_ADMIN_S)

    def alter_topic(self, name: str, config: Mapping[str, str]) -> None:
        """Set properties of a topic, such as `retention.ms`; the others stay."""
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
            for key, value in config.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        admin = self.admin()
        admin.incremental_alter_configs([resource])[resource].result(_ADMIN_S)

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Remove the records below offset `before`, as retention would; returns when they are gone."""
        where = TopicPartition(topic, partition, before)
        admin = self.admin()
        for future in admin.delete_records([where]).values():
            future.result(_ADMIN_S)


class KafkaServer(Kafka):
    """A broker that ends with this process, its folder with it; restarts keep data and port.

    The first start takes 3 s, one after `stop` 3 s, one after `kill` 6 s.
    `properties` go over the ones above; `heap_mb` and `jvm` are the JVM's; `classes` is a
    folder of compiled classes for the broker to find. Brokers of one cluster share a
    `cluster_id`, and must be started side by side: one alone waits for a quorum.
    """

    def __init__(
        self,
        properties: Mapping[str, str] | None = None,
        *,
        heap_mb: int = 512,
        jvm: Sequence[str] = (),
        classes: Path | None = None,
        cluster_id: str | None = None,
        start_s: float = _START_S,
    ) -> None:
        self._properties = dict(properties or {})
        self._jvm, self._classes = list(jvm), classes
        self._heap_mb = heap_mb
        self._cluster_id = cluster_id or new_cluster_id()
        self._start_s = start_s
        self._port, self._controller_port = free_port(), free_port()
        super().__init__(f"127.0.0.1:{self._port}")
        self._server: GuardedServer | None = None
        self._java = ""
        self._libs = Path()

    @property
    def pid(self) -> int | None:
        """The broker's process; None when it is not running."""
        return None if self._server is None else self._server.pid

    @property
    def log(self) -> str:
        """The end of the broker's log."""
        return "(no log)" if self._server is None else self._server.tail(_LOG, 10_000)

    def copy_log(self, to: Path) -> None:
        """Copy the broker's log, of all its starts, to the file `to`."""
        if self._server is not None:
            shutil.copyfile(self._server.folder / _LOG, to)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the broker, for the first time on an empty log; returns when it answers."""
        try:
            if self._server is None:
                self._java, self._libs = java(), kafka_libs()
                self._server = GuardedServer("ottla-kafka-")
                self._format(self._server)
            if self._server.pid is None:
                log = self._server.folder / _LOG
                already = log.stat().st_size if log.exists() else 0
                self._run(self._server, "kafka.Kafka", str(self._server.folder / "server.properties"))
                self._server.wait_until(partial(_serves, log, already), timeout_s=self._start_s, log=_CONSOLE)
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """SIGTERM: the broker closes its logs and ends; its data stays."""
        self._signal_and_wait(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: the broker recovers its logs at the next start."""
        self._signal_and_wait(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        if self._server is not None:
            self._server.send_signal(signal.SIGSTOP)

    def unpause(self) -> None:
        """SIGCONT: the end of `pause`."""
        if self._server is not None:
            self._server.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End the broker and remove its folder. May be called twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def _format(self, server: GuardedServer) -> None:
        properties = {
            **_PROPERTIES,
            "listeners": f"PLAINTEXT://127.0.0.1:{self._port},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self._port}",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "log.dirs": str(server.folder / "data"),
            **self._properties,
        }
        file = server.folder / "server.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        (server.folder / "log4j2.xml").write_text(_LOG4J.format(file=server.folder / _LOG))
        # In one word: one id in 64 begins with "-" and would pass for an option.
        identity = f"--cluster-id={self._cluster_id}"
        self._run(server, "kafka.tools.StorageTool", "format", identity, "--config", str(file))
        if server.wait(_START_S) != 0:
            raise RuntimeError(f"Kafka's log could not be formatted:\n{server.tail(_CONSOLE)}")

    def _run(self, server: GuardedServer, main_class: str, *arguments: str) -> None:
        server.start(
            [
                self._java,
                f"-Xmx{self._heap_mb}m",
                "-XX:TieredStopAtLevel=1",  # starts sooner; the broker is not what is measured
                f"-Dlog4j2.configurationFile={server.folder / 'log4j2.xml'}",
                *self._jvm,
                "-cp",
                f"{self._libs}/*" if self._classes is None else f"{self._libs}/*:{self._classes}",
                main_class,
                *arguments,
            ],
            log=_CONSOLE,
        )

    def _signal_and_wait(self, number: signal.Signals) -> None:
        if self._server is None or self._server.pid is None:
            return
        self._server.send_signal(number)
        self._server.wait(_STOP_S)


def _serves(log: Path, already: int) -> bool:
    """Whether the log says so since its first `already` bytes; to ask the broker would log refusals."""
    return log.exists() and b"Kafka Server started" in log.read_bytes()[already:]


def new_cluster_id() -> str:
    """As Kafka makes them: 16 bytes in base64."""
    return urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def kafka_libs() -> Path:
    """The folder of Kafka's jars: OTTLA_KAFKA_LIBS, else what `make kafka` has fetched."""
    folder = Path(os.environ.get("OTTLA_KAFKA_LIBS") or ROOT / ".kafka" / "libs")
    if not any(folder.glob("kafka_2.13-*.jar")):
        raise KafkaMissing(f"Apache Kafka's jars are not in {folder}: run `make kafka`")
    return folder


def java() -> str:
    """The Java launcher: JAVA_HOME's, else the path's."""
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if found is None or not Path(found).exists():
        raise KafkaMissing("`java` is missing: tests against Apache Kafka need Java 17 or later on the path")
    return found
