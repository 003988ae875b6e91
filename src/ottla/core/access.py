"""What a service does on its cluster: which topics it reads and writes, and in which consumer groups.

What it must be allowed to follows from it, whoever grants it: ACLs, or a policy of IAM. Rules of this file:

- All that the service may come to do is named, and nothing beside it: one right too few shows when
  the first record fails, one too many never.
- A replay topic is read, and may not be there yet.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from ottla.core.destinations import Destinations
from ottla.core.replay_ledger import ledger_name
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
class AccessList:
    """An `Access` as whoever grants rights takes it: names on the cluster, each list sorted."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    groups: tuple[str, ...]
    dead_letters: tuple[str, ...]
    replays: tuple[str, ...]
    ledger: str | None


@dataclass(frozen=True, slots=True)
class Access:
    """Everything that a service reads, each by one group, and everything that it is known to write to.

    `dead_letters`, `replays` and `ledger` are what `ottla dlt replay` reads, sends to and notes in,
    for this service's group; a listener without dead letters has none of them.
    """

    read: tuple[ReadTopic, ...] = ()
    written: tuple[str, ...] = ()
    dead_letters: tuple[str, ...] = ()
    replays: tuple[str, ...] = ()
    ledger: str | None = None

    @property
    def listed(self) -> AccessList:
        """The same as names alone."""
        return AccessList(
            reads=tuple(sorted({each.topic for each in self.read})),
            writes=tuple(sorted(self.written)),
            groups=tuple(sorted({each.group for each in self.read})),
            dead_letters=tuple(sorted(self.dead_letters)),
            replays=tuple(sorted(self.replays)),
            ledger=self.ledger,
        )

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
    read, written = (ReadTopic(to.topic, to.group), *stages), tuple(to.beside)
    if to.dead_letter is None:
        return Access(read, written)
    if not stages:  # else replays come by the first retry topic
        read = (*read, ReadTopic(to.replay, replay_group(to.group), is_optional=True))
    retries = {stage.topic for stage in stages}
    letters = tuple(topic for topic in written if topic not in retries)
    return Access(read, written, letters, (to.replay,), ledger_name(to.group))


def dlt_handler_access(to: Destinations) -> Access:
    """Of a handler of the dead letters of a topic."""
    topic = dead_letter_topic(to.topic, to.group, to.naming)
    return Access((ReadTopic(topic, dead_letter_group(to.group)),))


def all_of(parts: Iterable[Access]) -> Access:
    """What `parts` do together; they are of one group."""
    parts = list(parts)
    return Access(
        tuple(dict.fromkeys(each for part in parts for each in part.read)),
        tuple(dict.fromkeys(topic for part in parts for topic in part.written)),
        tuple(dict.fromkeys(topic for part in parts for topic in part.dead_letters)),
        tuple(dict.fromkeys(topic for part in parts for topic in part.replays)),
        next((part.ledger for part in parts if part.ledger is not None), None),
    )
