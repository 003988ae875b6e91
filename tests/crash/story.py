"""What happens in every row of the crash table: the events, the arrows, the bugs that must be found.

An arrow is a step of the road. In each row a worker handles the first half of the
events and commits them; then the second half comes, with the record in it at which
the worker dies on that arrow.

On the road of retries FLAKY events fail on their first topic and succeed on the first retry
topic, POISON passes through both to the dead letters. Their events have no id of their own: the
inbox must know them by where they stood first.
"""

from __future__ import annotations

import enum

from pydantic import BaseModel

from ottla import RetryTopics

PARTITIONS = 2
EVENTS = 40
HALF = EVENTS // 2
POISON = (5, 33)
FLAKY = (6, 30)
DEADLY = 30
"""The event at which an arrow of an ordinary record is deadly; for dead letters it is the last poison."""
STRAGGLER = 38
"""Behind the deadly one in its partition: its first worker never ends it after a commit."""
SOUND = tuple(number for number in range(EVENTS) if number not in POISON)
RETRY = RetryTopics(attempts=3, first_s=0.5, factor=2)
STAGES = tuple(stage.suffix for stage in RETRY.stages)


class Block(enum.Enum):
    """The parts of the table, in the order in which they are printed, and what they are called."""

    OUTBOX = "crash-table of the outbox"
    RETRIES = "crash-table of retries"
    ROAD = "crash-table"


class Arrow(enum.Enum):
    """Where the worker dies."""

    POLLED = "after poll"
    CLAIMED = "after the inbox insert"
    EFFECTED = "after the effect"
    COMMITTED = "after the database commit"
    BURIAL_SENT = "after the dead letter is sent"
    BURIAL_ACKNOWLEDGED = "after it is acknowledged"
    BEFORE_OFFSET = "before the offset commit"
    AFTER_OFFSET = "after the offset commit"
    REVOKED = "inside revoke"
    STORED = "after the outbox insert"
    RELAY_READ = "after the relay has read"
    RELAY_SENT = "after the relay has sent"
    RELAY_ACKNOWLEDGED = "after it is acknowledged there"
    RELAY_DELETED = "after the row is deleted"
    FORWARD_DECIDED = "before it is sent to a retry topic"
    FORWARD_SENT = "after it is sent there"
    FORWARD_ACKNOWLEDGED = "after that is acknowledged"
    FORWARD_BEFORE_OFFSET = "before its offset is committed"
    RETRY_POLLED = "polled there, before it is due"
    RETRY_HANDLED = "while its retry is handled"
    RETRY_BEFORE_OFFSET = "before that offset is committed"
    LAST_FAILED = "last stage, before the dead letter"
    LAST_SENT = "after the last dead letter is sent"
    LAST_ACKNOWLEDGED = "after that one is acknowledged"
    TX_FORWARD_SENT = "tx: after it is sent there"
    TX_FORWARD_ACKNOWLEDGED = "tx: after that is acknowledged"
    TX_RETRY_HANDLED = "tx: while its retry is handled"
    TX_RETRY_BEFORE_OFFSET = "tx: before that offset is committed"
    TX_LAST_FAILED = "tx: last stage, before the dead letter"
    TX_LAST_ACKNOWLEDGED = "tx: after that one is stored"

    @property
    def point(self) -> Arrow:
        """Where it lies, whichever listener passes there."""
        return Arrow[self.name.removeprefix("TX_")]

    @property
    def block(self) -> Block:
        """The part of the table that it stands in."""
        if self.name.startswith("RELAY_") or self is Arrow.STORED:
            return Block.OUTBOX
        is_of_retries = self.point.name.startswith(("FORWARD_", "RETRY_", "LAST_"))
        return Block.RETRIES if is_of_retries else Block.ROAD

    @property
    def has_inbox(self) -> bool:
        """Whether its listener takes a `Transaction`."""
        return self.block is not Block.RETRIES or self.point is not self

    @property
    def is_of_the_relay(self) -> bool:
        """Whether the relay dies there, for which the record's listener does not wait."""
        return self.name.startswith(("RELAY_", "BURIAL_"))

    @property
    def deadly(self) -> int:
        """The number of the event at which this arrow is deadly."""
        is_of_poison = self.point.name.startswith(("BURIAL_", "LAST_"))
        return POISON[-1] if is_of_poison else DEADLY

    @property
    def dead_letters(self) -> int:
        """The fewest dead letters that a right program leaves: one more where it cannot know of the first."""
        is_twice = self.name.startswith("BURIAL_") or self in {Arrow.LAST_SENT, Arrow.LAST_ACKNOWLEDGED}
        return len(POISON) + is_twice

    @property
    def sent_twice(self) -> int:
        """The fewest events that come a second time, because nobody can know of the first."""
        return int(self in {Arrow.RELAY_SENT, Arrow.RELAY_ACKNOWLEDGED})

    @property
    def forwarded(self) -> int:
        """The fewest records on the first retry topic: one more where nobody can know of the first.

        The inbox can, when the first was handled before the record came again to its first topic.
        """
        is_twice = self in {Arrow.FORWARD_SENT, Arrow.FORWARD_ACKNOWLEDGED, Arrow.FORWARD_BEFORE_OFFSET}
        return len(POISON) + len(FLAKY) + is_twice

    @property
    def handled_twice(self) -> int:
        """The fewest effects that come again without an inbox."""
        if self.has_inbox:
            return 0
        return int(self.forwarded > len(POISON) + len(FLAKY) or self is Arrow.RETRY_BEFORE_OFFSET)

    @property
    def redelivered(self) -> int:
        """The fewest records that both workers must be given; nothing is committed before a revoke."""
        return EVENTS if self is Arrow.REVOKED else 1


class Mutant(enum.Enum):
    """A deliberate bug, switched on in the worker by CRASH_MUTANT: each must turn the table red."""

    NO_INBOX = "no-inbox"  # the effect without the row
    SPLIT_INBOX = "split-inbox"  # the row in a transaction of its own, before the effect's
    COMMIT_FIRST = "commit-first"  # offsets committed as soon as they are polled
    DELETE_FIRST = "delete-first"  # the outbox's rows deleted as soon as they are read
    DONE_FIRST = "done-first"  # a record is done before it is sent to its retry topic
    NO_ORIGIN = "no-origin"  # what goes to a retry topic does not say where it stood first


class Event(BaseModel):
    """What the records carry."""

    number: int


def key_of(number: int) -> str:
    """Ten keys; each stays in one partition."""
    return f"key-{number % 10}"


def partition_of(number: int) -> int:
    """Odd and even events apart."""
    return number % PARTITIONS
