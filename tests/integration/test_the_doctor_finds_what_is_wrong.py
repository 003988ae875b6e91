"""`ottla doctor` on a real cluster and database: a sound service, and each fault with its cure.

Whoever is called at night runs it in the pod that does not start. What it says must be the one
thing that is wrong; and it must be safe to run there: nothing is made, changed or joined.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from confluent_kafka.admin import AclOperation, ResourceType

from ottla import App, Topic
from ottla.core.diagnosis.cluster import SeenTopic
from ottla.embedded.guarded import free_port
from ottla.kafka.inspection import KafkaInspection
from tests.conftest import missing
from tests.support.apps import produce, running, settings_for
from tests.support.doctor import TAKING, WISHING, doctor, doctor_started
from tests.support.guarded_kafka import NOWHERE, PASSWORD, GuardedKafka, guarded_kafka
from tests.support.kafka_server import KafkaMissing

OFFSETS = "__consumer_offsets"
"""Which a broker makes for itself when it is asked for a group for the first time."""

Environment = Mapping[str, str]


@pytest.fixture(scope="module")
def broker() -> Iterator[GuardedKafka]:
    """With all that group billing needs on topic orders; it would make any topic that a client asks for."""
    try:
        with guarded_kafka({"auto.create.topics.enable": "true"}) as kafka:
            for topic in ("orders", "orders-billing-dlt"):
                kafka.create_topic(topic, 2)
            yield kafka
    except KafkaMissing as error:
        missing(str(error))


@pytest.fixture
def billing(broker: GuardedKafka) -> Environment:
    """The environment of a service that all is there for."""
    return {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers, "KAFKA_GROUP_ID": "billing"}


class User:
    """Somebody who comes by password, and may do what is allowed to them."""

    def __init__(self, broker: GuardedKafka, folder: Path, name: str) -> None:
        self.name = name
        self._broker = broker
        broker.add_user(name)
        file = folder / "ottla.toml"
        file.write_text('[kafka.client]\n"security.protocol" = "SASL_PLAINTEXT"\n')
        self.environment: Environment = {
            "KAFKA_BOOTSTRAP_SERVERS": broker.guarded,
            "KAFKA_GROUP_ID": "billing",
            "KAFKA_SECURITY": "scram",
            "KAFKA_USERNAME": name,
            "KAFKA_PASSWORD": PASSWORD,
            "OTTLA_CONFIG": str(file),
        }

    def may(self, operation: AclOperation, topic: str) -> None:
        self._broker.allow(self.name, operation, topic)


def on_cluster(broker: GuardedKafka) -> tuple[set[str], set[str]]:
    """Its topics, and its groups."""
    admin = broker.admin()
    topics = set(admin.list_topics(timeout=10).topics) - {OFFSETS}
    groups = {group.group_id for group in admin.list_consumer_groups().result(10).valid}
    return topics, groups


def tables(url: str) -> list[tuple[str, str]]:
    with psycopg.connect(url) as sql:
        return sql.execute(
            "SELECT schemaname, tablename FROM pg_tables "
            "WHERE schemaname !~ '^(pg_|information)' ORDER BY 1, 2"
        ).fetchall()


def test_a_sound_service_is_told_line_by_line_and_nothing_is_made(
    broker: GuardedKafka, billing: Environment, migrated: str
) -> None:
    before = on_cluster(broker), tables(migrated)

    process = doctor_started(TAKING, **billing, DATABASE_URL=migrated, OTTLA_ADMIN_PORT=str(free_port()))
    out, err = process.communicate(timeout=60)

    lines = out.splitlines()
    check, of = lines[0].index("check"), lines[0].index("of")
    told = [(line[:check].strip(), line[check:of].strip()) for line in lines[1:-1]]
    assert process.returncode == 0, out
    assert err == ""
    assert [line for line in lines if line.startswith("warn")] == [
        line for line in lines if "1 copy: a lost disk loses acknowledged records" in line
    ]
    assert [name for _, name in told] == [
        *("settings", "wiring", "name", "connection", "login", "advertised", "topic", "topic", "topic"),
        *("replication", "rights", "group", "database", "database", "clock", "admin port"),
    ]
    assert lines[-1] == "doctor: ok=15 warn=1 failed=0 skipped=0"
    assert (on_cluster(broker), tables(migrated)) == before


def test_topics_that_are_not_there_are_told_and_not_made(broker: GuardedKafka, billing: Environment) -> None:
    before = on_cluster(broker)

    found = doctor(WISHING, **{**billing, "KAFKA_GROUP_ID": "shipping"})

    assert found.code == 1
    assert found.ill() == ["topic orders-shipping-dlt"]
    ((_, said),) = found.of("topic", "orders-shipping-dlt")
    assert "no such topic there; run `ottla topics apply MODULE:APP`" in said
    assert "orders-shipping-dlt" not in before[0]
    assert on_cluster(broker) == before


def test_a_password_that_is_refused_is_told_and_what_needs_a_login_is_skipped(
    broker: GuardedKafka, tmp_path: Path
) -> None:
    user = User(broker, tmp_path, "forgetful")

    found = doctor(WISHING, **{**user.environment, "KAFKA_PASSWORD": "s3cret-and-wrong"})

    assert found.code == 1
    assert found.ill() == [f"login {broker.guarded}"]
    ((_, said),) = found.of("login")
    assert "invalid credentials" in said
    assert "check KAFKA_USERNAME and KAFKA_PASSWORD" in said
    assert [found.of(check)[0][0] for check in ("advertised", "topic", "group")] == ["skipped"] * 3
    assert "s3cret" not in str(found)


def test_each_right_that_is_missing_is_named(broker: GuardedKafka, tmp_path: Path) -> None:
    user = User(broker, tmp_path, "newcomer")
    user.may(AclOperation.READ, "orders")
    user.may(AclOperation.DESCRIBE, "orders-billing-dlt")

    found = doctor(WISHING, **user.environment)

    assert found.code == 1
    assert found.ill() == ["rights topic orders-billing-dlt", "group billing"]
    assert found.of("rights", "topics") == [("ok", "may read orders")]
    assert "grant WRITE on the topic" in found.of("rights")[1][1]
    assert "grant READ on the group" in found.of("group")[0][1]


def test_with_the_rights_that_were_named_all_is_well(broker: GuardedKafka, tmp_path: Path) -> None:
    user = User(broker, tmp_path, "settled")
    user.may(AclOperation.READ, "orders")
    user.may(AclOperation.WRITE, "orders-billing-dlt")
    broker.allow(user.name, AclOperation.READ, "billing", ResourceType.GROUP)

    found = doctor(WISHING, **user.environment)

    assert (found.code, found.ill()) == (0, [])


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_beside_a_running_service_its_group_and_its_admin_port_are_well(
    broker: GuardedKafka, unique: str, protocol: str
) -> None:
    environment = {
        "KAFKA_GROUP_ID": unique,
        "KAFKA_GROUP_PROTOCOL": protocol,
        "OTTLA_ADMIN_PORT": str(free_port()),
    }
    broker.create_topic(f"orders-{unique}-dlt", 2)
    app = App("running", settings=settings_for(broker, **environment))

    @app.listener(Topic("orders", str))
    async def handle(value: str) -> None: ...

    async with running(app):
        found = await asyncio.to_thread(
            lambda: doctor(WISHING, KAFKA_BOOTSTRAP_SERVERS=broker.bootstrap_servers, **environment)
        )

    ((verdict, said),) = found.of("group")
    assert (found.code, found.ill(), verdict) == (0, [], "ok")
    assert "1 member, " in said
    assert found.of("admin port") == [("ok", "taken by a service of Ottla's that runs")]


def test_kafka_asks_for_no_more_replicas_in_sync_than_there_are(broker: GuardedKafka, unique: str) -> None:
    broker.create_topic(unique, 2, {"min.insync.replicas": "3"})
    looking = KafkaInspection({"bootstrap.servers": broker.bootstrap_servers}, timeout_s=30)

    seen = looking.seen_topics([unique])
    produce(broker, unique, [("key", "acknowledged")])

    topic = seen[unique]
    assert isinstance(topic, SeenTopic)
    assert (topic.partitions, topic.replicas, topic.in_sync, topic.min_in_sync) == (2, 1, 1, 3)


def test_a_listener_that_wants_a_login_is_told_to_who_comes_without(broker: GuardedKafka) -> None:
    found = doctor(KAFKA_BOOTSTRAP_SERVERS=broker.guarded)

    assert found.code == 1
    assert "may want TLS or a login: set KAFKA_SECURITY" in found.of("login")[0][1]


def test_a_name_that_a_broker_advertises_and_that_does_not_exist_is_told(broker: GuardedKafka) -> None:
    found = doctor(WISHING, KAFKA_BOOTSTRAP_SERVERS=broker.misleading, KAFKA_GROUP_ID="billing")

    assert found.code == 1
    assert found.ill() == [f"advertised {NOWHERE} (broker 1)"]
    ((_, said),) = found.of("advertised")
    assert "clients are sent to this address, and it fails: does not resolve" in said
    assert "mend the broker's advertised.listeners" in said
    assert [found.of(check) for check in ("topic", "group")] == [
        [("skipped", "not looked at: it needs advertised")]
    ] * 2


def test_a_database_that_is_not_migrated_is_told_and_stays_as_it_is(
    billing: Environment, database_url: str
) -> None:
    found = doctor(TAKING, **billing, DATABASE_URL=database_url)

    assert found.code == 1
    assert found.ill() == ["database schema ottla"]
    assert (
        found.of("database", "schema ottla")[0][1] == "Ottla's tables are not there; run `ottla db upgrade`"
    )
    assert tables(database_url) == []


def test_rights_on_the_tables_and_limits_of_the_databases_user_are_told(
    billing: Environment, migrated: str
) -> None:
    role = f"r{urlsplit(migrated).path.strip('/')}"
    with psycopg.connect(migrated, autocommit=True) as sql:
        sql.execute(f"CREATE ROLE {role} LOGIN PASSWORD 's3cret'".encode())
        sql.execute(f"GRANT USAGE ON SCHEMA ottla TO {role}".encode())
        sql.execute(f"GRANT SELECT ON ottla.schema_version, ottla.inbox TO {role}".encode())
        sql.execute(f"ALTER ROLE {role} SET statement_timeout = '2s'".encode())
    url = urlsplit(migrated)
    as_role = url._replace(netloc=f"{role}:s3cret@{url.netloc.rpartition('@')[2]}").geturl()

    found = doctor(TAKING, **billing, DATABASE_URL=as_role)
    with psycopg.connect(migrated, autocommit=True) as sql:
        sql.execute(f"DROP OWNED BY {role}".encode())
        sql.execute(f"DROP ROLE {role}".encode())

    told = " ".join(said for _, said in found.of("database"))
    assert found.ill() == ["database schema ottla"]
    assert (
        "grant INSERT on ottla.inbox, UPDATE on ottla.inbox, DELETE on ottla.inbox, SELECT on ottla.outbox"
        in told
    )
    assert "statement_timeout ends what takes longer than 2 s" in told
    assert "s3cret" not in str(found)


def test_a_transaction_without_a_database_is_wiring_that_must_be_edited(billing: Environment) -> None:
    found = doctor(TAKING, **billing)

    assert found.code == 78
    assert found.ill() == [f"wiring {TAKING}"]
    assert "takes a Transaction: set DATABASE_URL" in found.of("wiring")[0][1]
    assert found.of("login")[0][0] == "ok"
