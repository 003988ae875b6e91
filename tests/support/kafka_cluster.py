"""Three brokers of Apache Kafka that are one cluster: it goes on with two of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from confluent_kafka.admin import AdminClient

from ottla.embedded.guarded import free_port
from tests.support.kafka_server import Kafka, KafkaServer, new_cluster_id

BROKERS = 3

REPLICATED = {
    "default.replication.factor": str(BROKERS),
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": str(BROKERS),
    "transaction.state.log.replication.factor": str(BROKERS),
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": str(BROKERS),
    "share.coordinator.state.topic.min.isr": "2",
    # Brokers that share two cores with all the rest are not dead because they are slow.
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "1000",
    "controller.quorum.election.timeout.ms": "2000",
    "controller.quorum.fetch.timeout.ms": "4000",
}
"""Of each broker of a cluster: three copies, two of which must be in sync."""


class KafkaCluster(Kafka):
    """Brokers that end with this process; any one of them may be killed and started again."""

    def __init__(self) -> None:
        ports = [(free_port(), free_port()) for _ in range(BROKERS)]
        super().__init__(",".join(f"127.0.0.1:{port}" for port, _ in ports))
        voters = ",".join(f"{number}@127.0.0.1:{at}" for number, (_, at) in enumerate(ports, 1))
        cluster_id = new_cluster_id()
        self._admin: AdminClient | None = None
        self.brokers = [
            KafkaServer(
                {
                    **REPLICATED,
                    "node.id": str(number),
                    "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
                    "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
                    "controller.quorum.voters": voters,
                },
                cluster_id=cluster_id,
            )
            for number, (port, controller) in enumerate(ports, 1)
        ]

    def __enter__(self) -> Self:
        try:
            with ThreadPoolExecutor(BROKERS) as pool:
                list(pool.map(KafkaServer.start, self.brokers))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all brokers."""
        for broker in self.brokers:
            broker.close()

    def admin(self) -> AdminClient:
        """As `Kafka.admin`, and silent about brokers that are away; one for all who ask."""
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        return self._admin

    def is_whole(self, topic: str) -> bool:
        """Whether every broker is in sync with every partition of `topic`."""
        partitions = self.admin().list_topics(topic, timeout=10).topics[topic].partitions.values()
        return all(len(partition.isrs) == BROKERS for partition in partitions)
