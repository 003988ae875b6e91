"""The shop on a broker where each service has the rights of its KafkaUser in deploy/kubernetes/strimzi alone.

A right too few shows at the first record of a kind: an order, an invoice, a dead letter. Each service has
the schema that the chart gives it, because whoever relays an outbox needs the rights for all that lies there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from examples.shop.billing.invoices import create_tables as create_invoices
from examples.shop.orders.orders import create_tables as create_orders
from ottla.embedded.guarded import free_port
from ottla.postgres.migrations import upgrade
from tests.conftest import missing
from tests.deploy.manifests import strimzi_manifests
from tests.support.apps import produce, read_all, until
from tests.support.guarded_kafka import PASSWORD, GuardedKafka, guarded_kafka
from tests.support.kafka_server import KafkaMissing
from tests.support.processes import program, service

KINDS = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP}
OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}
ORDER = {
    "order_id": "order-1",
    "customer_id": "customer-1",
    "placed_on": "1997-01-01",
    "quantity": 1,
    "amount_usd": "11.77",
}


@pytest.fixture
def broker() -> Iterator[GuardedKafka]:
    """With the topics, the users and the rules of the files."""
    try:
        with guarded_kafka() as kafka:
            for each in strimzi_manifests():
                if each.kind == "KafkaTopic":
                    kafka.create_topic(each.name, each.body["spec"]["partitions"])
                elif each.kind == "KafkaUser":
                    kafka.add_user(each.name)
                    _grant(kafka, each.name, each.body["spec"]["authorization"]["acls"])
            yield kafka
    except KafkaMissing as error:
        missing(str(error))


def _grant(kafka: GuardedKafka, user: str, rules: list[dict[str, object]]) -> None:
    bindings = [
        AclBinding(
            KINDS[resource["type"]],
            resource["name"],
            ResourcePatternType.LITERAL,
            f"User:{user}",
            "*",
            OPERATIONS[operation],
            AclPermissionType.ALLOW,
        )
        for rule in rules
        if isinstance(resource := rule["resource"], dict) and isinstance(rule["operations"], list)
        for operation in rule["operations"]
    ]
    admin = kafka.admin()  # a client without a name ends before its answers come
    for answer in admin.create_acls(bindings).values():
        answer.result(30)


async def test_an_order_is_billed_and_a_poison_record_buried_with_no_right_beyond_the_files(
    broker: GuardedKafka, database_url: str, tmp_path: Path
) -> None:
    (file := tmp_path / "ottla.toml").write_text('[kafka.client]\n"security.protocol" = "SASL_PLAINTEXT"\n')
    for schema in ("ottla_orders", "ottla_billing"):
        upgrade(database_url, schema)
    create_orders(database_url)
    create_invoices(database_url)

    def environment(name: str) -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": broker.guarded,
            "KAFKA_SECURITY": "scram",
            "KAFKA_USERNAME": f"shop-{name}",
            "KAFKA_PASSWORD": PASSWORD,
            "KAFKA_SESSION_TIMEOUT_S": "6",
            "OTTLA_CONFIG": str(file),
            "DATABASE_URL": database_url,
            "DATABASE_SCHEMA": f"ottla_{name}",
        }

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    api = ("examples.shop.orders.api:api", "--port", str(port), "--log-level", "warning")
    produce(broker, "orders", [("order-0", "no order")])

    with (
        program("uvicorn", tmp_path, *api, environment=environment("orders")),
        service("examples.shop.billing.app:app", tmp_path, environment=environment("billing")),
    ):

        async def is_placed() -> bool:
            async with httpx.AsyncClient(base_url=url, timeout=20) as client:
                try:
                    return (await client.post("/orders", json=ORDER)).is_success
                except httpx.TransportError:
                    return False

        await until(is_placed, what="the order is placed")
        await until(lambda: read_all(broker, "invoices"), what="the order is billed")
        await until(lambda: read_all(broker, "orders-billing-dlt"), what="the poison record is buried")
        invoices, letters = read_all(broker, "invoices"), read_all(broker, "orders-billing-dlt")

    assert [each.key() for each in invoices] == [b"order-1"]
    assert [each.value() for each in letters] == [b"no order"]
