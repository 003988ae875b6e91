"""What a cluster tells of itself, its topics and its groups to one user; nothing is made or changed there.

A broker that is asked for a group for the first time makes its own `__consumer_offsets`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from ottla.core.diagnosis.cluster import Missing, SeenGroup, SeenTopic
from ottla.errors import Unavailable
from ottla.kafka.admin import KafkaAdmin
from ottla.kafka.client_errors import AUTHENTICATION, UNAUTHORIZED

_NAMED = re.compile(r"(?:\w+://)?(?P<address>\S+:\d+)/(?P<number>\d+): ")
"""How librdkafka's errors begin with a broker that another one has told; the others end in /bootstrap."""
_TURN_S = 0.5
_AGAIN_S = 0.1
_ABSENT = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.GROUP_ID_NOT_FOUND}
_NOT_YET = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
"""A coordinator that has just moved, or was asked for for the first time."""


class NotLetIn(Unavailable):
    """No broker answered as Kafka does; `words` are the client's, the oldest first."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        super().__init__("; ".join(words))


def told_brokers(events: Iterable[str]) -> dict[int, str]:
    """Each broker's number and advertised `host:port`, by the client's errors.

    Where the names that brokers advertise lead nowhere, the client may give up the one connection
    that worked before it has answered us; its errors then tell what it has learnt there.
    """
    found = (_NAMED.match(event) for event in events)
    return {int(match["number"]): match["address"] for match in found if match}


class KafkaInspection(KafkaAdmin):
    """Looks at a cluster through one client. Every call blocks up to its time-out: call it in a thread."""

    def __init__(self, properties: Mapping[str, Any], *, timeout_s: float) -> None:
        super().__init__(properties, timeout_s=timeout_s)
        self._opened: AdminClient | None = None

    def brokers(self) -> dict[int, str]:
        """Each broker's number, and the `host:port` that it advertises.

        Raises `NotLetIn`, at once where a broker refuses us, or `SettingsError`.
        """
        client = self._open()
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                found: dict[int, Any] = client.list_topics(timeout=_TURN_S).brokers
                return {number: address(each.host, each.port) for number, each in found.items()}
            except KafkaException:
                client.poll(0)
            events = list(self._events)
            if known := told_brokers(event.str() for event in events):
                return known
            if time.monotonic() >= deadline or any(event.code() in AUTHENTICATION for event in events):
                raise NotLetIn([event.str() for event in events])

    def seen_topics(self, names: Iterable[str]) -> dict[str, SeenTopic | Missing]:
        """What each topic is, with what this user may do to it; none is created."""
        wanted = sorted(set(names))
        if not wanted:
            return {}
        client = self._open()
        answers = client.describe_topics(
            TopicCollection(wanted), include_authorized_operations=True, request_timeout=self._timeout_s
        )
        found = {name: _outcome(answer) for name, answer in answers.items()}
        there = [name for name, each in found.items() if not isinstance(each, Missing)]
        least = self._min_in_sync(client, there)
        return {
            name: each if isinstance(each, Missing) else _seen_topic(each, least.get(name))
            for name, each in found.items()
        }

    def seen_groups(self, names: Iterable[str]) -> dict[str, SeenGroup | Missing]:
        """What each consumer group is; one that nobody has joined yet is there all the same."""
        found: dict[str, SeenGroup | Missing] = {}
        deadline = time.monotonic() + self._timeout_s
        waiting = sorted(set(names))
        while waiting:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return found | dict.fromkeys(waiting, Missing.SILENT)
            found |= self._describe_groups(waiting, left_s)
            waiting = [name for name in waiting if name not in found]
            if waiting:
                time.sleep(_AGAIN_S)
        return found

    def cluster_operations(self) -> frozenset[str] | None:
        """What this user may do to the cluster itself; None where it is not told."""
        answer = self._open().describe_cluster(
            include_authorized_operations=True, request_timeout=self._timeout_s
        )
        found = _outcome(answer)
        return None if isinstance(found, Missing) else _names(found.authorized_operations)

    def _open(self) -> AdminClient:
        if self._opened is None:
            self._opened = self._client()
        return self._opened

    def _describe_groups(self, names: list[str], timeout_s: float) -> dict[str, SeenGroup | Missing]:
        """Those of the groups whose coordinators know what to say."""
        found: dict[str, SeenGroup | Missing] = {}
        answers = self._open().describe_consumer_groups(
            names, include_authorized_operations=True, request_timeout=timeout_s
        )
        for name, answer in answers.items():
            try:
                found[name] = _seen_group(answer.result())
            except KafkaException as error:
                code = error.args[0].code()
                if code not in _NOT_YET:
                    found[name] = _missing(code)
        return found

    def _min_in_sync(self, client: AdminClient, topics: list[str]) -> dict[str, int]:
        """`min.insync.replicas` of those topics whose configs this user may see."""
        if not topics:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        found = {}
        for resource, answer in client.describe_configs(resources, request_timeout=self._timeout_s).items():
            entries = _outcome(answer)
            if not isinstance(entries, Missing) and "min.insync.replicas" in entries:
                found[resource.name] = int(entries["min.insync.replicas"].value)
        return found


def address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _outcome(answer: Any) -> Any:
    """What was answered, or why nothing was; waits for it."""
    try:
        return answer.result()
    except KafkaException as error:
        return _missing(error.args[0].code())


def _missing(code: int) -> Missing:
    if code in UNAUTHORIZED:
        return Missing.FORBIDDEN
    return Missing.ABSENT if code in _ABSENT else Missing.SILENT


def _seen_topic(description: Any, least: int | None) -> SeenTopic:
    partitions = description.partitions
    return SeenTopic(
        partitions=len(partitions),
        leaderless=sum(each.leader is None or each.leader.id < 0 for each in partitions),
        replicas=min((len(each.replicas) for each in partitions), default=0),
        in_sync=min((len(each.isr) for each in partitions), default=0),
        min_in_sync=least,
        operations=_names(description.authorized_operations),
    )


def _seen_group(description: Any) -> SeenGroup:
    coordinator = description.coordinator
    return SeenGroup(
        state=description.state.name,
        coordinator="unknown" if coordinator is None else address(coordinator.host, coordinator.port),
        members=len(description.members),
        protocol=description.type.name.lower(),
        assignor=description.partition_assignor or "",
        operations=_names(description.authorized_operations),
    )


def _names(operations: Any) -> frozenset[str] | None:
    return None if operations is None else frozenset(each.name for each in operations)
