"""The examination: its steps, what each waits for, and what each asks.

To look at something more, add a `Step` to `STEPS`, and its `Check` and rules to `core/diagnosis`.
Steps that do not wait for each other run at once. Each ends within its bound, and what it asks is
asked in threads where it cannot be awaited: nobody waits for a thread that hangs.

Nothing is made, changed or joined. (A broker that is asked for a group for the first time makes its
own topic `__consumer_offsets`.)
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ottla.core.access import Access
from ottla.core.diagnosis import cluster, login, network
from ottla.core.diagnosis.cluster import Missing, SeenTopic
from ottla.core.diagnosis.findings import Check, Finding, Verdict, fail, in_order, pointless, skipped
from ottla.core.diagnosis.here import without_app
from ottla.core.topology import WantedTopic
from ottla.doctor.here import examine_admin_port, examine_database, load_database_driver
from ottla.doctor.network import Server, Tls, reach, tls_of
from ottla.doctor.registry import examine_registry
from ottla.errors import SettingsError
from ottla.kafka.inspection import KafkaInspection, NotLetIn
from ottla.kafka.properties import client_properties
from ottla.settings import Security, Settings
from ottla.settings.rules import brokers

_ASK_S = 4.0
"""How long a question to the cluster may take."""
BOUND_S = 18.0
"""How long all of it may take, whoever does not answer."""
_THREADS = 64
"""So many questions may hang without holding up another."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What an app wants of the cluster, and of the schema registry."""

    topics: Sequence[WantedTopic]
    access: Access
    subjects: Sequence[str] = ()
    """Of the schemas of its topics."""


@dataclass(slots=True)
class Case:
    """What is examined, and what steps have learnt for those that wait for them."""

    settings: Settings
    wishes: Wishes | None
    tls: Tls | None = None
    reached: dict[str, list[Finding]] = field(default_factory=dict)
    brokers: dict[int, str] = field(default_factory=dict)
    topics: dict[str, SeenTopic | Missing] = field(default_factory=dict)
    inspection: KafkaInspection = field(init=False)

    def __post_init__(self) -> None:
        self.inspection = KafkaInspection(client_properties(self.settings), timeout_s=_ASK_S)

    @property
    def security(self) -> str:
        """`KAFKA_SECURITY` as it is written."""
        return self.settings.kafka.security.value

    @property
    def is_iam(self) -> bool:
        """Whether rights are given by IAM."""
        return self.settings.kafka.security is Security.MSK_IAM


@dataclass(frozen=True, slots=True)
class Step:
    """One part of the examination, told under `check` when it does not come to an end.

    `needs` are the checks that must have found something well for this one to have a point;
    it begins when the steps of `after` have ended.
    """

    check: Check
    run: Callable[[Case], Awaitable[Sequence[Finding]]]
    needs: tuple[Check, ...] = ()
    after: tuple[Check, ...] = ()
    limit_s: float = 10.0


async def _reach(case: Case) -> list[Finding]:
    try:
        case.tls = await asyncio.to_thread(tls_of, client_properties(case.settings))
    except OSError as error:
        said = f"the files of KAFKA_SECURITY={case.security} cannot be used ({error.strerror or error})"
        cure = "KAFKA_CA_FILE, KAFKA_CERTIFICATE_FILE and KAFKA_KEY_FILE are PEM files that belong together"
        return [fail(Check.SETTINGS, "KAFKA_CA_FILE", said, cure)]
    servers = [Server(*each) for each in brokers(case.settings.kafka.bootstrap_servers) or ()]
    found = await asyncio.gather(*(reach(server, case.tls) for server in servers))
    case.reached = {str(server): findings for server, findings in zip(servers, found, strict=True)}
    return [finding for findings in found for finding in findings]


async def _log_in(case: Case) -> list[Finding]:
    servers = case.settings.kafka.bootstrap_servers
    try:
        case.brokers = await asyncio.to_thread(case.inspection.brokers)
    except NotLetIn as error:
        return [login.refused(servers, case.security, error.words)]
    except SettingsError as error:
        problems = [Finding(Check.SETTINGS, "librdkafka", Verdict.FAIL, each) for each in error.problems]
        return [*problems, skipped(Check.LOGIN, servers, "not looked at: it needs settings")]
    return [login.logged_in(servers, case.security, len(case.brokers))]


async def _reach_advertised(case: Case) -> list[Finding]:
    async def looked_at(number: int, server: str) -> Finding:
        known = case.reached.get(server)
        host, _, port = server.rpartition(":")
        findings = known or await reach(Server(host.strip("[]"), int(port)), case.tls)
        return network.advertised(number, server, findings, is_bootstrap=known is not None)

    told = (looked_at(number, server) for number, server in sorted(case.brokers.items()))
    return list(await asyncio.gather(*told))


