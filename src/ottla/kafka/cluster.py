"""One app's side of a Kafka cluster: settings become clients here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Self

from ottla.errors import FatalClientError
from ottla.kafka.admin import KafkaAdmin
from ottla.kafka.consumer import KafkaSource
from ottla.kafka.producer import KafkaProducer
from ottla.kafka.properties import (
    client_properties,
    consumer_properties,
    producer_properties,
    static_membership,
)
from ottla.ports import SchemaRegistry, SourcePolicy
from ottla.settings import Settings, load_settings

_LOOK_S = 5.0
"""How long one look for brokers and topics may take before the reason is told."""
_LOOK_FOR_LIMITS_S = 1.0
"""The same for a topic that is sent to for the first time: a request may be waiting."""


class KafkaCluster:
    """Makes an app's clients by its settings. Fills `ports.Cluster`."""

    clock = None
    """Back-off is measured by the event loop's clock."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        properties = client_properties(settings)
        self._admin = KafkaAdmin(properties, timeout_s=_LOOK_S)
        self._quick_admin = KafkaAdmin(properties, timeout_s=_LOOK_FOR_LIMITS_S)

    @classmethod
    def connect(cls, app_name: str, settings: Settings | None) -> Self:
        """Fills `ports.Connect`: by environment and TOML, unless the app was given settings."""
        return cls(settings or load_settings(app_name))

    def producer(self, name: str, on_fatal: Callable[[FatalClientError], None]) -> KafkaProducer:
        """A producer whose acknowledgement means every in-sync replica."""
        return KafkaProducer(producer_properties(self.settings), name=name, on_fatal=on_fatal)

    def member(self, topic: str, policy: SourcePolicy, *, group: str, name: str) -> KafkaSource:
        """A consumer of `topic` in `group`."""
        kafka = self.settings.kafka
        return KafkaSource(
            consumer_properties(self.settings, group) | static_membership(kafka, name),
            [topic],
            policy,
            name=name,
            is_incremental=kafka.group_protocol == "consumer" or kafka.assignor == "cooperative-sticky",
        )

    async def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """As `KafkaAdmin.partitions`."""
        return await self._admin.partitions(topics)

    async def has_topic(self, topic: str) -> bool:
        """As `ports.Cluster.has_topic`."""
        return await self._admin.has_topic(topic)

    def schema_registry(self) -> SchemaRegistry | None:
        """As `ports.Cluster.schema_registry`."""
        from ottla.registry import registry_of

        return registry_of(self.settings)

    async def largest_batch(self, topic: str) -> int | None:
        """As `KafkaAdmin.largest_batch`; None also where records are compressed.

        They may then take less than their size, so that only the broker can refuse one for it.
        """
        largest = await self._quick_admin.largest_batch(topic)
        return None if _is_compressed(producer_properties(self.settings)) else largest


def _is_compressed(properties: dict[str, str]) -> bool:
    names = ("compression.type", "compression.codec")
    return any(properties.get(name, "none") != "none" for name in names)
