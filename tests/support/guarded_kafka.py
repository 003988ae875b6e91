"""A broker that asks who comes: users by SCRAM, each with the rights that a test gives, and no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from ottla.embedded.guarded import free_port
from tests.support.kafka_server import Kafka, KafkaServer

PASSWORD = "right"
NOWHERE = "kafka-0.invalid:9092"
_ANSWER_S = 30


class GuardedKafka(Kafka):
    """`bootstrap_servers` is an open door where all is allowed; `guarded` asks for user and password.

    Who comes by `misleading` is sent to a name that does not exist; without such a door it is that name.
    """

    def __init__(self, bootstrap_servers: str, guarded: str, misleading: str = NOWHERE) -> None:
        super().__init__(bootstrap_servers)
        self.guarded = guarded
        self.misleading = misleading

    def add_user(self, name: str) -> None:
        """Let a user in, who may do nothing yet."""
        credential = UserScramCredentialUpsertion(
            name, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), PASSWORD.encode()
        )
        admin = self.admin()
        admin.alter_user_scram_credentials([credential])[name].result(_ANSWER_S)

    def allow(
        self, user: str, operation: AclOperation, name: str, kind: ResourceType = ResourceType.TOPIC
    ) -> None:
        """Give a right on one topic, or on all by `*`; or on what else `kind` says."""
        rule = AclBinding(
            kind,
            name,
            ResourcePatternType.LITERAL,
            f"User:{user}",
            "*",
            operation,
            AclPermissionType.ALLOW,
        )
        admin = self.admin()
        (answer,) = admin.create_acls([rule]).values()
        answer.result(_ANSWER_S)

    def admin(self) -> AdminClient:
        """An admin client that may do everything."""
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 2})


@contextmanager
def guarded_kafka(properties: Mapping[str, str] = MappingProxyType({})) -> Iterator[GuardedKafka]:
    """A broker of its own for the block. Raises `KafkaMissing` where there is none to be had."""
    ports = {name: free_port() for name in ("PLAINTEXT", "SASL", "MISLEADING", "CONTROLLER")}
    at = {name: f"{name}://127.0.0.1:{port}" for name, port in ports.items()}
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    server = KafkaServer(
        {
            "listeners": ",".join(at.values()),
            "advertised.listeners": f"{at['PLAINTEXT']},{at['SASL']},MISLEADING://{NOWHERE}",
            "controller.quorum.voters": f"1@127.0.0.1:{ports['CONTROLLER']}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,MISLEADING:PLAINTEXT,"
            "SASL:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl.scram-sha-512.sasl.jaas.config": login,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            **properties,
        }
    )
    with server:
        yield GuardedKafka(*(f"127.0.0.1:{ports[name]}" for name in ("PLAINTEXT", "SASL", "MISLEADING")))
