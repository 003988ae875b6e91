"""The topics that an app needs beside its own: their names, and the steps on a cluster to have them all.

Rules of the difference, which hold whatever is wanted and whatever is there:

- Nothing is deleted, and no topic is touched that is not wanted.
- Nothing wished means nothing said: the broker's default for a new topic, no change of an existing one.
- Partitions are only added. A dead-letter topic has no fewer than its topic will have, so that a
  dead letter can go to the partition of the same number.
- A plan that was carried out leaves nothing to do. But how many partitions the broker gives by default is
  seen only afterwards, and a dead-letter topic that was there with fewer gets them by the next plan.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar


class Naming(enum.Enum):
    """Who shares retry and dead-letter topics.

    PER_GROUP keeps the failures of two groups on one topic apart. SPRING is what
    Spring Kafka 3.3 and later writes, for a topic shared with Java services.
    """

    PER_GROUP = "per-group"
    SPRING = "spring"


def dead_letter_topic(topic: str, group: str, naming: Naming, suffix: str = "") -> str:
    """Where `group` puts records of `topic` that it has given up.

    Source: Spring Kafka `DeadLetterPublishingRecoverer` (suffix `-dlt` since 3.3).
    """
    return f"{_base(topic, group, naming)}{suffix}-dlt"


def retry_topic(topic: str, group: str, suffix: str, naming: Naming) -> str:
    """Where records of `topic` wait for `group`; `suffix` is the stage's (`RetryTopics.stages`).

    Under SPRING all groups share it: whoever reads it must skip what another group put there.

    Source: Spring Kafka 4.1.1 `SuffixingRetryTopicNamesProviderFactory`.
    """
    return f"{_base(topic, group, naming)}{suffix}"


def replay_topic(topic: str, group: str) -> str:
    """Where dead letters of `group` go to be handled again, by this group alone, in either naming.

    Ours; Spring Kafka has none, so there is nobody to share it with.
    """
    return f"{topic}-{group}-replay"


def retry_group(group: str, suffix: str) -> str:
    """The consumer group that reads the retry topic with `suffix`, in either naming.

    Source: Spring Kafka 4.1.1 `SuffixingRetryTopicNamesProviderFactory`.
    """
    return f"{group}{suffix}"


def dead_letter_group(group: str) -> str:
    """The consumer group that reads the dead letters of `group`, in either naming."""
    return f"{group}-dlt"


def replay_group(group: str) -> str:
    """The consumer group that reads the replay topics of `group`."""
    return f"{group}-replay"


def _base(topic: str, group: str, naming: Naming) -> str:
    return topic if naming is Naming.SPRING else f"{topic}-{group}"


class TopicKind(enum.Enum):
    """What a topic is for, as far as its name tells."""

    MAIN = "main"
    RETRY = "retry"
    DEAD_LETTER = "dead-letter"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class ParsedTopic:
    """A topic's name taken apart: `base` and `suffix`, joined, are the name."""

    base: str
    kind: TopicKind
    suffix: str


_PLAIN_SUFFIXES = (
    ("-dlt", TopicKind.DEAD_LETTER),
    (".DLT", TopicKind.DEAD_LETTER),
    ("-replay", TopicKind.REPLAY),
)


def parse_topic(name: str) -> ParsedTopic:
    """What the name of a topic tells of it, for tools that meet topics of Spring's and of ours.

    Only one suffix is taken off: the dead letters of `orders-retry-1000` have that as their
    base. Per group the group belongs to the base (`orders-billing`), because either may have
    dashes; so may any topic of somebody's own that ends like this (`instant-replay`).

    Source: Spring Kafka, `-dlt` since 3.3 and `.DLT` before; `DestinationTopicPropertiesFactory`
    for `-retry`, `-retry-<ms>`, `-retry-<index>` and, of several topics with one delay,
    `-retry-<ms>-<n>`.
    """
    for suffix, kind in _PLAIN_SUFFIXES:
        if name.endswith(suffix) and name != suffix:
            return ParsedTopic(name.removesuffix(suffix), kind, suffix)
    base, retry, numbers = name.rpartition("-retry")
    if base and _are_retry_numbers(numbers):
        return ParsedTopic(base, TopicKind.RETRY, f"{retry}{numbers}")
    return ParsedTopic(name, TopicKind.MAIN, "")


def _are_retry_numbers(text: str) -> bool:
    """Whether `text` is nothing, `-<number>` or `-<number>-<number>`."""
    match text.split("-"):
        case [""] | ["", _] | ["", _, _] as parts:
            return all(part.isascii() and part.isdecimal() for part in parts[1:])
    return False


@dataclass(frozen=True, slots=True)
class WantedTopic:
    """What an app wants of one topic, by its name on the cluster; None and no config are no wish."""

    name: str
    partitions: int | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    takes_from: str | None = None
    """The topic whose retries or dead letters it takes."""


@dataclass(frozen=True, slots=True)
class PresentTopic:
    """What a topic has on the cluster: `config` are the values in force, the broker's defaults included."""

    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


