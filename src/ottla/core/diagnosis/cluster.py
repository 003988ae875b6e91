"""Of topics, their replicas, rights and groups: what the cluster's answers mean for a service.

The rules:

1. What is missing, hidden or forbidden is named with the right that is missing, in Kafka's words or
   in those of IAM.
2. A topic that is acknowledged by all in-sync replicas is as safe as the fewest that may be in sync:
   below two copies one lost broker loses acknowledged records; where all copies must be in sync, one
   lost broker stops every write. Kafka 4 asks for no more in-sync replicas than there are copies.
3. What the cluster will not tell is skipped, and never taken for well.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ottla.core.access import Access, ReadTopic, Use
from ottla.core.diagnosis.findings import Check, Finding, fail, ok, skipped, warn
from ottla.core.topology import PresentTopic, TopicInOrder, WantedTopic, plan_topics

_SAFE_COPIES = 2


class Missing(enum.Enum):
    """Why nothing is known of a topic or a group."""

    ABSENT = "absent"
    FORBIDDEN = "forbidden"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class SeenTopic:
    """A topic as the cluster tells it; what it would not tell is None."""

    partitions: int
    leaderless: int = 0
    replicas: int = 1
    """Of the partition that has the fewest."""
    in_sync: int = 1
    """Of the partition that has the fewest."""
    min_in_sync: int | None = None
    operations: frozenset[str] | None = None
    """What this user may do, in Kafka's words: READ, WRITE, DESCRIBE."""


@dataclass(frozen=True, slots=True)
class SeenGroup:
    """A consumer group as its coordinator tells it. One that nobody has joined yet is DEAD."""

    state: str
    coordinator: str
    members: int = 0
    protocol: str = "classic"
    assignor: str = ""
    operations: frozenset[str] | None = None


def topics(
    wanted: Sequence[WantedTopic], access: Access, seen: Mapping[str, SeenTopic | Missing]
) -> list[Finding]:
    """Whether each topic is there and can be used; `seen` knows all of `wanted` and of `access`."""
    present = {
        name: PresentTopic(topic.partitions) for name, topic in seen.items() if isinstance(topic, SeenTopic)
    }
    steps = plan_topics(
        [WantedTopic(each.name, each.partitions, takes_from=each.takes_from) for each in wanted], present
    )
    findings = []
    for name in [*(each.name for each in wanted), *sorted(access.optional)]:
        topic = seen[name]
        if isinstance(topic, SeenTopic):
            told = [str(step) for step in steps if step.topic == name and not isinstance(step, TopicInOrder)]
            findings.append(_present(name, topic, told))
        elif name in access.optional:
            findings.append(_optional(name, topic))
        else:
            findings.append(_not_seen(name, topic))
    return findings


def _present(name: str, topic: SeenTopic, differences: Sequence[str]) -> Finding:
    count = f"{topic.partitions} partition{'' if topic.partitions == 1 else 's'}"
    if topic.leaderless:
        cure = "bring its brokers back: nobody can read or write there"
        return fail(Check.TOPIC, name, f"{topic.leaderless} of {count} have no leader", cure)
    if differences:
        cure = "run `ottla topics plan MODULE:APP`"
        return warn(Check.TOPIC, name, f"{count}; it is not as it is declared ({differences[0]})", cure)
    return ok(Check.TOPIC, name, count)


def _optional(name: str, missing: Missing) -> Finding:
    if missing is Missing.ABSENT:
        return ok(Check.TOPIC, name, "not there yet: the first `ottla dlt replay` makes it")
    return skipped(Check.TOPIC, name, "not there, or this user may not see it: replays would not be read")


def _not_seen(name: str, missing: Missing) -> Finding:
    match missing:
        case Missing.ABSENT:
            cure = "run `ottla topics apply MODULE:APP`, or name the right one in TOPICS__<NAME>"
            return fail(Check.TOPIC, name, "no such topic there", cure)
        case Missing.FORBIDDEN:
            cure = "grant the rights below; without them nobody tells whether it is there"
            return fail(Check.TOPIC, name, "this user may not see it", cure)
    return fail(Check.TOPIC, name, "the brokers did not answer in time", "see the brokers' logs")


def replication(seen: Mapping[str, SeenTopic | Missing], brokers: int) -> list[Finding]:
    """What one lost broker costs; topics of which the same is to be said share a line."""
    lines: dict[Finding, list[str]] = defaultdict(list)
    for name, topic in seen.items():
        if isinstance(topic, SeenTopic):
            lines[_replication(topic, brokers)].append(name)
    return [
        Finding(line.check, ", ".join(names), line.verdict, line.said, line.cure)
        for line, names in lines.items()
    ]


def _replication(topic: SeenTopic, brokers: int) -> Finding:
    check, least = Check.REPLICATION, topic.min_in_sync
    copies = f"{topic.replicas} cop{'y' if topic.replicas == 1 else 'ies'}"
    if topic.replicas < _SAFE_COPIES:
        only = "the cluster has one broker" if brokers == 1 else f"the cluster has {brokers} brokers"
        cure = "fine for development; else make topics with --replication-factor 3"
        return warn(check, "", f"{copies}: a lost disk loses acknowledged records; {only}", cure)
    if least is None:
        return skipped(
            check, "", f"{copies}; min.insync.replicas is not told without DESCRIBE_CONFIGS on the topic"
        )
    said = f"{copies}, min.insync.replicas={least}"
    asked = min(least, topic.replicas)
    if topic.in_sync < asked:
        cure = "bring the lost brokers back"
        return fail(check, "", f"{said}, in sync now: {topic.in_sync}: writes are refused", cure)
    if least < _SAFE_COPIES:
        cure = "set min.insync.replicas=2"
        return warn(check, "", f"{said}: what one broker alone has acknowledged is lost with it", cure)
    if topic.in_sync < topic.replicas:
        cure = "see whether a broker is down"
        return warn(check, "", f"{said}, in sync now: {topic.in_sync}", cure)
    if asked == topic.replicas:
        cure = "set min.insync.replicas below the number of copies, or add a copy"
        return warn(check, "", f"{said}: one lost broker stops every write", cure)
    return ok(check, "", said)