async def _look_at_topics(case: Case) -> list[Finding]:
    if case.wishes is None:
        return [without_app()]
    wanted, access = case.wishes.topics, case.wishes.access
    names = [*(topic.name for topic in wanted), *access.uses]
    seen = case.topics = await asyncio.to_thread(case.inspection.seen_topics, names)
    operations = await asyncio.to_thread(case.inspection.cluster_operations) if case.is_iam else None
    return [
        *cluster.topics(wanted, access, seen),
        *cluster.replication(seen, len(case.brokers)),
        *cluster.idempotent_writes(operations, is_iam=case.is_iam),
        *cluster.topic_rights(access, seen, is_iam=case.is_iam),
    ]


async def _look_at_groups(case: Case) -> list[Finding]:
    if case.wishes is None:
        return []
    # A group that only reads what is not there is not asked for: rights are given when it is.
    wanted = {
        group: read
        for group, read in case.wishes.access.groups.items()
        if any(not each.is_optional or isinstance(case.topics.get(each.topic), SeenTopic) for each in read)
    }
    seen = await asyncio.to_thread(case.inspection.seen_groups, wanted)
    kafka = case.settings.kafka
    assignors = str(kafka.consumer.get("partition.assignment.strategy", kafka.assignor))
    return cluster.groups(
        wanted, seen, protocol=kafka.group_protocol, assignors=assignors.split(","), is_iam=case.is_iam
    )


async def _look_at_registry(case: Case) -> list[Finding]:
    subjects = () if case.wishes is None else case.wishes.subjects
    return await asyncio.to_thread(examine_registry, case.settings, subjects)


async def _look_at_database(case: Case) -> list[Finding]:
    return await examine_database(case.settings)


async def _look_at_admin_port(case: Case) -> list[Finding]:
    return await examine_admin_port(case.settings)


_WAY_THERE = (Check.NAME, Check.CONNECTION, Check.CERTIFICATE)

STEPS = (
    Step(Check.CONNECTION, _reach),
    Step(Check.LOGIN, _log_in, needs=(Check.SETTINGS, *_WAY_THERE), after=(Check.CONNECTION,)),
    Step(Check.ADVERTISED, _reach_advertised, needs=(Check.LOGIN,), after=(Check.LOGIN,)),
    # What is asked of one broker, or of a group's coordinator, goes to the address that it advertises.
    Step(Check.TOPIC, _look_at_topics, needs=(Check.ADVERTISED,), after=(Check.ADVERTISED,)),
    Step(
        Check.GROUP,
        _look_at_groups,
        needs=(Check.ADVERTISED,),
        after=(Check.ADVERTISED, Check.TOPIC),
    ),
    Step(Check.REGISTRY, _look_at_registry),
    Step(Check.DATABASE, _look_at_database),
    Step(Check.ADMIN_PORT, _look_at_admin_port),
)
"""What is looked at. A step stands behind those that it waits for."""


async def examine(
    settings: Settings,
    wishes: Wishes | None,
    *,
    steps: Sequence[Step] = STEPS,
    bound_s: float = BOUND_S,
    on_progress: Callable[[Sequence[Check]], None] = lambda _: None,
) -> list[Finding]:
    """Everything that can be found out, in the order in which it is told.

    `on_progress` hears what is still under way, whenever that changes.
    """
    load_database_driver(settings)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
    deadline = asyncio.get_running_loop().time() + bound_s
    case = Case(settings, wishes)
    found: defaultdict[Check, list[Finding]] = defaultdict(list)
    ended = {step.check: asyncio.Event() for step in steps}

    async def take(step: Step) -> None:
        for earlier in step.after:
            await ended[earlier].wait()
        for finding in await _findings(step, case, found, deadline):
            found[finding.check].append(finding)
        ended[step.check].set()
        on_progress([check for check, event in ended.items() if not event.is_set()])

    on_progress(list(ended))
    async with asyncio.TaskGroup() as tasks:
        for step in steps:
            tasks.create_task(take(step))
    return in_order(finding for findings in found.values() for finding in findings)


async def _findings(
    step: Step, case: Case, found: dict[Check, list[Finding]], deadline: float
) -> Sequence[Finding]:
    if (without_point := pointless(step.check, step.needs, found)) is not None:
        return [without_point]
    begun = asyncio.get_running_loop().time()
    ends = min(begun + step.limit_s, deadline)
    try:
        async with asyncio.timeout_at(ends):
            return await step.run(case)
    except TimeoutError:
        said = f"no end of it in {max(ends - begun, 0):.1f} s"
        return [fail(step.check, "-", said, "try again; see what hangs: network, or the server's log")]
