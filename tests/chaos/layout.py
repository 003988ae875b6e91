"""Partitions added under load, and offsets out of range: what Kafka does not keep, and what must be said.

A phase of its own, with its own expectations. When a topic gets more partitions, a key goes on in another:
nothing is lost, and order holds per key within a partition, no further. When retention removes what was not
read, the partition stops, the service says from where to where records are gone, and reads on only when an
operator has set the group's offset; other partitions go on.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import NewPartitions

from tests.chaos.checkers import Finding
from tests.chaos.history import read
from tests.chaos.servers import Cluster
from tests.chaos.workload import STALE
from tests.chaos.world import STOP_S, World, until

_ROLE = "stale"
_FEW, _MORE = 3, 5
_KEYS = 20
_RATE = 50.0
_LOAD_S = 8.0
_BOUND_S = 60.0
_AHEAD = 20
"""Records that are written while nobody reads, in each partition."""
_GONE = 10
"""How many of them retention removes, in partition 0."""


@dataclass
class Layout:
    """The phase, on the servers of a run."""

    world: World
    say: Callable[[str], None]
    findings: list[Finding] = field(default_factory=list)
    _written: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def run(self) -> list[Finding]:
        """What is wrong; nothing, as it should be."""
        self._kafka.create_topic(self._topic, _FEW)
        self._kafka.create_topic(f"{self._topic}-{self.world.group(_ROLE)}-dlt", _FEW)
        self.world.revive(_ROLE, 0)
        self._add_partitions()
        if not self.findings:
            self._remove_records()
        return self.findings

    @property
    def _topic(self) -> str:
        return self.world.topic(STALE)

    @property
    def _kafka(self) -> Cluster:
        return self.world.servers.kafka

    # -- partitions added

    def _add_partitions(self) -> None:
        is_over = threading.Event()
        load = threading.Thread(target=self._load, args=(is_over,))
        load.start()
        self._expect("nothing of the topic is handled", lambda: any(True for _ in self._handled()))
        admin = self._kafka.admin()
        admin.create_partitions([NewPartitions(self._topic, _MORE)])[self._topic].result(_BOUND_S)
        time.sleep(_LOAD_S)
        is_over.set()
        load.join()
        self._expect("records of a topic that got more partitions are lost", self._is_all_handled)
        used = {partition for partition, _ in self._written}
        if not used > set(range(_FEW)):
            self._wrong("vacuous", f"nothing was written to an added partition: {sorted(used)}")
        for (partition, key), offsets in self._by_key().items():
            if offsets != sorted(offsets):
                self._wrong("inverted", f"{key!r} in partition {partition} was handled as {offsets}")
        self.say(f"partitions added: {len(self._written)} records in partitions {sorted(used)}")

    def _load(self, is_over: threading.Event) -> None:
        number = 0
        producer = self._producer()
        while not is_over.wait(1 / _RATE):
            producer.produce(
                self._topic, b"%d" % number, b"key-%d" % (number % _KEYS), on_delivery=self._note
            )
            producer.poll(0)
            number += 1
        producer.flush(_BOUND_S)

    def _producer(self) -> Producer:
        return Producer(
            {
                **self._kafka.properties(),
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "topic.metadata.refresh.interval.ms": 1000,
                "log_level": 2,
            }
        )

    def _note(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._written[message.partition() or 0, message.offset() or 0] = message.key() or b""

    def _by_key(self) -> dict[tuple[int, bytes], list[int]]:
        """Offsets in the order in which they were first handled."""
        found: dict[tuple[int, bytes], list[int]] = defaultdict(list)
        for at in dict.fromkeys(self._handled()):
            found[at[0], self._written.get(at, b"")].append(at[1])
        return found

    # -- records removed

    def _remove_records(self) -> None:
        self._stop()
        producer = self._producer()
        for number in range(_AHEAD * _MORE):
            producer.produce(self._topic, b"ahead", b"key", partition=number % _MORE, on_delivery=self._note)
        producer.flush(_BOUND_S)
        committed = self._committed(0)
        low = committed + _GONE
        self._kafka.delete_records(self._topic, 0, low)
        self.world.revive(_ROLE, 0)
        said = f"records {committed} to {low - 1} are gone"
        self._expect(f"nobody says that {said}", lambda: self._has_said(said))
        self._expect("other partitions do not go on", lambda: self._is_all_handled(but=0))
        behind = [offset for partition, offset in self._handled() if partition == 0 and offset >= committed]
        if behind:
            self._wrong("gap", f"partition 0 went on behind the gap, in silence: {behind[:5]}")
        self._stop()
        with self.world.reader(self.world.group(_ROLE)) as consumer:
            consumer.commit(offsets=[TopicPartition(self._topic, 0, low)], asynchronous=False)
        self.world.revive(_ROLE, 0)
        for at in [at for at in self._written if at[0] == 0 and committed <= at[1] < low]:
            del self._written[at]  # gone, and said
        self._expect("the partition does not go on where the operator has set it", self._is_all_handled)
        self.say(f"out of range: {said}; the other partitions went on, and this one when it was told to")

    def _committed(self, partition: int) -> int:
        with self.world.reader(self.world.group(_ROLE)) as consumer:
            (answer,) = consumer.committed([TopicPartition(self._topic, partition)], timeout=_BOUND_S)
            return int(answer.offset)

    def _stop(self) -> None:
        process = self.world.processes[_ROLE, 0]
        process.send(signal.SIGTERM)
        if not process.wait(STOP_S):
            self._wrong("late", f"{process.name} did not stop within {STOP_S:.0f} s")
            process.send(signal.SIGKILL)
            process.popen.wait()

    # -- what is known of it

    def _handled(self) -> Iterator[tuple[int, int]]:
        for path in sorted(self.world.folder.glob(f"{_ROLE}-*.jsonl")):
            for line in read(path):
                if line["what"] == "end" and line["outcome"] == "SUCCEEDED":
                    yield line["partition"], line["offset"]

    def _is_all_handled(self, but: int | None = None) -> bool:
        return {at for at in self._written if at[0] != but} <= set(self._handled())

    def _has_said(self, text: str) -> bool:
        lines = read(self.world.processes[_ROLE, 0].history)
        return any(text in str(line["unready"]) for line in lines if line["what"] == "status")

    def _expect(self, otherwise: str, condition: Callable[[], bool]) -> None:
        if not until(condition, within_s=_BOUND_S, every_s=0.5):
            self._wrong("lost", otherwise)

    def _wrong(self, kind: str, what: str) -> None:
        self.findings.append(Finding("layout", kind, what))
