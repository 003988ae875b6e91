"""What each role needs of Kafka, computed from the shop's apps.

Written apart from deploy/msk/modules/access on purpose: the two say the same thing twice, and
`make deploy-check` compares them.

Source of the actions: AWS, "Semantics of IAM authorization policy actions and resources".
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ottla import App
from ottla.cli.run import load
from ottla.core.access import AccessList
from ottla.kafka.properties import READER_GROUP
from ottla.settings import load_settings

APPS = {
    "orders": "examples.shop.orders.api:kafka",
    "billing": "examples.shop.billing.app:app",
    "notifications": "examples.shop.notifications.app:app",
}
SERVICES = Path(__file__).parents[2] / "deploy" / "msk" / "services.json"

Needed = set[tuple[str, str]]
"""An action, and the resource that it is for: `cluster`, `topic/orders`, `group/billing`."""

_READ = ("ReadData", "DescribeTopic")
_WRITE = ("WriteData", "DescribeTopic", "DescribeTopicDynamicConfiguration")
_JOIN = ("AlterGroup", "DescribeGroup")
_PROVIDE = (
    "CreateTopic",
    "DescribeTopic",
    "AlterTopic",
    "AlterTopicDynamicConfiguration",
    "DescribeTopicDynamicConfiguration",
)


def apps() -> dict[str, App]:
    """The shop's, by service, with no other settings than the code's own: the environment is not asked."""
    found = {service: load(path) for service, path in APPS.items()}
    for app in found.values():
        app._given_settings = load_settings(app.name, environ={"KAFKA_BOOTSTRAP_SERVERS": "localhost:9092"})
    return found


def described(services: dict[str, App]) -> dict[str, Any]:
    """What services.json has to say of them."""
    return json.loads(json.dumps({name: asdict(app.access().listed) for name, app in services.items()}))  # type: ignore[no-any-return]


def needed_by_services(accesses: dict[str, AccessList]) -> dict[str, Needed]:
    """Each service, for its own records; and for each with dead letters, who replays them."""
    roles = {name: service_needs(each) for name, each in accesses.items()}
    replayers = {f"{name}-replayer": replayer_needs(each) for name, each in accesses.items() if each.ledger}
    return roles | replayers


def service_needs(access: AccessList) -> Needed:
    """It handles and sends records, and makes no topic."""
    return (
        _cluster(is_writer=bool(access.writes))
        | _of("topic", access.reads, _READ)
        | _of("topic", access.writes, _WRITE)
        | _of("group", access.groups, _JOIN)
    )


def deployer_needs(topics: Iterable[str]) -> Needed:
    """It makes topics and alters them, and sees no record."""
    return _cluster(is_writer=False) | _of("topic", topics, _PROVIDE)


def replayer_needs(access: AccessList) -> Needed:
    """It reads dead letters and the ledger, and writes and where missing makes ledger and replays.

    It sees the service's own topics: a replay topic gets as many partitions as the topic, and where there
    are retry topics the letters go to the first of them.
    """
    assert access.ledger is not None
    seen = set(access.reads) - (set(access.replays) - set(access.writes))
    made = {access.ledger, *(set(access.replays) - set(access.writes))}
    return (
        _cluster(is_writer=True)
        | _of("topic", {*access.dead_letters, access.ledger}, _READ)
        | _of("topic", {*access.replays, access.ledger}, _WRITE)
        | _of("topic", seen - set(access.replays), ("DescribeTopic",))
        | _of("topic", made, ("CreateTopic",))
        | _of("group", [READER_GROUP], _JOIN)
    )


def _cluster(*, is_writer: bool) -> Needed:
    # Every producer of ours is idempotent.
    return _of("cluster", [""], ("Connect", "WriteDataIdempotently") if is_writer else ("Connect",))


def _of(kind: str, names: Iterable[str], actions: Iterable[str]) -> Needed:
    return {(f"kafka-cluster:{action}", f"{kind}/{name}".rstrip("/")) for name in names for action in actions}


if __name__ == "__main__":
    print(json.dumps(described(apps()), indent=2))
