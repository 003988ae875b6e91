"""One app's side of the in-memory broker; what `kafka/cluster.py` is on Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ottla.errors import FatalClientError
from ottla.ports import SchemaRegistry, SourcePolicy
from ottla.settings import Settings
from ottla.testing.clock import ManualClock
from ottla.testing.group import Group
from ottla.testing.log import Topics
from ottla.testing.producer import InMemoryProducer
from ottla.testing.source import InMemorySource


class InMemoryCluster:
    """Makes the edges of an app that runs on memory. Fills `ports.Cluster`."""

    def __init__(
        self,
        settings: Settings,
        *,
        topics: Topics,
        group: Callable[[str], Group],
        clock: ManualClock,
        registry: SchemaRegistry,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.members: list[InMemorySource] = []
        self._topics = topics
        self._group = group
        self._registry = registry

    def producer(self, name: str, on_fatal: Callable[[FatalClientError], None]) -> InMemoryProducer:
        """A producer; it has no way to fail for good."""
        return InMemoryProducer(self._topics, self.clock)

    def member(self, topic: str, policy: SourcePolicy, *, group: str, name: str) -> InMemorySource:
        """A member of `group` that reads `topic`."""
        member = InMemorySource(
            self._topics.log(topic), policy, group=self._group(group), clock=self.clock, name=name
        )
        self.members.append(member)
        return member

    async def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """How many each topic has; makes those that are not there."""
        return {topic: self._topics.partitions(topic) for topic in topics}

    async def has_topic(self, topic: str) -> bool:
        """Whether somebody has made it or sent to it."""
        return topic in self._topics

    def schema_registry(self) -> SchemaRegistry:
        """The broker's, whatever the settings name."""
        return self._registry

    async def largest_batch(self, topic: str) -> int | None:
        """None: records of every size are taken."""
        return None
