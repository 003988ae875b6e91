"""What becomes of a record after its handler ended. Total: every outcome has its decision.

An outcome is what happened, a decision is what shall happen; the runtime carries it
out. A record counts as failed until its outcome says otherwise, and nothing here
turns an outcome into "done" that is not one.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ottla.core.backoff import InPlace


class Ended(enum.Enum):
    """Outcomes that need nothing further: the record is done."""

    SUCCEEDED = "succeeded"
    DUPLICATE = "duplicate"  # the inbox has its effect, or knows that it was given up
    SKIPPED = "skipped"  # the handler raised Skip


class Reason(enum.Enum):
    """Why a record is dead-lettered."""

    EXHAUSTED = "attempts exhausted"
    FATAL = "fatal exception"
    HANDLER = "the handler gave it up"
    UNDECODABLE = "undecodable"
    REUSED_ID = "event id reused with other content"
    WINDOW_FULL = "retries cut short: the uncommitted window is full"


@dataclass(frozen=True, slots=True)
class Failed:
    """The handler raised. `after_s` is the wait it asked for, if it did."""

    error: BaseException
    is_fatal: bool = False
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class GivenUp:
    """No attempt can help: undecodable, a reused event id, or the handler said so."""

    error: BaseException
    reason: Reason


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The framework's own work failed; the handler is not to blame and it is no attempt."""

    error: BaseException


class Cancelled(enum.Enum):
    """We ended the handler, because its partition goes or the process stops. Nothing is known to be done."""

    CANCELLED = "cancelled"


Outcome = Ended | Failed | GivenUp | Interrupted | Cancelled


@dataclass(frozen=True, slots=True)
class RetryInPlace:
    """The record keeps its lane and is handled again after `delay_s`."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Bury:
    """To the dead-letter topic, acknowledged, before the record is done."""

    reason: Reason
    error: BaseException


@dataclass(frozen=True, slots=True)
class StopPartition:
    """`dead_letter=False`: the record stays uncommitted and its partition stops."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class WaitForCure:
    """The listener starts nothing until this is cured; then the record's attempt begins anew."""

    error: BaseException


class Simple(enum.Enum):
    """Decisions that carry nothing."""

    DONE = "done"
    LEAVE = "leave"  # neither done nor handled again here: redelivered to whoever owns it next


Decision = Simple | RetryInPlace | Bury | StopPartition | WaitForCure


def decide(
    outcome: Outcome,
    *,
    attempt: int,
    chance: float,
    retry: InPlace,
    is_window_full: bool = False,
    has_dead_letter: bool = True,
) -> Decision:
    """What becomes of a record whose `attempt`-th call (from 1) ended with `outcome`."""
    match outcome:
        case Ended():
            return Simple.DONE
        case Interrupted(error):
            return WaitForCure(error)
        case Cancelled():
            return Simple.LEAVE
        case GivenUp(error, reason):
            return _give_up(reason, error, has_dead_letter=has_dead_letter)
        case Failed(error, is_fatal=True):
            return _give_up(Reason.FATAL, error, has_dead_letter=has_dead_letter)
        case Failed(error, after_s=after_s):
            delay = retry.delay_s(attempt, chance)
            if delay is None:
                return _give_up(Reason.EXHAUSTED, error, has_dead_letter=has_dead_letter)
            if is_window_full:
                return _give_up(Reason.WINDOW_FULL, error, has_dead_letter=has_dead_letter)
            return RetryInPlace(delay if after_s is None else after_s)


def _give_up(reason: Reason, error: BaseException, *, has_dead_letter: bool) -> Bury | StopPartition:
    return Bury(reason, error) if has_dead_letter else StopPartition(error)
