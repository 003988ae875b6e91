"""Three brokers, each behind a proxy of its own, and PostgreSQL behind another."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from ottla.embedded import EmbeddedPostgres
from ottla.embedded.guarded import free_port
from tests.support.guarded_kafka import PASSWORD, GuardedKafka
from tests.support.kafka_cluster import BROKERS, REPLICATED
from tests.support.kafka_server import KafkaServer, new_cluster_id
from tests.support.tcp_proxy import TcpProxy

SESSION_S = 6
USER = "services"
_ANSWER_S = 15.0
_START_S = 180.0
"""Of a broker that was killed, beside all the rest on two cores: it is no service under test."""

_PROPERTIES = {
    **REPLICATED,
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,CLIENT:SASL_PLAINTEXT",
    "offsets.topic.num.partitions": "6",
    "group.consumer.min.session.timeout.ms": str(SESSION_S * 1000),
    "group.consumer.session.timeout.ms": str(SESSION_S * 1000),
    "replica.lag.time.max.ms": "10000",
    # Services have a user, whose rights can be taken away; brokers and the conductor have none.
    "sasl.enabled.mechanisms": "SCRAM-SHA-512",
    "listener.name.client.scram-sha-512.sasl.jaas.config": (
        "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    ),
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "allow.everyone.if.no.acl.found": "true",
    # A leader is moved by us.
    "auto.leader.rebalance.enable": "false",
}


class Cluster(GuardedKafka):
    """Three brokers. `bootstrap_servers` leads to them directly, `guarded` as services go: by the proxies."""

    def __init__(self, brokers: list[KafkaServer], proxies: list[TcpProxy], ports: list[int]) -> None:
        through_proxies = ",".join(f"127.0.0.1:{proxy.port}" for proxy in proxies)
        super().__init__(",".join(f"127.0.0.1:{port}" for port in ports), through_proxies)
        self.brokers = brokers
        self.proxies = proxies
        self.ports = ports

    def admin(self) -> AdminClient:
        """As `Kafka.admin`; a broker that is away is found out soon."""
        return AdminClient(
            {"bootstrap.servers": self.bootstrap_servers, "log_level": 0, "socket.timeout.ms": 10_000}
        )

    def properties(self) -> dict[str, str]:
        """Of a client that comes as a service does."""
        return {
            "bootstrap.servers": self.guarded,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanisms": "SCRAM-SHA-512",
            "sasl.username": USER,
            "sasl.password": PASSWORD,
        }

    def refuse_writes(self, topic: str) -> None:
        """Nobody may write to `topic`, but the conductor."""
        admin = self.admin()  # held until the answer: a client that is dropped cancels what it was asked
        self._answered(admin.create_acls(_rules(topic)))

    def permit_writes(self, topic: str) -> None:
        """The end of `refuse_writes`."""
        every = AclBindingFilter(
            ResourceType.TOPIC,
            topic,
            ResourcePatternType.LITERAL,
            None,  # type: ignore[arg-type]  # anybody: the client's own documentation says so
            None,  # type: ignore[arg-type]
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        admin = self.admin()
        self._answered(admin.delete_acls([every]))

    @staticmethod
    def _answered(answers: dict[Any, Any]) -> None:
        for answer in answers.values():
            answer.result(_ANSWER_S)


def _rules(topic: str) -> list[AclBinding]:
    """Where one rule is, what is not allowed is refused: so all is, and to write is not."""
    return [
        AclBinding(
            ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, f"User:{USER}", "*", operation, permission
        )
        for operation, permission in (
            (AclOperation.ALL, AclPermissionType.ALLOW),
            (AclOperation.WRITE, AclPermissionType.DENY),
        )
    ]


class Postgres:
    """PostgreSQL with times of commits, behind a proxy."""

    def __init__(self, server: EmbeddedPostgres, proxy: TcpProxy) -> None:
        self.server = server
        self.proxy = proxy

    def url(self, database: str) -> str:
        """Directly."""
        return self.server.url_of(database)

    def url_through_proxy(self, database: str) -> str:
        """As services go."""
        parts = urlsplit(self.server.url_of(database))
        return parts._replace(
            netloc=f"{parts.username}:{parts.password}@127.0.0.1:{self.proxy.port}"
        ).geturl()


@dataclass(frozen=True, slots=True)
class Servers:
    """What a run, or one after the other, may strike."""

    kafka: Cluster
    postgres: Postgres


@contextmanager
def running_servers() -> Iterator[Servers]:
    """All of them, until the block ends."""
    with ExitStack() as stack:
        kafka = _cluster(stack)
        postgres = stack.enter_context(EmbeddedPostgres(durable=True))
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET track_commit_timestamp = on")
            connection.execute("ALTER SYSTEM SET max_connections = 200")
        postgres.stop()
        postgres.start()
        proxy = stack.enter_context(TcpProxy(("127.0.0.1", urlsplit(postgres.url).port or 0)))
        yield Servers(kafka, Postgres(postgres, proxy))


def _cluster(stack: ExitStack) -> Cluster:
    numbers = range(1, BROKERS + 1)
    ports = {
        (name, number): free_port()
        for name, number in itertools.product(("PLAINTEXT", "CLIENT", "CONTROLLER"), numbers)
    }
    cluster_id = new_cluster_id()
    proxies = [stack.enter_context(TcpProxy(("127.0.0.1", ports["CLIENT", number]))) for number in numbers]
    voters = ",".join(f"{number}@127.0.0.1:{ports['CONTROLLER', number]}" for number in numbers)
    brokers = []
    for number, proxy in zip(numbers, proxies, strict=True):
        at = {
            name: f"{name}://127.0.0.1:{ports[name, number]}"
            for name in ("PLAINTEXT", "CLIENT", "CONTROLLER")
        }
        properties = {
            **_PROPERTIES,
            "node.id": str(number),
            "listeners": ",".join(at.values()),
            "advertised.listeners": f"{at['PLAINTEXT']},CLIENT://127.0.0.1:{proxy.port}",
            "controller.quorum.voters": voters,
        }
        brokers.append(KafkaServer(properties, cluster_id=cluster_id, start_s=_START_S))
    for broker in brokers:
        stack.callback(broker.close)
    with ThreadPoolExecutor(BROKERS) as pool:
        list(pool.map(KafkaServer.start, brokers))
    cluster = Cluster(brokers, proxies, [ports["PLAINTEXT", number] for number in numbers])
    cluster.add_user(USER)
    return cluster