_OPERATIONS = {Use.READ: "READ", Use.WRITE: "WRITE"}
_IAM = {"READ": "kafka-cluster:ReadData", "WRITE": "kafka-cluster:WriteData"}
_PURPOSE = {"READ": "read", "WRITE": "write"}


def topic_rights(
    access: Access, seen: Mapping[str, SeenTopic | Missing], *, is_iam: bool = False
) -> list[Finding]:
    """Whether this user may do to each topic what the service does; all that is well is one line."""
    findings, well = [], []
    for name, use in access.uses.items():
        topic = seen[name]
        needed = [word for flag, word in _OPERATIONS.items() if flag in use]
        if topic is Missing.FORBIDDEN and name not in access.optional:
            findings.append(_forbidden(f"topic {name}", needed, is_iam=is_iam))
        elif isinstance(topic, SeenTopic) and topic.operations is None:
            findings.append(
                skipped(Check.RIGHTS, f"topic {name}", "the brokers do not tell what this user may do")
            )
        elif isinstance(topic, SeenTopic) and topic.operations is not None:
            lacking = [word for word in needed if word not in topic.operations]
            if lacking:
                findings.append(_forbidden(f"topic {name}", lacking, is_iam=is_iam))
            else:
                well.append(f"{'/'.join(_PURPOSE[word] for word in needed)} {name}")
    if well:
        findings.insert(0, ok(Check.RIGHTS, "topics", f"may {', '.join(well)}"))
    return findings


def _forbidden(subject: str, operations: Sequence[str], *, is_iam: bool) -> Finding:
    said = f"this user may not {' nor '.join(_PURPOSE[word] for word in operations)} it"
    if is_iam:
        actions = ", ".join(_IAM[word] for word in operations)
        return fail(Check.RIGHTS, subject, said, f"allow {actions} and kafka-cluster:DescribeTopic on it")
    return fail(Check.RIGHTS, subject, said, f"grant {' and '.join(operations)} on the topic")


def idempotent_writes(operations: Iterable[str] | None, *, is_iam: bool) -> list[Finding]:
    """By IAM idempotent writes take a right of their own on the cluster; by ACLs WRITE on a topic will do."""
    if not is_iam:
        return []
    if operations is None:
        return [skipped(Check.RIGHTS, "cluster", "the brokers do not tell what this user may do")]
    if "IDEMPOTENT_WRITE" in operations or "ALL" in operations:
        return [ok(Check.RIGHTS, "cluster", "may write idempotently")]
    cure = "allow kafka-cluster:WriteDataIdempotently on the cluster"
    return [fail(Check.RIGHTS, "cluster", "this user may not write idempotently, as every send does", cure)]


def groups(
    wanted: Mapping[str, Sequence[ReadTopic]],
    seen: Mapping[str, SeenGroup | Missing],
    *,
    protocol: str,
    assignors: Sequence[str],
    is_iam: bool = False,
) -> list[Finding]:
    """Whether each group can be joined, and who is in it."""
    return [
        _group(name, group, protocol=protocol, assignors=assignors, is_iam=is_iam)
        for name in wanted
        if (group := seen.get(name)) is not None
    ]


def _group(
    name: str, group: SeenGroup | Missing, *, protocol: str, assignors: Sequence[str], is_iam: bool
) -> Finding:
    grant = "grant READ on the group"
    if is_iam:
        grant = "allow kafka-cluster:AlterGroup and kafka-cluster:DescribeGroup on it"
    if group is Missing.FORBIDDEN:
        return fail(Check.GROUP, name, "this user may not join it", grant)
    if isinstance(group, Missing):
        cure = "see the brokers' logs, and whether __consumer_offsets has leaders"
        return fail(Check.GROUP, name, "its coordinator does not answer", cure)
    if group.operations is not None and "READ" not in group.operations:
        return fail(Check.GROUP, name, "this user may see it and not join it", grant)
    at = f"coordinator {group.coordinator}"
    if not group.members:
        return ok(Check.GROUP, name, f"{at}, nobody in it")
    said = f"{at}, {group.members} member{'' if group.members == 1 else 's'}, {group.state.lower()}"
    if group.protocol != protocol:
        cure = (
            f"its members speak {group.protocol}: give all the same KAFKA_GROUP_PROTOCOL (here: {protocol})"
        )
        return warn(Check.GROUP, name, said, cure)
    if protocol == "classic" and group.assignor and group.assignor not in assignors:
        theirs, ours = group.assignor, ", ".join(assignors)
        cure = f"its members use {theirs}: one that knows only {ours} is refused; see KAFKA_ASSIGNOR"
        return warn(Check.GROUP, name, said, cure)
    return ok(Check.GROUP, name, said)
