"""One look at a dead-letter topic: what there is, what shall become of it, and what that takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from ottla.core.letters import Letter, LetterFilter
from ottla.core.replay import Discard, Refused, Send, Skipped, Target, Verdict, Way
from ottla.core.replay_ledger import Entry, State, ledger_topic
from ottla.core.topology import CreateTopic
from ottla.kafka.admin import KafkaAdmin
from ottla.kafka.properties import client_properties, reader_properties
from ottla.kafka.reader import TopicReader
from ottla.replay.ledgers import Ledgers
from ottla.replay.letters import LetterBox
from ottla.settings import Settings

OnRead = Callable[[int], None]
Judge = Callable[[Letter, Entry | None], Verdict]
"""What becomes of a letter of which the ledger says so."""


@dataclass(slots=True)
class Plan:
    """What shall become of letters, counted; `refused` has the first letter of each cause.

    `interrupted` are the replays that ended in the middle, by the letters that they were sending.
    """

    sends: Counter[tuple[str | None, Target]] = field(default_factory=Counter)
    discards: int = 0
    again: int = 0
    interrupted: Counter[str] = field(default_factory=Counter)
    skipped: Counter[State] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    first_refused: dict[str, Letter] = field(default_factory=dict)
    ledgers: set[str] = field(default_factory=set)

    def add(self, letter: Letter, verdict: Verdict) -> None:
        """Count what becomes of `letter`."""
        match verdict:
            case Send(target, replay_id, is_again):
                self.sends[letter.told.group, target] += 1
                self.again += is_again
                self.ledgers.add(ledger_topic(letter))
                if replay_id is not None:
                    self.interrupted[replay_id] += 1
            case Discard():
                self.discards += 1
                self.ledgers.add(ledger_topic(letter))
            case Skipped(state):
                self.skipped[state] += 1
            case Refused(why):
                self.refused[why] += 1
                self.first_refused.setdefault(why, letter)

    def targets(self, way: Way) -> list[Target]:
        """Where letters go by `way`."""
        return sorted({target for _, target in self.sends if target.way is way}, key=lambda each: each.topic)


@dataclass(frozen=True, slots=True)
class Session:
    """The dead-letter topic as it was when it was opened. `topics`: the cluster's, with their partitions."""

    admin: KafkaAdmin
    topics: dict[str, int]
    box: LetterBox
    ledgers: Ledgers

    async def verdicts(
        self, judge: Judge, limit: int | None, on_read: OnRead = lambda _: None
    ) -> AsyncIterator[tuple[Letter, Verdict]]:
        """What becomes of each letter that is meant, until something is to be done with `limit` of them."""
        count = 0
        async for letter in self.box.letters(on_read):
            verdict = judge(letter, await self.ledgers.entry(letter))
            yield letter, verdict
            count += isinstance(verdict, Send | Discard)
            if count == limit:
                return

    async def plan(self, judge: Judge, limit: int | None, on_read: OnRead) -> Plan:
        """All verdicts, counted; nothing is done."""
        plan = Plan()
        async for letter, verdict in self.verdicts(judge, limit, on_read):
            plan.add(letter, verdict)
        return plan

    async def create(self, steps: list[CreateTopic]) -> None:
        """Make topics; raises the first failure, when all were tried."""
        for failure in (await self.admin.create(steps)).values():
            raise failure

    def missing(self, plan: Plan) -> list[CreateTopic]:
        """The topics that `plan` needs and that are not there: ledgers, and groups' replay topics."""
        replays = [
            CreateTopic(each.topic, each.partitions) for each in plan.targets(Way.REPLAY) if each.partitions
        ]
        return [*self.ledgers.missing(plan.ledgers), *replays]


@asynccontextmanager
async def opened(settings: Settings, topic: str, wanted: LetterFilter) -> AsyncIterator[Session]:
    """The letters of `topic` that are meant. Raises `TopicMissing` or another `Unavailable`."""
    properties = reader_properties(settings)
    admin = KafkaAdmin(client_properties(settings))
    topics = await admin.topics()
    async with TopicReader(properties) as reader:
        box = LetterBox(reader, topic, wanted)
        await box.open(topics)
        yield Session(admin, topics, box, Ledgers(lambda: TopicReader(properties), topics))
