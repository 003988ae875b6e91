"""Which topics there are, asked with a bound, and why not when there is no answer.

librdkafka's calls fail with "transport failure" whatever the reason; the reason comes
as an error event beside them. The events of a call are kept, and the gravest is its answer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from ottla.errors import (
    AuthenticationFailed,
    BrokerUnavailable,
    NotAuthorized,
    TopicMissing,
    Unavailable,
)
from ottla.kafka.client_errors import AUTHENTICATION, settings_error
from ottla.kafka.properties import CLIENT_LOGGER

# Errors of the client itself begin with an underscore in confluent-kafka, and are public all the same.
# ruff: noqa: SLF001

_TURN_S = 0.5
_DESCRIBE_S = 2.0
_LIMITS_S = 0.5
_KNOWN_S = 0.02


class KafkaAdmin:
    """Asks the cluster; each call runs in a thread and ends within its time-out.

    `properties` are `client_properties(settings)`. Safe to share between tasks:
    calls take their turns.
    """

    def __init__(self, properties: Mapping[str, str], *, timeout_s: float = 10.0) -> None:
        self._properties = dict(properties)
        self._timeout_s = timeout_s
        self._events: list[KafkaError] = []
        self._turn = asyncio.Lock()

    async def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """How many partitions each of `topics` has; never creates one.

        Raises `TopicMissing` or `NotAuthorized` naming all topics concerned,
        `AuthenticationFailed`, or `BrokerUnavailable` after the time-out.
        """
        async with self._turn:
            with _given_up_afterwards() as given_up:
                return await asyncio.to_thread(self._partitions, sorted(set(topics)), given_up)

    async def largest_batch(self, topic: str) -> int | None:
        """The `max.message.bytes` of `topic`; None where the cluster does not tell us.

        Raises as `partitions` does.
        """
        async with self._turn:
            with _given_up_afterwards() as given_up:
                return await asyncio.to_thread(self._largest_batch, topic, given_up)

    async def create_topics(self, topics: Mapping[str, int]) -> None:
        """Create those of `topics` (name: partitions) that are missing; replication as the broker has it."""
        async with self._turn:
            with _given_up_afterwards() as given_up:
                await asyncio.to_thread(self._create, topics, given_up)

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

    def _client(self) -> AdminClient:
        """A client of this call alone, so that its events are this call's."""
        self._events.clear()
        try:
            # The reason is raised; librdkafka's own lines would say it again ten times a second.
            quiet: dict[str, Any] = {"log_level": "2", "error_cb": self._events.append}
            return AdminClient({**self._properties, **quiet}, logger=CLIENT_LOGGER)
        except KafkaException as error:
            raise settings_error(error, "client") from error

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
        told = {event.code(): event.str() for event in [error, *self._events]}
        for code in AUTHENTICATION:
            if code in told:
                cure = "check KAFKA_SECURITY and the user, password or certificates that go with it"
                return AuthenticationFailed(f"{servers}: {told[code]}; {cure}")
        if KafkaError._RESOLVE in told:
            cure = "check KAFKA_BOOTSTRAP_SERVERS and the name service"
            return BrokerUnavailable(f"{servers}: {told[KafkaError._RESOLVE]}; {cure}")
        refused = [event.str() for event in self._events if event.code() == KafkaError._TRANSPORT]
        said = refused[0] if refused else error.str()
        cure = "check that Kafka runs there, KAFKA_BOOTSTRAP_SERVERS, KAFKA_SECURITY and the network"
        return BrokerUnavailable(f"{servers}: {said}; {cure}")

    def _why_absent(self, client: AdminClient, absent: list[str]) -> Unavailable:
        """Missing topics and hidden ones look the same in the list; a description tells them apart."""
        denied = []
        answers = client.describe_topics(TopicCollection(absent), request_timeout=_DESCRIBE_S)
        for topic, answer in answers.items():
            try:
                answer.result()
            except KafkaException as error:
                if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    denied.append(topic)
        if denied:
            return NotAuthorized(
                f"{_named(denied)}: this user may not see it; grant DESCRIBE and READ or WRITE on the topic"
            )
        return TopicMissing(
            f"{_named(absent)}: no such topic there; create it, or name the right one in TOPICS__<NAME>"
        )

    def _create(self, topics: Mapping[str, int], given_up: threading.Event) -> None:
        client = self._client()
        known = self._counts(client, given_up)
        new = [NewTopic(name, count, -1) for name, count in topics.items() if name not in known]
        if not new:
            return
        for name, answer in client.create_topics(new, request_timeout=self._timeout_s).items():
            try:
                answer.result()
            except KafkaException as error:
                self._creation_failed(name, error)
        self._wait_until_known(client, {topic.topic for topic in new}, given_up)

    def _wait_until_known(self, client: AdminClient, names: set[str], given_up: threading.Event) -> None:
        """The controller has answered; brokers learn of a new topic a moment later."""
        deadline = time.monotonic() + self._timeout_s
        while not names <= self._counts(client, given_up).keys():
            if time.monotonic() >= deadline or given_up.is_set():
                late = _named(sorted(names))
                raise BrokerUnavailable(f"{late}: created, and not known to the brokers yet; ask again")
            time.sleep(_KNOWN_S)

    def _creation_failed(self, name: str, error: KafkaException) -> None:
        reason = error.args[0]
        if reason.code() == KafkaError.TOPIC_ALREADY_EXISTS:  # somebody was quicker
            return
        if reason.code() in {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}:
            text = f"topic {name!r}: this user may not create it; grant CREATE, or create it otherwise"
            raise NotAuthorized(text) from error
        raise BrokerUnavailable(
            f"topic {name!r} was not created: {reason.str()}; see the broker's log"
        ) from error


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