def with_topics_beside(listened: Iterable[tuple[WantedTopic, Iterable[str]]]) -> list[WantedTopic]:
    """The topics that are listened to, each followed by its retry and dead-letter topics."""
    wanted: dict[str, WantedTopic] = {}
    for topic, beside in listened:
        # A dead-letter topic that is listened to as well is one topic with both wishes.
        known = wanted.get(topic.name)
        wanted[topic.name] = replace(topic, takes_from=known.takes_from if known else None)
        for name in beside:
            wanted[name] = replace(wanted.get(name, WantedTopic(name)), takes_from=topic.name)
    return list(wanted.values())


@dataclass(frozen=True, slots=True)
class CreateTopic:
    """The topic is missing; `partitions` None leaves their number to the broker."""

    verb: ClassVar[str] = "create"
    topic: str
    partitions: int | None = None
    config: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        count = "default" if self.partitions is None else self.partitions
        return " ".join(
            [f"create {self.topic} partitions={count}", *(f"{key}={value}" for key, value in self.config)]
        )


@dataclass(frozen=True, slots=True)
class AddPartitions:
    """The topic has fewer than are wanted. Records of a key then go to another partition than before."""

    verb: ClassVar[str] = "alter"
    topic: str
    present: int
    wanted: int

    def __str__(self) -> str:
        return f"alter {self.topic} partitions {self.present} -> {self.wanted}; keys move to other partitions"


@dataclass(frozen=True, slots=True)
class SetConfig:
    """Another value is in force than is wanted; `present` is None where the cluster knows no such config."""

    verb: ClassVar[str] = "alter"
    topic: str
    name: str
    present: str | None
    wanted: str

    def __str__(self) -> str:
        return f"alter {self.topic} {self.name} {_shown(self.present)} -> {_shown(self.wanted)}"


@dataclass(frozen=True, slots=True)
class KeepPartitions:
    """The topic has more than are wanted, and will keep them."""

    verb: ClassVar[str] = "refuse"
    topic: str
    present: int
    wanted: int

    def __str__(self) -> str:
        return (
            f"refuse {self.topic} partitions {self.present} -> {self.wanted}: Kafka never removes partitions"
        )


@dataclass(frozen=True, slots=True)
class TopicInOrder:
    """Nothing is to be done."""

    verb: ClassVar[str] = "ok"
    topic: str

    def __str__(self) -> str:
        return f"ok {self.topic}"


Step = CreateTopic | AddPartitions | SetConfig | KeepPartitions | TopicInOrder
"""What the difference consists of. `verb` is the word that it is told and counted by, `str` the line."""


def plan_topics(wanted: Iterable[WantedTopic], present: Mapping[str, PresentTopic]) -> list[Step]:
    """The steps from `present` to `wanted`, in the order of `wanted`; of each name the last counts."""
    by_name = {topic.name: topic for topic in wanted}
    steps: list[Step] = []
    for name, topic in by_name.items():
        least = _least_partitions(topic, by_name, present)
        if (there := present.get(name)) is None:
            steps.append(CreateTopic(name, least, tuple(sorted(topic.config.items()))))
        else:
            steps += _differences(topic, there, least) or [TopicInOrder(name)]
    return steps


def _differences(topic: WantedTopic, there: PresentTopic, least: int | None) -> list[Step]:
    steps: list[Step] = []
    if least is not None and there.partitions < least:
        steps.append(AddPartitions(topic.name, there.partitions, least))
    elif topic.partitions is not None and least is not None and there.partitions > least:
        steps.append(KeepPartitions(topic.name, there.partitions, least))
    for name, value in sorted(topic.config.items()):
        in_force = there.config.get(name)
        if in_force is None or _meaning(in_force) != _meaning(value):
            steps.append(SetConfig(topic.name, name, in_force, value))
    return steps


def _least_partitions(
    topic: WantedTopic, by_name: Mapping[str, WantedTopic], present: Mapping[str, PresentTopic]
) -> int | None:
    """As many as the topic wishes, and no fewer than those whose dead letters it takes will have.

    These have what they wish, or more where they have more: none of it is removed.
    """
    counts = [topic.partitions]
    seen = {topic.name}
    source = topic.takes_from
    while source is not None and source not in seen:  # a dead-letter topic may have one of its own
        seen.add(source)
        counts.append(present[source].partitions if source in present else None)
        wish = by_name.get(source)
        counts.append(wish.partitions if wish else None)
        source = wish.takes_from if wish else None
    return max((count for count in counts if count is not None), default=None)


def _meaning(value: str) -> list[str | float]:
    """What a broker takes `value` for: it tells "compact, delete", "0.50" and "TRUE" its own way.

    Without it such a topic would be altered for ever. The order of a list means nothing in any config.
    """
    parts = (part.strip() for part in value.split(","))
    return sorted((_number(part) for part in parts), key=str)


def _number(text: str) -> str | float:
    for kind in (int, float):  # whole ones first: the largest retention is beyond a float's digits
        try:
            return kind(text)
        except ValueError:
            continue
    return text.lower() if text.lower() in {"true", "false"} else text


def _shown(value: str | None) -> str:
    return "unknown" if value is None else value or '""'
