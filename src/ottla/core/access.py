"""What a service does on its cluster: which topics it reads and writes, and in which consumer groups.

What it must be allowed to follows from it, whoever grants it: ACLs, or a policy of IAM.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from ottla.core.destinations import Destinations
from ottla.core.topology import dead_letter_group, dead_letter_topic, replay_group, retry_group


class Use(enum.Flag):
    """What a service does with a topic. To see it belongs to both."""

    READ = enum.auto()
    WRITE = enum.auto()


@dataclass(frozen=True, slots=True)
class ReadTopic:
    """A topic that is read, by its name on the cluster, and the group that reads it."""

    topic: str
    group: str
    is_optional: bool = False
    """Whether the service does without it as long as it is not there."""


@dataclass(frozen=True, slots=True)
class Access:
    """Everything that a service reads, each by one group, and everything that it is known to write to."""

    read: tuple[ReadTopic, ...] = ()
    written: tuple[str, ...] = ()

    @property
    def uses(self) -> dict[str, Use]:
        """What is done with each topic, optional ones too; in the order in which they were named."""
        found: dict[str, Use] = {}
        for topic, use in [*((each.topic, Use.READ) for each in self.read), *self._writes()]:
            found[topic] = found.get(topic, use) | use
        return found

    @property
    def optional(self) -> frozenset[str]:
        """The topics that need not be there."""
        wanted = {each.topic for each in self.read if not each.is_optional} | set(self.written)
        return frozenset(each.topic for each in self.read) - wanted

    @property
    def groups(self) -> dict[str, list[ReadTopic]]:
        """What each group reads."""
        found: dict[str, list[ReadTopic]] = {}
        for each in self.read:
            found.setdefault(each.group, []).append(each)
        return found

    def _writes(self) -> Iterable[tuple[str, Use]]:
        return ((topic, Use.WRITE) for topic in self.written)


def listener_access(to: Destinations) -> Access:
    """Of a listener: its topic, where its failed records go, and where they come again from."""
    stages = [ReadTopic(to.of_stage(stage), retry_group(to.group, stage.suffix)) for stage in to.stages]
    replays = []
    if to.dead_letter is not None and not stages:
        replays = [ReadTopic(to.replay, replay_group(to.group), is_optional=True)]
    return Access((ReadTopic(to.topic, to.group), *stages, *replays), tuple(to.beside))


def dlt_handler_access(to: Destinations) -> Access:
    """Of a handler of the dead letters of a topic."""
    topic = dead_letter_topic(to.topic, to.group, to.naming)
    return Access((ReadTopic(topic, dead_letter_group(to.group)),))


def all_of(parts: Iterable[Access]) -> Access:
    """What `parts` do together."""
    parts = list(parts)
    read = dict.fromkeys(each for part in parts for each in part.read)
    written = dict.fromkeys(topic for part in parts for topic in part.written)
    return Access(tuple(read), tuple(written))
