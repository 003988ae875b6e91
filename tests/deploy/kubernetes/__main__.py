"""`make k8s-check`: a real API server is asked whether it takes what deploy/kubernetes gives it.

Every manifest of every values file, KEDA's and Strimzi's resources included, by server-side dry run with
strict fields, into namespaces that enforce the level "restricted" of Pod Security; a warning counts as a
refusal. Then three that are broken, of which it must say what is wrong. Last line:
`k8s-check: accepted=N refused=3`.
"""

from __future__ import annotations

import copy
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ottla.embedded.guarded import ServerFailed
from tests.deploy.findings import ROOT
from tests.deploy.kubernetes.api_server import Answer, ApiServer
from tests.deploy.manifests import (
    ENVIRONMENTS,
    TOOLS,
    Manifest,
    environment_name,
    helm,
    manifests,
    strimzi_manifests,
)

SHOP, KAFKA = "shop", "kafka"
"""Namespaces."""


@dataclass(frozen=True, slots=True)
class Broken:
    """One edit to a manifest that was accepted, and a word of the refusal that must follow."""

    kind: str
    name: str
    namespace: str
    edit: Callable[[dict[str, Any]], Any]
    told: str


BROKEN = (
    Broken(
        "Deployment",
        "shop-billing",
        SHOP,
        lambda body: _container(body).update(readynessProbe=_container(body).pop("readinessProbe")),
        "readynessProbe",
    ),
    Broken(
        "ScaledObject",
        "shop-billing",
        SHOP,
        lambda body: body["spec"].update(maxReplicaCount="six"),
        "maxReplicaCount",
    ),
    Broken(
        "KafkaUser",
        "shop-billing",
        KAFKA,
        lambda body: body["spec"]["authorization"]["acls"][0].update(operations=["Reed"]),
        "Reed",
    ),
)


def main() -> int:
    """0 when all were accepted and all broken ones refused for what is wrong with them."""
    began = time.monotonic()
    if subprocess.run(["bash", "scripts/k8s_tools.sh"], cwd=ROOT, check=False).returncode:
        print("k8s-check: FAILED its tools are not there; the words above tell why")
        return 1
    try:
        shop, strimzi = _rendered(), strimzi_manifests()
        with ApiServer() as server:
            print(f"k8s-check: kube-apiserver {server.version()}", flush=True)
            server.define(_definitions())
            for namespace in (SHOP, KAFKA):
                server.create_namespace(namespace)
            answers = [
                *(server.dry_run(each, SHOP) for each in shop),
                *(server.dry_run(each, KAFKA) for each in strimzi),
            ]
            refusals = [_refusal(server, each, [*shop, *strimzi]) for each in BROKEN]
    except (ServerFailed, ValueError) as error:
        print(f"k8s-check: FAILED {error}")
        return 1
    return _told(answers, refusals, time.monotonic() - began)


def _told(answers: list[Answer], refusals: list[tuple[Broken, Answer]], took_s: float) -> int:
    problems = [str(answer) for answer in answers if answer.refusal]
    refused = 0
    for broken, answer in refusals:
        if broken.told in (answer.refusal or ""):
            refused += 1
            print(f"k8s-check: refused, as it should be: {answer}")
        else:
            problems.append(f"should be refused for {broken.told!r}: {answer}")
    for problem in problems:
        print(f"k8s-check: FAILED {problem}")
    accepted = sum(answer.refusal is None for answer in answers)
    print(f"k8s-check: {took_s:.0f} s")
    print(f"k8s-check: accepted={accepted} refused={refused}")
    return 1 if problems or not accepted else 0


def _rendered() -> list[Manifest]:
    """The chart for every environment. Raises ValueError when Helm refuses it."""
    found: list[Manifest] = []
    for values in ENVIRONMENTS:
        done = helm("template", values)
        if done.code:
            raise ValueError(f"helm template, {environment_name(values)}: {done.last_words}")
        found += manifests(environment_name(values), done.output)
    return found


def _definitions() -> list[Manifest]:
    files = [TOOLS / "crds" / "keda.yaml", TOOLS / "crds" / "strimzi.yaml"]
    return [each for file in files for each in manifests(file.name, file.read_text())]


def _refusal(server: ApiServer, broken: Broken, taken: list[Manifest]) -> tuple[Broken, Answer]:
    sound = next(each for each in taken if (each.kind, each.name) == (broken.kind, broken.name))
    body = copy.deepcopy(sound.body)
    broken.edit(body)
    return broken, server.dry_run(Manifest(f"{sound.origin}, broken", body), broken.namespace)


def _container(deployment: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return container


if __name__ == "__main__":
    sys.exit(main())
