"""Every setting: its name, type, default, bounds, and one line that says what it does.

A setting's place in the model is its key in TOML (`kafka.drain_s`). Its environment
variable follows from it: `KAFKA_DRAIN_S`; `database_url` is `DATABASE_URL`; what is
neither Kafka's, the database's nor the registry's has our prefix, as `OTTLA_FAIL_FAST`.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from ottla.core.aws_region import REGION
from ottla.core.topology import Naming

RawProperties = dict[str, str | int | float | bool]
"""librdkafka properties as TOML gives them."""

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Timeout = Annotated[float, Field(ge=0.1, le=86_400, allow_inf_nan=False)]
"""For PostgreSQL, which takes what rounds to 0 ms as "never"."""
Count = Annotated[int, Field(ge=1, le=100_000_000)]

SettingPath = tuple[str, ...]


class Security(enum.Enum):
    """How clients speak to the brokers."""

    PLAINTEXT = "plaintext"
    TLS = "tls"
    MTLS = "mtls"
    SCRAM = "scram"
    OAUTH = "oauth"
    MSK_IAM = "msk-iam"


class KafkaSettings(BaseModel):
    """The table `[kafka]`; variables begin with `KAFKA_`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap_servers: str = Field(description="brokers to begin with: host:port[,host:port]")
    group_id: str | None = Field(
        default=None, min_length=1, description="the consumer group; the app's name unless set"
    )
    security: Security = Field(
        default=Security.PLAINTEXT,
        description="plaintext, tls, mtls, scram, oauth, msk-iam; unset only with brokers on loopback",
    )
    username: str | None = Field(default=None, description="user for scram")
    password: SecretStr | None = Field(default=None, description="password for scram")
    scram_mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="what the broker stores passwords as"
    )
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authority that signed the brokers; the system's unless set"
    )
    certificate_file: Path | None = Field(default=None, description="PEM file of our certificate for mtls")
    key_file: Path | None = Field(default=None, description="PEM file of its private key for mtls")
    key_password: SecretStr | None = Field(default=None, description="password of the private key")
    oauth_token_url: str | None = Field(default=None, description="token endpoint for oauth (OIDC)")
    oauth_client_id: str | None = Field(default=None, description="client id for oauth")
    oauth_client_secret: SecretStr | None = Field(default=None, description="client secret for oauth")
    oauth_scope: str | None = Field(default=None, description="scope to ask for with oauth")
    aws_region: str | None = Field(
        default=None,
        pattern=rf"^{REGION}$",
        description="region of the brokers for msk-iam; found by their names, else AWS_REGION, unless set",
    )
    start: Literal["earliest", "latest"] = Field(
        default="earliest", description="where a group without a committed offset begins"
    )
    group_protocol: Literal["classic", "consumer"] = Field(
        default="classic", description="rebalance protocol; consumer is KIP-848"
    )
    assignor: Literal["cooperative-sticky", "range", "roundrobin"] = Field(
        default="cooperative-sticky", description="who gets which partition, in the classic protocol"
    )
    group_instance_id: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
        description="static membership: a name that this process keeps over restarts and no other has",
    )
    session_timeout_s: Seconds = Field(
        default=45, description="a member silent for longer is dead; the broker decides with KIP-848"
    )
    max_poll_interval_s: Seconds = Field(
        default=300,
        description="a member whose poll loop stands for longer is dead; with KIP-848 at most drain_s + 20",
    )
    drain_s: Seconds = Field(
        default=25, description="how long handlers may finish on stop or revoke; below max_poll_interval_s"
    )
    buffered_records: Count = Field(default=10_000, description="polled records kept in memory")
    buffered_mb: Count = Field(default=64, description="megabytes of polled records kept in memory")
    window: Count = Field(
        default=100_000, description="how far ahead of its oldest unfinished record a partition may go"
    )
    commit_records: Count = Field(default=5_000, description="finished records after which to commit")
    commit_interval_s: Seconds = Field(default=0.2, description="age of a finished record at which to commit")
    naming: Naming = Field(
        default=Naming.PER_GROUP,
        description="names of retry and dead-letter topics: per-group, or spring as Java has them",
    )
    client: RawProperties = Field(
        default_factory=dict, repr=False, description="librdkafka properties of all"
    )
    consumer: RawProperties = Field(
        default_factory=dict, repr=False, description="librdkafka properties of consumers"
    )
    producer: RawProperties = Field(
        default_factory=dict, repr=False, description="librdkafka properties of producers"
    )


