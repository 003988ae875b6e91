"""A broker from pip alone: what it does, what it does not, and the check that it dropped nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as ClientTopicPartition

from ottla.embedded.guarded import ServerFailed
from ottla.errors import OttlaError
from ottla.records import TopicPartition

_TIMEOUT_S = 10.0


class RecordsDropped(OttlaError):
    """The embedded broker has dropped the oldest records of a partition; `first_kept` is where it begins."""

    def __init__(self, first_kept: Mapping[TopicPartition, int]) -> None:
        self.first_kept = dict(first_kept)
        where = ", ".join(f"{partition}: {offset}" for partition, offset in sorted(self.first_kept.items()))
        super().__init__(
            "the embedded broker keeps about 5 MB a partition and has dropped the records below these "
            f"offsets ({where}): use less data, more partitions, or a real broker by KAFKA_BOOTSTRAP_SERVERS"
        )


class EmbeddedKafka:
    """One broker on a free port of 127.0.0.1, in a process that ends with this one.

    It is librdkafka's mock cluster. It does consumer groups of several processes,
    take-over after a kill, headers, commit metadata and records of 5 MB. It does not do
    transactions, timestamps, offsets by time, or topics by an admin client
    (`create_topic` here does them; an unknown topic that a client asks for appears with
    four partitions). It keeps about 5 MB or 100,000 records a partition and drops
    older ones in silence: call `check_nothing_dropped`. A rebalance of a group that
    has had members takes the session time-out less a second: give clients
    `session.timeout.ms=6000`.

    `group_wait_ms` is how long a new group waits for further members
    (`group.initial.rebalance.delay.ms`): services that start together within it
    share their partitions at once.
    """

    def __init__(self, topics: Mapping[str, int] | None = None, *, group_wait_ms: int = 100) -> None:
        self._topics = dict(topics or {})
        self._group_wait_ms = group_wait_ms
        self._process: subprocess.Popen[str] | None = None
        self._bootstrap_servers: str | None = None
        self._lock = threading.Lock()

    @property
    def bootstrap_servers(self) -> str:
        """`host:port`; known from the start on."""
        if self._bootstrap_servers is None:
            raise ServerFailed("the embedded broker is not started")
        return self._bootstrap_servers

    @property
    def pid(self) -> int | None:
        """The broker's process; None when it is not started."""
        return None if self._process is None else self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the broker and create the topics; returns when clients can connect."""
        if self._process is not None:
            return
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("broker.py")), str(self._group_wait_ms)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the owner, which stops it
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        try:
            self._bootstrap_servers = self._read()
            for name, partitions in self._topics.items():
                self._create(name, partitions)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the broker; what it held is gone. May be called twice."""
        process, self._process = self._process, None
        if process is None:
            return
        self._bootstrap_servers = None
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def create_topic(self, name: str, partitions: int) -> None:
        """Create a topic; one that is there with as many partitions is left as it is."""
        present = self._topics.get(name)
        if present == partitions:
            return
        if present is not None:
            raise ServerFailed(f"topic {name} is there with {present} partitions, not {partitions}")
        self._create(name, partitions)
        self._topics[name] = partitions

    def check_nothing_dropped(self) -> None:
        """Raise RecordsDropped when any partition has lost its oldest records."""
        dropped = {where: low for where, (low, _) in self.watermarks().items() if low > 0}
        if dropped:
            raise RecordsDropped(dropped)

    def watermarks(self) -> dict[TopicPartition, tuple[int, int]]:
        """The first kept offset and the next one to be written, of every partition."""
        consumer = Consumer(
            {"bootstrap.servers": self.bootstrap_servers, "group.id": "ottla-embedded", "log_level": 3}
        )
        try:
            partitions = [
                TopicPartition(name, partition)
                for name, topic in consumer.list_topics(timeout=_TIMEOUT_S).topics.items()
                for partition in topic.partitions
            ]
            return {
                where: consumer.get_watermark_offsets(ClientTopicPartition(*where), timeout=_TIMEOUT_S)
                for where in partitions
            }
        finally:
            consumer.close()

    def _create(self, name: str, partitions: int) -> None:
        with self._lock:
            if self._process is None or self._process.stdin is None:
                raise ServerFailed("the embedded broker is not started")
            self._process.stdin.write(f"{partitions} {name}\n")
            self._process.stdin.flush()
            answer = self._read()
        if answer != "ok":
            raise ServerFailed(f"topic {name} could not be created on the embedded broker: {answer}")

    def _read(self) -> str:
        process = self._process
        line = process.stdout.readline() if process is not None and process.stdout is not None else ""
        if not line:
            raise ServerFailed("the embedded broker has ended")
        return line.rstrip("\n")
