"""What becomes of a record after its handler ended. Total: every outcome has its decision.

An outcome is what happened, a decision is what shall happen; the runtime carries it
out. A record counts as failed until its outcome says otherwise, and nothing here
turns an outcome into "done" that is not one.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ottla.core.backoff import InPlace, conflict_delay_s
from ottla.core.retry_topics import RetryTopics, Stage, next_retry


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
    """The framework's own work failed; the handler is not to blame and it is no attempt.

    `holds_up_others` unless it is the record's own need, such as a schema that cannot be asked for.
    """

    error: BaseException
    holds_up_others: bool = True


@dataclass(frozen=True, slots=True)
class Conflicted:
    """Another transaction was in the way of this one; the handler is not to blame and it is no attempt."""

    error: BaseException


class Cancelled(enum.Enum):
    """We ended the handler, because its partition goes or the process stops. Nothing is known to be done."""

    CANCELLED = "cancelled"


Outcome = Ended | Failed | GivenUp | Interrupted | Conflicted | Cancelled


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
class Forward:
    """To a retry topic, acknowledged, before the record is done. Due at `due_ms`."""

    stage: Stage
    due_ms: int
    error: BaseException


SendOn = Bury | Forward
"""What ends a record here by writing it elsewhere."""


@dataclass(frozen=True, slots=True)
class StopPartition:
    """`dead_letter=False`: the record stays uncommitted and its partition stops."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class WaitForCure:
    """The listener starts nothing until this is cured; then the record's attempt begins anew."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class RunAgain:
    """The record keeps its lane, and the same attempt begins anew after `delay_s`, however often it has."""

    delay_s: float
    error: BaseException


@dataclass(frozen=True, slots=True)
class WaitAlone:
    """The record keeps its lane until this is cured, and others go on; then its attempt begins anew."""

    error: BaseException


class Simple(enum.Enum):
    """Decisions that carry nothing."""

    DONE = "done"
    LEAVE = "leave"  # neither done nor handled again here: redelivered to whoever owns it next


Decision = Simple | RetryInPlace | SendOn | StopPartition | WaitForCure | WaitAlone | RunAgain


@dataclass(frozen=True, slots=True)
class Moment:
    """When and where an outcome is decided on.

    `chance` in [0, 1) places the jitter, `now_ms` is the date, `first_seen_ms` the record's on
    its first topic. The record has been failing here for `failing_s`, and has met `conflicts`.
    """

    chance: float = 0.5
    now_ms: int = 0
    first_seen_ms: int = 0
    failing_s: float = 0.0
    conflicts: int = 0
    is_window_full: bool = False


def decide(
    outcome: Outcome,
    *,
    attempt: int,
    moment: Moment,
    retry: InPlace | RetryTopics,
    has_dead_letter: bool = True,
) -> Decision:
    """What becomes of a record whose `attempt`-th call (from 1) ended with `outcome`."""
    match outcome:
        case Ended():
            return Simple.DONE
        case Interrupted(error, holds_up_others):
            return WaitForCure(error) if holds_up_others else WaitAlone(error)
        case Conflicted(error):
            return RunAgain(conflict_delay_s(moment.conflicts, moment.chance), error)
        case Cancelled():
            return Simple.LEAVE
        case GivenUp(error, reason):
            return _give_up(reason, error, has_dead_letter=has_dead_letter)
        case Failed(error, is_fatal=True):
            return _give_up(Reason.FATAL, error, has_dead_letter=has_dead_letter)
        case Failed(error):
            again = (
                _in_place(outcome, attempt, moment, retry)
                if isinstance(retry, InPlace)
                else _on_topic(outcome, attempt, moment, retry)
            )
            if isinstance(again, Reason):
                return _give_up(again, error, has_dead_letter=has_dead_letter)
            return again


def _in_place(failed: Failed, attempt: int, moment: Moment, retry: InPlace) -> RetryInPlace | Reason:
    delay_s = retry.delay_s(attempt, moment.chance, failing_s=moment.failing_s)
    if delay_s is None:
        return Reason.EXHAUSTED
    if moment.is_window_full:
        return Reason.WINDOW_FULL
    return RetryInPlace(delay_s if failed.after_s is None else failed.after_s)


def _on_topic(failed: Failed, attempt: int, moment: Moment, retry: RetryTopics) -> Forward | Reason:
    found = next_retry(
        retry,
        attempt=attempt,
        now_ms=moment.now_ms,
        first_seen_ms=moment.first_seen_ms,
        after_s=failed.after_s,
    )
    if found is None:
        return Reason.EXHAUSTED
    stage, due_ms = found
    return Forward(stage, due_ms, failed.error)


def _give_up(reason: Reason, error: BaseException, *, has_dead_letter: bool) -> Bury | StopPartition:
    return Bury(reason, error) if has_dead_letter else StopPartition(error)
