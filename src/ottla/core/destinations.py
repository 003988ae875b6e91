"""The topics of one listener beside its own: where its records wait, end, and come again from."""

from __future__ import annotations

from dataclasses import dataclass

from ottla.core.backoff import InPlace
from ottla.core.dead_letters import DeadLetterTopic
from ottla.core.decide import Forward, SendOn
from ottla.core.retry_topics import RetryTopics, Stage
from ottla.core.topology import Naming, dead_letter_topic, replay_topic, retry_topic


@dataclass(frozen=True, slots=True)
class Destinations:
    """Of the listener of `group` to `topic`, by its real name. `dead_letter` is None where it stops."""

    topic: str
    group: str
    naming: Naming
    retry: InPlace | RetryTopics
    dead_letter: DeadLetterTopic | None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The listener's retry topics, in the order in which a record passes them."""
        return self.retry.stages if isinstance(self.retry, RetryTopics) else ()

    @property
    def replay(self) -> str:
        """Where a dead letter is sent that shall be handled again."""
        return self.of_stage(self.stages[0]) if self.stages else replay_topic(self.topic, self.group)

    @property
    def beside(self) -> list[str]:
        """The topics that must be there beside the listener's own."""
        suffixes = () if self.dead_letter is None else self.dead_letter.suffixes
        return [
            *map(self.of_stage, self.stages),
            *(dead_letter_topic(self.topic, self.group, self.naming, suffix) for suffix in suffixes),
        ]

    def of_stage(self, stage: Stage) -> str:
        """The retry topic of `stage`."""
        return retry_topic(self.topic, self.group, stage.suffix, self.naming)

    def of(self, decision: SendOn) -> str:
        """The topic that `decision` leads to."""
        if isinstance(decision, Forward):
            return self.of_stage(decision.stage)
        suffix = "" if self.dead_letter is None else self.dead_letter.suffix_of(decision.error)
        return dead_letter_topic(self.topic, self.group, self.naming, suffix)
