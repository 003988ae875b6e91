"""The Compose file, its image and its dashboard keep what their comments and the docs promise."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ottla.admin.metrics import METRICS
from tests.deploy.compose.stand_ins.start.kafka import properties

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "compose"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
DASHBOARD = json.loads((FOLDER / "grafana" / "dashboards" / "services.json").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
ALERTS = yaml.safe_load((FOLDER / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]


def named(expression: str) -> set[str]:
    """The metrics that an expression names; a histogram by its own name."""
    histograms = {metric.name for metric in METRICS if metric.kind == "histogram"}
    words = re.findall(r"\bottla_\w+", expression)
    bare = ((word, re.sub(r"_(bucket|sum|count)$", "", word)) for word in words)
    return {base if base in histograms else word for word, base in bare}


def test_the_shop_is_found() -> None:
    assert OURS == ["init", "orders", "billing", "notifications", "mail"]


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    shown = set().union(*map(named, EXPRESSIONS))

    assert shown == {metric.name for metric in METRICS}


def test_alerts_name_metrics_that_exist() -> None:
    watched = set().union(*(named(alert["expr"]) for alert in ALERTS))

    assert "ottla_ready" in watched
    assert watched <= {metric.name for metric in METRICS}


def test_outcomes_and_labels_of_expressions_exist() -> None:
    expressions = [*EXPRESSIONS, *(alert["expr"] for alert in ALERTS)]
    (ended,) = (metric for metric in METRICS if metric.labels == ("listener", "outcome"))
    labels = {label for metric in METRICS for label in metric.labels} | {"service", "le"}

    outcomes = {word for text in expressions for word in re.findall(r'outcome="(\w+)"', text)}
    grouped = {
        label
        for text in expressions
        for names in re.findall(r"by \(([^)]+)\)", text)
        for label in names.split(", ")
    }

    assert "dead_lettered" in outcomes
    assert outcomes <= set(re.findall(r"\w+", ended.description))
    assert grouped <= labels


def test_the_dashboard_asks_the_data_source_that_is_provisioned() -> None:
    (source,) = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]

    asked = {target["datasource"]["uid"] for panel in DASHBOARD["panels"] for target in panel["targets"]}

    assert asked == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"


def test_prometheus_scrapes_the_admin_port_of_every_service_that_has_one() -> None:
    (job,) = yaml.safe_load((FOLDER / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    ports = {
        name: service["environment"]["OTTLA_ADMIN_PORT"]
        for name, service in SERVICES.items()
        if "OTTLA_ADMIN_PORT" in service.get("environment", {})
    }

    assert sorted(job["static_configs"][0]["targets"]) == sorted(
        f"{name}:{port}" for name, port in ports.items()
    )


def test_ports_are_published_on_loopback_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert len(published) > 3
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_bounded_and_may_gain_no_privileges(name: str) -> None:
    service = SERVICES[name]

    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["restart"] == ("no" if name == "init" else "unless-stopped")
    assert "healthcheck" in service or name == "init"


@pytest.mark.parametrize("name", OURS)
def test_our_services_cannot_write_but_to_tmp_and_are_given_the_time_to_drain(name: str) -> None:
    service = SERVICES[name]
    settings = {**service.get("environment", {})}
    drain_s = float(settings.get("KAFKA_DRAIN_S", 25))

    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert "cap_add" not in service
    assert float(service["stop_grace_period"].removesuffix("s")) > drain_s


def test_the_broker_makes_no_topic_by_itself_and_is_the_version_that_is_tested() -> None:
    (tested,) = re.findall(
        r"kafka_2\.13</artifactId><version>([\d.]+)<", (ROOT / "scripts/kafka/pom.xml").read_text()
    )

    assert SERVICES["kafka"]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert SERVICES["kafka"]["image"] == f"${{KAFKA_IMAGE:-apache/kafka:{tested}}}"


def test_what_stands_in_for_kafka_reads_its_environment_as_the_official_image_does() -> None:
    environment = {
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_A__B": "1",
        "KAFKA_A___B": "2",
        "KAFKA_HEAP_OPTS": "-Xmx1g",
        "CLUSTER_ID": "c",
    }

    assert properties(environment) == {"auto.create.topics.enable": "false", "a_b": "1", "a-b": "2"}


def test_the_image_runs_as_a_number_above_10000_and_stops_by_sigterm() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()

    (user,) = [line for line in lines if line.startswith("USER ")]
    assert int(user.split()[1].split(":")[0]) > 10_000
    assert "STOPSIGNAL SIGTERM" in lines
    assert "ARG BASE_IMAGE=python:3.13-slim" in lines


def test_no_package_of_the_image_is_installed_without_its_hash() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")

    installs = re.findall(r"pip [^;\n]*\binstall\b[^;\n]*", text)

    assert len(installs) == 3
    assert [
        install for install in installs if "--require-hashes" not in install and "dist/*.whl" not in install
    ] == []
