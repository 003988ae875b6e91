"""Which topics there are and what they have, asked and changed with a bound; else why not.

librdkafka's calls fail with "transport failure" whatever the reason; the reason comes
as an error event beside them. The events of a call are kept, and the gravest is its answer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from ottla.core.topology import AddPartitions, CreateTopic, PresentTopic, SetConfig, WantedTopic
from ottla.errors import (
    AuthenticationFailed,
    BrokerUnavailable,
    ConfigurationError,
    NotAuthorized,
    OttlaError,
    TopicMissing,
    Unavailable,
)
from ottla.kafka.client_errors import UNAUTHORIZED, authentication_failed, is_refusal, made
from ottla.kafka.properties import CLIENT_LOGGER

# Errors of the client itself begin with an underscore in confluent-kafka, and are public all the same.
# ruff: noqa: SLF001

_TURN_S = 0.5
_DESCRIBE_S = 2.0
_LIMITS_S = 0.5
_KNOWN_S = 0.02

_UNSOUND = {
    KafkaError.INVALID_CONFIG,
    KafkaError.INVALID_PARTITIONS,
    KafkaError.INVALID_REPLICATION_FACTOR,
    KafkaError.INVALID_REQUEST,
    KafkaError.POLICY_VIOLATION,
    KafkaError.TOPIC_EXCEPTION,
}
"""What the cluster refuses whoever asks and however often."""

Failures = dict[str, OttlaError]
"""Topics for which a change was not made, and why."""

T = TypeVar("T")


class KafkaAdmin:
    """Asks the cluster; each call runs in a thread and ends within its time-out.

    `properties` are `client_properties(settings)`. Safe to share between tasks:
    calls take their turns.
    """

    def __init__(self, properties: Mapping[str, Any], *, timeout_s: float = 10.0) -> None:
        self._properties = dict(properties)
        self._timeout_s = timeout_s
        self._events: list[KafkaError] = []
        self._turn = asyncio.Lock()

    async def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """How many partitions each of `topics` has; never creates one.

        Raises `TopicMissing` or `NotAuthorized` naming all topics concerned,
        `AuthenticationFailed`, or `BrokerUnavailable` after the time-out.
        """
        return await self._in_thread(partial(self._partitions, sorted(set(topics))))

    async def has_topic(self, topic: str) -> bool:
        """Whether `topic` is there and may be seen; never creates it. Raises when no broker answers."""
        return await self._in_thread(lambda given_up: topic in self._counts(self._client(), given_up))

    async def topics(self) -> dict[str, int]:
        """How many partitions every topic has that this user may see.

        Raises `AuthenticationFailed`, or `BrokerUnavailable` after the time-out.
        """
        return await self._in_thread(lambda given_up: self._counts(self._client(), given_up))

    async def groups_reading(self, topic: str) -> list[str]:
        """The consumer groups that have an offset of `topic`, or a member that reads it; sorted.

        Only those that this user may see. Raises an `Unavailable` when the cluster does not answer.
        """
        return await self._in_thread(partial(self._groups_reading, topic))

    async def largest_batch(self, topic: str) -> int | None:
        """The `max.message.bytes` of `topic`; None where the cluster does not tell us.

        Raises as `partitions` does.
        """
        return await self._in_thread(partial(self._largest_batch, topic))

    async def create_topics(self, topics: Mapping[str, int]) -> None:
        """Create those of `topics` (name: partitions) that are missing; replication as the broker has it.

        Raises the first failure, when all were tried.
        """
        failures = await self.create([CreateTopic(name, count) for name, count in topics.items()])
        for failure in failures.values():
            raise failure

    async def describe(self, wanted: Iterable[WantedTopic]) -> dict[str, PresentTopic]:
        """Those of `wanted` that are there, each with what is in force of the configs it wants.

        Raises `NotAuthorized` naming all topics that may not be seen, or whose configs may
        not; else as `partitions` does.
        """
        return await self._in_thread(partial(self._describe, list(wanted)))

    async def create(self, steps: Sequence[CreateTopic], *, replication_factor: int = -1) -> Failures:
        """Create the topics, and wait until the brokers know them; one that is there is left as it is.

        `replication_factor` -1 is the broker's default. Raises when no broker answers at all.
        """
        return await self._in_thread(partial(self._create, steps, replication_factor))

    async def add_partitions(self, steps: Sequence[AddPartitions]) -> Failures:
        """Bring topics to as many partitions as are wanted; one that has as many by now is left as it is.

        Raises when no broker answers at all.
        """
        return await self._in_thread(partial(self._add_partitions, steps))

    async def set_configs(self, steps: Sequence[SetConfig]) -> Failures:
        """Set the configs and leave the others; those of one topic all together, or none.

        Raises when no broker answers at all.
        """
        return await self._in_thread(partial(self._set_configs, steps))

    async def _in_thread(self, call: Callable[[threading.Event], T]) -> T:
        """`call` in its turn; the event tells it that nobody waits any more."""
        async with self._turn:
            with _given_up_afterwards() as given_up:
                return await asyncio.to_thread(call, given_up)

    def _partitions(self, topics: list[str], given_up: threading.Event) -> dict[str, int]:
        client = self._client()
        known = self._counts(client, given_up)
        if absent := [topic for topic in topics if topic not in known]:
            raise self._why_absent(client, absent)
        return {topic: known[topic] for topic in topics}

    def _largest_batch(self, topic: str, given_up: threading.Event) -> int | None:
        self._partitions([topic], given_up)
        resource = ConfigResource(ResourceType.TOPIC, topic)
        client = self._client()
        try:
            (answer,) = client.describe_configs([resource], request_timeout=_LIMITS_S).values()
            return int(answer.result()["max.message.bytes"].value)
        except (KafkaException, KeyError):  # no DESCRIBE_CONFIGS, or the embedded broker
            return None

    def _groups_reading(self, topic: str, given_up: threading.Event) -> list[str]:
        client = self._client()
        self._counts(client, given_up)  # tells why there is no answer
        try:
            listed = client.list_consumer_groups(request_timeout=self._timeout_s).result()
            names = [group.group_id for group in listed.valid]
            described = (
                client.describe_consumer_groups(names, request_timeout=self._timeout_s) if names else {}
            )
            offsets = {
                name: client.list_consumer_group_offsets(
                    [ConsumerGroupTopicPartitions(name)], request_timeout=self._timeout_s
                )[name]
                for name in names
            }
        except KafkaException as error:
            raise self._reason(error.args[0]) from error
        return sorted(
            name for name in names if _reads(described[name], topic) or _has_offset(offsets[name], topic)
        )

    def _client(self) -> AdminClient:
        """A client of this call alone, so that its events are this call's."""
        self._events.clear()
        # The reason is raised; librdkafka's own lines would say it again ten times a second.
        quiet: dict[str, Any] = {"log_level": "2", "error_cb": self._events.append}
        properties = {**self._properties, **quiet}
        return made(lambda: AdminClient(properties, logger=CLIENT_LOGGER), "client")

    def _counts(self, client: AdminClient, given_up: threading.Event) -> dict[str, int]:
        """All topics that may be seen. Asking for one by name would create it on many brokers."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                found = client.list_topics(timeout=_TURN_S).topics
                return {name: len(topic.partitions) for name, topic in found.items() if topic.error is None}
            except KafkaException as error:
                client.poll(0)
                reason = self._reason(error.args[0])
            is_over = time.monotonic() >= deadline or given_up.is_set()
            if isinstance(reason, AuthenticationFailed) or is_over:
                raise reason

    def _reason(self, error: KafkaError) -> Unavailable:
        """What the events of this call say, the gravest first."""
        servers = self._properties.get("bootstrap.servers", "")
        told = {event.code(): event for event in [error, *self._events]}
        for event in [error, *self._events]:
            if is_refusal(event):
                return authentication_failed(event, self._properties)
        if KafkaError._RESOLVE in told:
            cure = "check KAFKA_BOOTSTRAP_SERVERS and the name service"
            return BrokerUnavailable(f"{servers}: {told[KafkaError._RESOLVE].str()}; {cure}")
        refused = [event.str() for event in self._events if event.code() == KafkaError._TRANSPORT]
        said = refused[0] if refused else error.str()
        cure = "check that Kafka runs there, KAFKA_BOOTSTRAP_SERVERS, KAFKA_SECURITY and the network"
        return BrokerUnavailable(f"{servers}: {said}; {cure}")

    def _why_absent(self, client: AdminClient, absent: list[str]) -> Unavailable:
        """Missing topics and hidden ones look the same in the list; a description tells them apart."""
        told = self._descriptions(client, absent)
        if denied := [topic for topic, error in told.items() if _is(error, UNAUTHORIZED)]:
            raise _hidden(denied)
        cure = "create it (`ottla topics apply MODULE:APP`), or name the right one in TOPICS__<NAME>"
        return TopicMissing(f"{_named(absent)}: no such topic there; {cure}")

    def _descriptions(self, client: AdminClient, topics: list[str]) -> dict[str, KafkaError | None]:
        """Why each of `topics` cannot be described."""
        answers = client.describe_topics(TopicCollection(topics), request_timeout=_DESCRIBE_S)
        return {topic: _error_of(answer) for topic, answer in answers.items()}

    def _describe(self, wanted: list[WantedTopic], given_up: threading.Event) -> dict[str, PresentTopic]:
        client = self._client()
        known = self._counts(client, given_up)
        if absent := [topic.name for topic in wanted if topic.name not in known]:
            self._check_absence(client, absent)
        there = [topic for topic in wanted if topic.name in known]
        configs = self._configs(client, [topic for topic in there if topic.config])
        return {topic.name: PresentTopic(known[topic.name], configs.get(topic.name, {})) for topic in there}

    def _check_absence(self, client: AdminClient, absent: list[str]) -> None:
        """Raise unless the brokers say that there is none of them: a hidden one must not pass for missing."""
        told = self._descriptions(client, absent)
        if denied := [topic for topic, error in told.items() if _is(error, UNAUTHORIZED)]:
            raise _hidden(denied)
        for error in told.values():
            if error is not None and error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise self._reason(error)

    def _configs(self, client: AdminClient, topics: list[WantedTopic]) -> dict[str, dict[str, str]]:
        """What is in force of the configs that each of `topics` wants; to ask takes an ACL of its own."""
        if not topics:
            return {}
        resources = {topic.name: ConfigResource(ResourceType.TOPIC, topic.name) for topic in topics}
        answers = client.describe_configs(list(resources.values()), request_timeout=self._timeout_s)
        errors = {topic.name: _error_of(answers[resources[topic.name]]) for topic in topics}
        if denied := [name for name, error in errors.items() if _is(error, UNAUTHORIZED)]:
            raise NotAuthorized(
                f"{_named(denied)}: this user may not see the configs; grant DESCRIBE_CONFIGS on the topic"
            )
        found: dict[str, dict[str, str]] = {}
        for topic in topics:
            if (error := errors[topic.name]) is not None:
                raise self._reason(error)
            entries = answers[resources[topic.name]].result()
            found[topic.name] = {name: entries[name].value or "" for name in topic.config if name in entries}
        return found

    def _create(
        self, steps: Sequence[CreateTopic], replication_factor: int, given_up: threading.Event
    ) -> Failures:
        if not steps:
            return {}
        client = self._client()
        known = self._counts(client, given_up)
        new = [
            NewTopic(
                step.topic,
                -1 if step.partitions is None else step.partitions,
                replication_factor,
                config=dict(step.config),
            )
            for step in steps
            if step.topic not in known  # without CREATE even one that is there would be refused
        ]
        if not new:
            return {}
        answers = client.create_topics(new, request_timeout=self._timeout_s)
        quicker = {KafkaError.TOPIC_ALREADY_EXISTS}
        failures = self._failures(answers, "create it", "CREATE", done=quicker)
        return failures | self._late(client, {name: 1 for name in answers if name not in failures}, given_up)

    def _add_partitions(self, steps: Sequence[AddPartitions], given_up: threading.Event) -> Failures:
        if not steps:
            return {}
        client = self._client()
        self._counts(client, given_up)  # tells why there is no answer
        more = [NewPartitions(step.topic, step.wanted) for step in steps]
        answers = client.create_partitions(more, request_timeout=self._timeout_s)
        # The same code for as many and for more: somebody was quicker. How many there are is looked up.
        quicker = {KafkaError.INVALID_PARTITIONS}
        failures = self._failures(answers, "add partitions to it", "ALTER", done=quicker)
        least = {step.topic: step.wanted for step in steps if step.topic not in failures}
        return failures | self._late(client, least, given_up)

    def _set_configs(self, steps: Sequence[SetConfig], given_up: threading.Event) -> Failures:
        if not steps:
            return {}
        client = self._client()
        self._counts(client, given_up)  # tells why there is no answer
        entries: defaultdict[str, list[ConfigEntry]] = defaultdict(list)
        for step in steps:
            entries[step.topic].append(
                ConfigEntry(step.name, step.wanted, incremental_operation=AlterConfigOpType.SET)
            )
        resources = [
            ConfigResource(ResourceType.TOPIC, topic, incremental_configs=those)
            for topic, those in entries.items()
        ]
        answers = client.incremental_alter_configs(resources, request_timeout=self._timeout_s)
        by_topic = {resource.name: answer for resource, answer in answers.items()}
        return self._failures(by_topic, "alter its configs", "ALTER_CONFIGS")

    def _late(self, client: AdminClient, least: Mapping[str, int], given_up: threading.Event) -> Failures:
        """The controller has answered; brokers learn of it a moment later. Those that do not are told."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            known = self._counts(client, given_up)
            late = [name for name, count in least.items() if known.get(name, 0) < count]
            if not late or time.monotonic() >= deadline or given_up.is_set():
                said = "changed, and not known to the brokers yet; ask again"
                return {name: BrokerUnavailable(f"topic {name!r}: {said}") for name in late}
            time.sleep(_KNOWN_S)

    def _failures(
        self, answers: Mapping[str, Any], what: str, permission: str, *, done: Collection[int] = ()
    ) -> Failures:
        failures: Failures = {}
        for topic, answer in answers.items():
            error = _error_of(answer)
            if error is None or error.code() in done:
                continue
            where = f"topic {topic!r}"
            if error.code() in UNAUTHORIZED:
                cure = f"grant {permission} on the topic, or have somebody do it who may"
                failures[topic] = NotAuthorized(f"{where}: this user may not {what}; {cure}")
            elif error.code() in _UNSOUND:
                cure = "mend what its Topic declares, the replication factor, or the cluster's policy"
                failures[topic] = ConfigurationError(
                    f"{where}: Kafka refuses to {what}: {error.str()}; {cure}"
                )
            else:
                cure = "try again, and see the broker's log"
                failures[topic] = BrokerUnavailable(f"{where}: Kafka did not {what}: {error.str()}; {cure}")
        return failures


