"""What deploy/kubernetes says of the shop is what the shop's apps say: topics, groups, rights."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ottla import App
from ottla.cli.run import load
from ottla.core.topology import CreateTopic, WantedTopic, plan_topics, replay_group, replay_topic
from tests.deploy.findings import ROOT
from tests.deploy.manifests import CHART, VERSION, Manifest, ipv4_literals, strimzi_manifests

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = VALUES["services"]
LISTENING = sorted(name for name, service in SERVICES.items() if "group" in service)
WRITING = ["Write", "Describe", "DescribeConfigs"]


@pytest.fixture(autouse=True)
def somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "my-cluster-kafka-bootstrap.kafka.svc:9093")
    monkeypatch.setenv("KAFKA_SECURITY", "tls")


def app_of(name: str) -> App:
    return load(SERVICES[name]["app"])


def topology(name: str) -> list[WantedTopic]:
    return app_of(name).topology()


def listened(name: str) -> set[str]:
    """The topics whose dead letters the service writes."""
    return {topic.takes_from for topic in topology(name) if topic.takes_from is not None}


def of_kind(kind: str) -> dict[str, Manifest]:
    return {each.name: each for each in strimzi_manifests() if each.kind == kind}


def rights(user: str) -> set[tuple[str, str, str]]:
    """(kind, name, operation), all by literal names."""
    return {
        (rule["resource"]["type"], rule["resource"]["name"], operation)
        for rule in of_kind("KafkaUser")[user].body["spec"]["authorization"]["acls"]
        for operation in rule["operations"]
        if rule["resource"]["patternType"] == "literal"
    }


def test_strimzi_makes_the_topics_that_the_apps_want_with_their_partitions() -> None:
    wanted = [topic for name in SERVICES for topic in topology(name)]
    steps = [step for step in plan_topics(wanted, present={}) if isinstance(step, CreateTopic)]

    made = {name: each.body["spec"]["partitions"] for name, each in of_kind("KafkaTopic").items()}

    replays = {replay_topic(topic, name): 6 for name in LISTENING for topic in listened(name)}
    ledgers = {f"{name}-replays": 1 for name in LISTENING}
    assert made == {step.topic: step.partitions for step in steps} | replays | ledgers


def test_strimzi_configures_topics_as_the_apps_wish() -> None:
    wishes = [
        (topic.name, key, value)
        for name in SERVICES
        for topic in topology(name)
        for key, value in topic.config.items()
    ]
    made = of_kind("KafkaTopic")

    unlike = [wish for wish in wishes if str(made[wish[0]].body["spec"]["config"].get(wish[1])) != wish[2]]
    ledgers = [made[f"{name}-replays"].body["spec"]["config"]["cleanup.policy"] for name in LISTENING]

    assert unlike == []
    assert ledgers == ["compact"] * len(LISTENING)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_what_its_app_does_and_nothing_else(name: str) -> None:
    read, group = listened(name), SERVICES[name].get("group", "")
    written = {topic.name for topic in topology(name)} - read
    readable = read | {replay_topic(topic, group) for topic in read}
    groups = {group, replay_group(group)} if read else set()

    needed = {
        *(("topic", topic, operation) for topic in written for operation in WRITING),
        *(("topic", topic, operation) for topic in readable for operation in ("Read", "Describe")),
        *(("group", each, "Read") for each in groups),
    }

    assert rights(f"shop-{name}") == needed


def test_nobody_may_make_change_or_remove_a_topic() -> None:
    users = of_kind("KafkaUser")

    kinds = {(kind, operation) for user in users for kind, _, operation in rights(user)}
    patterns = {
        rule["resource"]["patternType"]
        for each in users.values()
        for rule in each.body["spec"]["authorization"]["acls"]
    }

    assert len(users) == len(SERVICES) + 1
    assert {operation for _, operation in kinds} <= {"Read", "Write", "Describe", "DescribeConfigs"}
    assert {kind for kind, _ in kinds} == {"topic", "group"}
    assert patterns == {"literal"}


@pytest.mark.parametrize("name", SERVICES)
def test_the_charts_services_are_the_apps_of_the_shop(name: str) -> None:
    service = SERVICES[name]

    assert app_of(name).name == name
    assert service.get("group") == (name if listened(name) else None)
    assert service["app"].partition(":")[0] in " ".join(service["command"])


@pytest.mark.parametrize("name", LISTENING)
def test_a_listener_is_scaled_by_its_main_topics_up_to_their_partitions(name: str) -> None:
    scaling = SERVICES[name]["scaling"]
    partitions = [topic.partitions for topic in topology(name) if topic.name in listened(name)]

    assert set(scaling["topics"]) == listened(name)
    assert partitions == [scaling["partitions"]]
    assert scaling["maxReplicas"] <= scaling["partitions"]


def test_the_chart_names_the_topics_that_the_apps_declare() -> None:
    main = {topic.name for name in SERVICES for topic in topology(name) if topic.takes_from is None}

    assert VALUES["topics"] == {name: name for name in main}


def test_every_service_with_an_outbox_has_a_schema_of_its_own() -> None:
    schemas = [service["databaseSchema"] for service in SERVICES.values() if service.get("database")]

    # Else one of them would relay what the other has stored, without the rights for it.
    assert len(schemas) == len(set(schemas)) == 2


def test_the_api_server_is_of_the_version_that_manifests_are_checked_against() -> None:
    module = (ROOT / "scripts" / "k8s" / "cluster" / "go.mod").read_text()

    assert f"require k8s.io/kubernetes v{VERSION}\n" in module


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("host: 192.0.2.7", ["192.0.2.7"]),
        ("http://127.0.0.1:80/", ["127.0.0.1"]),
        ("--host=0.0.0.0", ["0.0.0.0"]),
        ("version: 1.37.2", []),
        ("my-cluster-kafka-bootstrap.kafka.svc:9093", []),
        ("1.2.3.4.5", []),
    ],
)
def test_an_address_of_ipv4_is_found_in_a_text(text: str, found: list[str]) -> None:
    assert ipv4_literals(text) == found