class Settings(BaseModel):
    """All settings of a process; frozen, and sound when `load_settings` returned it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kafka: KafkaSettings
    topics: dict[str, str] = Field(
        default_factory=dict, description="real names of topics, where they differ from the declared ones"
    )
    database_url: SecretStr | None = Field(
        default=None, description="PostgreSQL of inbox and effects: postgresql://user:password@host/name"
    )
    database_connections: Annotated[int, Field(ge=2, le=10_000)] = Field(
        default=8, description="connections per process, one of them for the outbox"
    )
    database_lock_timeout_s: Timeout = Field(
        default=30, description="how long a statement waits for a lock; then its transaction is run again"
    )
    database_idle_in_transaction_s: Timeout = Field(
        default=60, description="how long a transaction may lie idle before PostgreSQL ends it and its locks"
    )
    database_unanswered_s: Timeout = Field(
        default=15, description="how long what was sent may stay unacknowledged before a connection is dead"
    )
    database_schema: str = Field(
        default="ottla", pattern=r"^[a-z_][a-z0-9_]{0,62}$", description="schema of Ottla's tables"
    )
    dedup_window_days: float = Field(
        default=7, gt=0, le=3650, allow_inf_nan=False, description="how long event ids are remembered"
    )
    schema_registry_url: SecretStr | None = Field(
        default=None, description="schema registry of Avro and JSON Schema: https://host:port[/path]"
    )
    schema_registry_username: str | None = Field(
        default=None, description="its user, or API key, for basic authentication"
    )
    schema_registry_password: SecretStr | None = Field(
        default=None, description="its password, or API secret"
    )
    schema_registry_ca_file: Path | None = Field(
        default=None, description="PEM file of the authority that signed it; Mozilla's (certifi) unless set"
    )
    schema_registry_certificate_file: Path | None = Field(
        default=None, description="PEM file of our certificate, where it asks for one (mTLS)"
    )
    schema_registry_key_file: Path | None = Field(
        default=None, description="PEM file of its private key; unset where the certificate's has it"
    )
    schema_registry_key_password: SecretStr | None = Field(
        default=None, description="password of that private key"
    )
    schema_registry_auto_register: bool = Field(
        default=False, description="register what is sent and not registered; for development"
    )
    schema_registry_timeout_s: Annotated[float, Field(gt=0, le=300, allow_inf_nan=False)] = Field(
        default=5, description="how long one question to it may take"
    )
    fail_fast: bool = Field(
        default=False,
        description="exit instead of waiting when broker, topic, database or schema is not there",
    )
    admin_port: Annotated[int, Field(ge=0, le=65_535)] | None = Field(
        default=None,
        description="port of /livez, /readyz and /metrics, which are off unless set; 0 for a free one",
    )
    admin_host: str = Field(
        default="127.0.0.1", description="address that this port is opened on; 0.0.0.0 in a container"
    )

    def topic_name(self, declared: str) -> str:
        """What the topic declared as `declared` is called on this cluster."""
        return self.topics.get(topic_key(declared), declared)


def topic_key(name: str) -> str:
    """How `name` is written behind `TOPICS__`, in lower case: orders.v1 and ORDERS-V1 are orders_v1."""
    return name.lower().replace("-", "_").replace(".", "_")


def variable_of(path: SettingPath) -> str | None:
    """The environment variable of a setting; None for raw properties, which only TOML has."""
    if path[0] == "topics":
        return "TOPICS__" + "__".join(topic_key(part).upper() for part in path[1:] or ("NAME",))
    if path[:1] == ("kafka",) and (path[1:2] == () or path[1] in RAW_TABLES):
        return None
    name = "_".join(path).upper()
    return (
        name if path[0] == "kafka" or name.startswith(("DATABASE_", "SCHEMA_REGISTRY_")) else f"OTTLA_{name}"
    )


def key_of(path: SettingPath) -> str:
    """The dotted key of a setting in TOML."""
    return ".".join(f'"{part}"' if "." in part else part for part in path)


RAW_TABLES = ("client", "consumer", "producer")

SETTINGS: dict[SettingPath, str] = {
    **{("kafka", name): field.description or "" for name, field in KafkaSettings.model_fields.items()},
    **{(name,): field.description or "" for name, field in Settings.model_fields.items() if name != "kafka"},
}
"""Every setting that can be written, with its description, in the order to show them."""

BY_VARIABLE: dict[str, SettingPath] = {
    variable: path for path in SETTINGS if path != ("topics",) and (variable := variable_of(path)) is not None
}
