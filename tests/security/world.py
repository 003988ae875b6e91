"""One broker of Apache Kafka that asks who comes, in every way that Ottla knows, and what it asks in turn.

OPEN is a door where all is allowed; all other listeners speak TLS, under an authority of the test's own.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from confluent_kafka.admin import AclOperation, ResourceType

from ottla.embedded.guarded import free_port
from ottla.kafka.msk_iam import msk_tokens
from ottla.settings import Settings, load_settings
from tests.security.outside import AUDIENCE, ISSUER, Identity, Outside, outside
from tests.support.certificates import Authority
from tests.support.guarded_kafka import PASSWORD, GuardedKafka
from tests.support.kafka_server import KafkaMissing, KafkaServer, java, kafka_libs

REGION = "eu-west-1"
ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/orders"

_SOURCE = Path(__file__).with_name("MskIamValidator.java")
_LISTENERS = {
    "OPEN": "PLAINTEXT",
    "CONTROLLER": "PLAINTEXT",
    "IAM": "SASL_SSL",
    "SCRAM": "SASL_SSL",
    "OIDC": "SASL_SSL",
    "TLS": "SSL",
    "MTLS": "SSL",
    "ELSEWHERE": "SSL",
}
_NO_AWS = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""AWS's chain finds nothing of this machine's."""


class World:
    """What a check may do. Checks run one after the other: they set the environment of this process."""

    def __init__(self, ports: Mapping[str, int], folder: Path, around: Outside, said: list[str]) -> None:
        self._ports = ports
        self.folder = folder
        self.outside = around
        self.said = said
        """Every line that was logged in this run."""
        self.kafka = GuardedKafka(self.at("OPEN"), self.at("SCRAM"))
        self.authority, self.others = Authority(folder, "authority"), Authority(folder, "others")
        self._secrets: set[str] = {PASSWORD + "-of-nobody", around.authorization}

    def at(self, listener: str) -> str:
        """The address of a listener."""
        return f"127.0.0.1:{self._ports[listener]}"

    def settings(self, listener: str, security: str, **environment: str) -> Settings:
        """Settings for a listener; its authority is trusted unless `environment` says another."""
        return load_settings(
            environ={
                "OTTLA_CONFIG": os.devnull,
                "KAFKA_BOOTSTRAP_SERVERS": self.at(listener),
                "KAFKA_SESSION_TIMEOUT_S": "6",
                "KAFKA_SECURITY": security,
                "KAFKA_CA_FILE": str(self.authority.file),
                **environment,
            }
        )

    def msk_iam(self, **environment: str) -> Settings:
        """The one setting, and the region, which the name of this broker does not tell."""
        return self.settings("IAM", "msk-iam", **{"AWS_REGION": REGION, **environment})

    def identity(self, principal: str, *, is_temporary: bool = False) -> Identity:
        """Credentials that AWS knows."""
        token = self.secret(secrets.token_urlsafe(60) + "/+=") if is_temporary else ""
        key = ("ASIA" if is_temporary else "AKIA") + secrets.token_hex(8).upper()
        identity = Identity(key, self.secret(secrets.token_urlsafe(30)), principal, token)
        self.outside.known[key] = identity
        return identity

    def secret(self, text: str) -> str:
        """`text`, of which nothing may be seen in what is said."""
        self._secrets.add(text)
        return text

    def seen_secrets(self) -> list[str]:
        """What was said and must not be: secrets, and anything that begins as a signed token does."""
        never = [*self._secrets, *self.outside.issued, "aHR0cHM6Ly9rYWZrYS4", "X-Amz-Signature"]
        return [line for line in self.said if any(secret in line for secret in never)]

    def topic(
        self, name: str, *, readers: Mapping[str, str] | None = None, writers: tuple[str, ...] = ()
    ) -> str:
        """A topic that principals may read in a group of theirs, and others write."""
        self.kafka.create_topic(name)
        for principal, group in (readers or {}).items():
            self.may_read(principal, name, group)
        for principal in writers:
            self.may_write(principal, name)
        return name

    def may_read(self, principal: str, topic: str, group: str) -> None:
        """Allow it."""
        self.kafka.allow(principal, AclOperation.READ, topic)
        self.kafka.allow(principal, AclOperation.READ, group, ResourceType.GROUP)

    def may_write(self, principal: str, topic: str) -> None:
        """Allow it."""
        self.kafka.allow(principal, AclOperation.WRITE, topic)


@contextmanager
def aws(**environment: str) -> Iterator[None]:
    """What AWS's chain finds in the block; nothing of it is remembered afterwards."""
    before = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    _replace({**_NO_AWS, **environment})
    msk_tokens.cache_clear()
    try:
        yield
    finally:
        _replace(before)
        msk_tokens.cache_clear()


