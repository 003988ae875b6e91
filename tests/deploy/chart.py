"""The chart: linted, rendered for every environment, wrong values refused."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.findings import Findings, run, tool
from tests.deploy.manifests import (
    ENVIRONMENTS,
    STRIMZI,
    VERSION,
    environment_name,
    get_helm,
    helm,
    ipv4_literals,
    manifests,
)

STRIMZI_VALUES, EKS_VALUES = (
    next(path for path in ENVIRONMENTS if path and path.name == name)
    for name in ("values-strimzi.yaml", "values-eks-msk.yaml")
)


@dataclass(frozen=True, slots=True)
class Wrong:
    """Values that must be refused, with words that name them."""

    setting: str
    told: str
    values: Path | None = None
    flag: str = "--set"


WRONG = (
    Wrong("kafka.bootstrapServer=kafka:9092", "bootstrapServer"),
    Wrong("kafka.bootstrapServers=kafka", "bootstrapServers"),
    Wrong("kafka.bootstrapServers=192.0.2.7:9092", "bootstrapServers"),
    Wrong("kafka.security=ssl", "kafka/security"),
    Wrong("image.tag=latest", "image/tag"),
    Wrong("services.billing.replicas=2", "services/billing/replicas", flag="--set-string"),
    Wrong("services.billing.readynessProbe.path=/", "readynessProbe"),
    Wrong("services.billing.resources.limits.memory=null", "resources/limits"),
    Wrong("services.billing.scaling.minReplicas=0", "minReplicas"),
    Wrong("services.billing.scaling.topics={orders-billing-dlt}", "scaling/topics"),
    Wrong("services.billing.scaling.topics={orders-billing-retry-1000}", "scaling/topics"),
    Wrong("settings.KAFKA_PASSWORD=secret", "KAFKA_PASSWORD"),
    Wrong("terminationGracePeriodSeconds=25", "terminationGracePeriodSeconds: 25 s end pods of billing"),
    Wrong("kafka.drainSeconds=120,terminationGracePeriodSeconds=90", "takes up to 120 s"),
    Wrong("services.billing.scaling.maxReplicas=7", "7 pods share 6 partitions", STRIMZI_VALUES),
    Wrong("services.billing.scaling.minReplicas=9", "9 is above maxReplicas", STRIMZI_VALUES),
    Wrong("services.billing.group=null", "set group", STRIMZI_VALUES),
    Wrong("topics.orders=null", "orders is none of topics (invoices)", STRIMZI_VALUES),
    Wrong("services.billing.kafkaSecret=", "services.billing.kafkaSecret", STRIMZI_VALUES),
    Wrong("setup.topics=true,setup.kafkaSecret=", "setup.kafkaSecret", STRIMZI_VALUES),
    Wrong("kafka.awsRegion=", "kafka.awsRegion", EKS_VALUES),
    Wrong("kafka.security=oauth", "kafka.oauth.tokenUrl", STRIMZI_VALUES),
)


def check() -> Findings:
    """All of it; raises `Missing` where Helm cannot be had."""
    found = Findings("chart")
    get_helm()
    count = 0
    with tempfile.TemporaryDirectory(prefix="deploy-check-chart-") as folder:
        texts = {path.name: path.read_text() for path in sorted(STRIMZI.glob("*.yaml"))}
        for values in ENVIRONMENTS:
            name = environment_name(values)
            linted = helm("lint", values, "--strict", "--quiet")
            if linted.code:
                found.failures.append(f"helm lint, {name}: {linted.last_words}")
            rendered = helm("template", values)
            if rendered.code:
                found.failures.append(f"helm template, {name}: {rendered.last_words}")
                continue
            texts[name] = rendered.output
        for name, text in texts.items():
            count += sum(1 for _ in manifests(name, text))
            found.failures += [
                f"{name}: {address} is an address, write a name" for address in ipv4_literals(text)
            ]
            (Path(folder) / name).write_text(text)
        found.failures += _by_schema(sorted(Path(folder).iterdir()))
    refused = [_refusal(wrong) for wrong in WRONG]
    found.failures += [problem for problem in refused if problem]
    found.counts["manifests"] = count
    found.said = f"{count} manifests of {len(ENVIRONMENTS)} environments, {len(WRONG)} wrong values"
    return found


def _by_schema(files: list[Path]) -> list[str]:
    """By the schemas of Kubernetes; it has none of KEDA's and Strimzi's, which `make k8s-check` knows."""
    minor = VERSION.rpartition(".")[0]
    done = run(tool("kubernetes-validate"), "--strict", "--no-warn", "--quiet", "-k", minor, *files)
    return [f"kubernetes-validate: {done.last_words}"] if done.code else []


def _refusal(wrong: Wrong) -> str | None:
    """None when the values were refused with the words that they should be."""
    done = helm("template", wrong.values, wrong.flag, wrong.setting)
    if done.code == 0:
        return f"{wrong.setting} was rendered, and should be refused"
    told = done.errors.replace(".", "/") + done.errors
    return None if wrong.told in told else f"{wrong.setting}: not told {wrong.told!r}, but: {done.last_words}"