@contextmanager
def _given_up_afterwards() -> Iterator[threading.Event]:
    """Set when nobody waits any more: a thread cannot be cancelled, and would hold up the exit."""
    given_up = threading.Event()
    try:
        yield given_up
    finally:
        given_up.set()


def _named(topics: list[str]) -> str:
    return f"topic{'s' if len(topics) > 1 else ''} {', '.join(map(repr, topics))}"


def _hidden(topics: list[str]) -> NotAuthorized:
    return NotAuthorized(
        f"{_named(topics)}: this user may not see it; grant DESCRIBE and READ or WRITE on the topic"
    )


def _error_of(answer: Any) -> KafkaError | None:
    """Why an answer is none; waits for it."""
    try:
        answer.result()
    except KafkaException as error:
        reason: KafkaError = error.args[0]
        return reason
    return None


def _reads(description: Any, topic: str) -> bool:
    """Whether a member of the group has partitions of `topic`; no for one that may not be seen."""
    if _error_of(description) is not None:
        return False
    members = description.result().members
    return any(
        partition.topic == topic
        for member in members
        if member.assignment is not None
        for partition in member.assignment.topic_partitions
    )


def _has_offset(offsets: Any, topic: str) -> bool:
    """Whether the group has committed an offset of `topic`; no for one that may not be seen."""
    if _error_of(offsets) is not None:
        return False
    return any(
        partition.topic == topic and partition.offset >= 0 for partition in offsets.result().topic_partitions
    )


def _is(error: KafkaError | None, codes: Collection[int]) -> bool:
    return error is not None and error.code() in codes