def _replace(environment: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(environment)


def keys_of(identity: Identity) -> dict[str, str]:
    """Its credentials in environment variables."""
    found = {"AWS_ACCESS_KEY_ID": identity.access_key, "AWS_SECRET_ACCESS_KEY": identity.secret_key}
    return found | ({"AWS_SESSION_TOKEN": identity.session_token} if identity.session_token else {})


class _Said(logging.Handler):
    """Keeps every line."""

    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(self.format(record))


@contextmanager
def secured() -> Iterator[World]:
    """The broker and all around it. Raises `KafkaMissing` where it cannot be had."""
    with ExitStack() as exits:
        folder = Path(exits.enter_context(TemporaryDirectory(prefix="ottla-security-")))
        around = exits.enter_context(outside())
        said: list[str] = []
        exits.enter_context(_listening(said))
        world = World({name: free_port() for name in _LISTENERS}, folder, around, said)
        exits.enter_context(_broker(world))
        yield world


@contextmanager
def _listening(said: list[str]) -> Iterator[None]:
    root, ours, handler = logging.getLogger(), logging.getLogger("ottla"), _Said(said)
    levels = root.level, ours.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    ours.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(levels[0])
        ours.setLevel(levels[1])


def _broker(world: World) -> KafkaServer:
    here = world.authority.sign("broker", "127.0.0.1", "localhost")
    elsewhere = world.authority.sign("elsewhere", "broker.invalid")
    at = {name: f"{name}://{world.at(name)}" for name in _LISTENERS}
    bearer = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"
    url = world.outside.url
    properties = {
        "listeners": ",".join(at.values()),
        "advertised.listeners": ",".join(each for name, each in at.items() if name != "CONTROLLER"),
        "controller.quorum.voters": f"1@{world.at('CONTROLLER')}",
        "listener.security.protocol.map": ",".join(f"{name}:{how}" for name, how in _LISTENERS.items()),
        "inter.broker.listener.name": "OPEN",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(here.both),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(world.authority.file),
        "listener.name.elsewhere.ssl.keystore.type": "PEM",
        "listener.name.elsewhere.ssl.keystore.location": str(elsewhere.both),
        "listener.name.mtls.ssl.client.auth": "required",
        **_sasl("iam", "OAUTHBEARER", bearer),
        "listener.name.iam.oauthbearer.sasl.server.callback.handler.class": "MskIamValidator",
        **_sasl("scram", "SCRAM-SHA-512", "org.apache.kafka.common.security.scram.ScramLoginModule required"),
        **_sasl("oidc", "OAUTHBEARER", bearer),
        "listener.name.oidc.oauthbearer.sasl.server.callback.handler.class": (
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"
        ),
        "listener.name.oidc.oauthbearer.sasl.oauthbearer.jwks.endpoint.url": f"{url}/jwks",
        "listener.name.oidc.oauthbearer.sasl.oauthbearer.expected.audience": AUDIENCE,
        "listener.name.oidc.oauthbearer.sasl.oauthbearer.expected.issuer": ISSUER,
        # A connection whose token has expired is closed, as MSK does it.
        "connections.max.reauth.ms": "900000",
    }
    jvm = {
        "ottla.test.identities": f"{url}/identity",
        "ottla.test.region": REGION,
        "org.apache.kafka.sasl.oauthbearer.allowed.urls": f"{url}/jwks",
    }
    return KafkaServer(
        properties,
        heap_mb=384,
        jvm=[f"-D{name}={value}" for name, value in jvm.items()],
        classes=_compiled(world.folder),
    )


def _sasl(listener: str, mechanism: str, login: str) -> dict[str, str]:
    name = f"listener.name.{listener}"
    return {
        f"{name}.sasl.enabled.mechanisms": mechanism,
        f"{name}.{mechanism.lower()}.sasl.jaas.config": f"{login};",
    }


def _compiled(folder: Path) -> Path:
    """The folder of the validator's classes, compiled against the broker's jars."""
    compiler = Path(java()).with_name("javac")
    if not compiler.exists():
        found = shutil.which("javac")
        if found is None:
            raise KafkaMissing("`javac` is missing: the validator of MSK's tokens needs a JDK 17 or later")
        compiler = Path(found)
    classes = folder / "classes"
    subprocess.run(
        [str(compiler), "-cp", f"{kafka_libs()}/*", "-d", str(classes), str(_SOURCE)], check=True, timeout=60
    )
    return classes
