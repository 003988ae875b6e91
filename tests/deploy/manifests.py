"""What deploy/kubernetes gives a cluster: the chart, rendered per environment, and Strimzi's resources."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.findings import ROOT, Ended, Missing, run

CHART = ROOT / "deploy" / "kubernetes" / "shop"
STRIMZI = ROOT / "deploy" / "kubernetes" / "strimzi"
TOOLS = ROOT / ".k8s"
VERSION = "1.37.2"
"""Of Kubernetes: scripts/k8s/cluster/go.mod."""
ENVIRONMENTS = (None, *sorted(CHART.glob("values-*.yaml")))
"""Values files, each on top of the chart's own; None is those alone."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object, and where it is from."""

    origin: str
    body: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.body["kind"])

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    def __str__(self) -> str:
        return f"{self.origin}: {self.kind} {self.name}"


def get_helm() -> Path:
    """Helm, built from its module where it is not there yet. Raises `Missing`."""
    done = subprocess.run(
        ["bash", "scripts/k8s_tools.sh", "helm"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Missing(done.stderr.strip())
    return TOOLS / "helm"


def environment_name(values: Path | None) -> str:
    """As failures name it."""
    return values.name if values else "values.yaml"


def helm(command: str, values: Path | None, *arguments: str) -> Ended:
    """`helm lint` or `helm template` of the chart, as a release `shop` in a namespace `shop`."""
    name = ["shop"] if command == "template" else []
    chosen = ["--values", str(values)] if values else []
    fixed = ["--namespace", "shop", "--kube-version", VERSION]
    return run(TOOLS / "helm", command, *name, CHART, *fixed, *chosen, *arguments)


def manifests(origin: str, text: str) -> Iterator[Manifest]:
    """The objects in a YAML text."""
    for body in yaml.safe_load_all(text):
        if body is not None:
            yield Manifest(origin, body)


def strimzi_manifests() -> list[Manifest]:
    """The cluster, topics and users beside the chart."""
    return [
        each for path in sorted(STRIMZI.glob("*.yaml")) for each in manifests(path.name, path.read_text())
    ]


def ipv4_literals(text: str) -> list[str]:
    """What looks like an address of IPv4, 0.0.0.0 included; versions have fewer parts."""
    return re.findall(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])", text)
