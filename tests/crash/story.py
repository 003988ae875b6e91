"""What happens in every row of the crash table: the events, the arrows, the bugs that must be found.

An arrow is a step of the road. In each row a worker handles the first half of the
events and commits them; then the second half comes, with the record in it at which
the worker dies on that arrow.
"""

from __future__ import annotations

import enum

from pydantic import BaseModel

PARTITIONS = 2
EVENTS = 40
HALF = EVENTS // 2
POISON = (5, 33)
DEADLY = 30
"""The event at which an arrow of an ordinary record is deadly; for dead letters it is the last poison."""
STRAGGLER = 38
"""Behind the deadly one in its partition: its first worker never ends it after a commit."""
SOUND = tuple(number for number in range(EVENTS) if number not in POISON)


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

    @property
    def is_of_the_outbox(self) -> bool:
        """Whether it lies on the road of what a transaction sends."""
        return self.name.startswith("RELAY_") or self is Arrow.STORED

    @property
    def deadly(self) -> int:
        """The number of the event at which this arrow is deadly."""
        return POISON[-1] if self in {Arrow.BURIAL_SENT, Arrow.BURIAL_ACKNOWLEDGED} else DEADLY

    @property
    def dead_letters(self) -> int:
        """The fewest dead letters that a right program leaves: one more where it cannot know of the first."""
        return len(POISON) + (self in {Arrow.BURIAL_SENT, Arrow.BURIAL_ACKNOWLEDGED})

    @property
    def sent_twice(self) -> int:
        """The fewest events that come a second time, because nobody can know of the first."""
        return int(self in {Arrow.RELAY_SENT, Arrow.RELAY_ACKNOWLEDGED})

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


class Event(BaseModel):
    """What the records carry."""

    number: int


def key_of(number: int) -> str:
    """Ten keys; each stays in one partition."""
    return f"key-{number % 10}"


def partition_of(number: int) -> int:
    """Odd and even events apart."""
    return number % PARTITIONS
