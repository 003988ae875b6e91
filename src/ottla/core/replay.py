"""Which dead letters are sent to be handled again, and where to.

Rules of this file:

- A replay reaches the group that failed and no other. Where there is no such way it is refused,
  unless somebody asks for the topic itself, by name or by asking for all of its groups.
- A group's own retry topics are named after it. Retry topics in Spring's naming are shared by
  the groups of a topic, so only a dead letter that came by retry topics goes back to them.
- Our groups without retry topics have a replay topic. By our reason header we know them.
- Key, value and headers stay byte for byte. What is added says which replay it was, by whom and
  when; on a retry topic also that the record is at its first attempt and due now.
- What was sent is not sent again unasked. What was found being sent is, under the id that
  it was sent by: it may have arrived.

Source: Spring Kafka 4.1.1 `DefaultDestinationTopicResolver`, `KafkaBackoffAwareMessageListenerAdapter`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from ottla.core.detours import REPLAY_ID_HEADER
from ottla.core.letters import Letter
from ottla.core.replay_ledger import Entry, State
from ottla.core.spring_headers import (
    ATTEMPT,
    ATTEMPTS_HEADER,
    BIG_INTEGER,
    DUE_HEADER,
    FIRST_SEEN_HEADER,
    TEXT,
    Family,
)
from ottla.core.topology import TopicKind, parse_topic, replay_topic
from ottla.records import Headers

REPLAYED_BY_HEADER = "ottla-replayed-by"
REPLAYED_AT_HEADER = "ottla-replayed-at"

FIRST_ATTEMPT = 1
"""A replayed record begins anew, with all of its attempts: on retry topics as on the replay topic."""


class Way(enum.Enum):
    """By what kind of topic a replay goes."""

    GIVEN = "given"
    RETRY = "retry"
    REPLAY = "replay"
    MAIN = "main"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a dead letter goes. `partitions`: how many to make it with where it is missing, else None."""

    topic: str
    way: Way
    partitions: int | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """To be sent. `replay_id` is that of the send that was interrupted, None for a new one."""

    target: Target
    replay_id: str | None = None
    is_again: bool = False


@dataclass(frozen=True, slots=True)
class Discard:
    """To be given up for good: to be noted, that is."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Nothing is to be done: it was sent or given up before."""

    state: State


@dataclass(frozen=True, slots=True)
class Refused:
    """It must not be sent. `why` is the same for all letters with the same cause, and says what would do."""

    why: str


Verdict = Send | Discard | Skipped | Refused


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What somebody asked for, and when. `window_ms`: for how long inboxes remember events."""

    now_ms: int
    window_ms: int
    to: str | None = None
    to_all_groups: bool = False
    again: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which replay it is, by whom, and when: `at` in ISO 8601, `at_ms` in milliseconds."""

    replay_id: str
    by: str
    at: str
    at_ms: int


def judge(letter: Letter, entry: Entry | None, topics: Mapping[str, int], request: ReplayRequest) -> Verdict:
    """What becomes of `letter`, of which the ledger says `entry`; `topics` are the cluster's partitions."""
    if entry is not None and entry.state is not State.SENDING and not request.again:
        return Skipped(entry.state)
    if letter.headers is None:
        return Refused(
            "a header's name is not UTF-8: the client cannot read the headers, and would lose them"
        )
    if (too_old := _too_old(letter, request)) is not None:
        return too_old
    target = choose_target(letter, topics, request)
    if isinstance(target, Refused):
        return target
    interrupted = entry if entry is not None and entry.state is State.SENDING else None
    return Send(target, interrupted.replay_id if interrupted else None, is_again=entry is not None)


def judge_discard(entry: Entry | None) -> Discard | Skipped:
    """What becomes of a letter that somebody gives up: what was sent has ended already."""
    if entry is None or entry.state is State.SENDING:
        return Discard()
    return Skipped(entry.state)


def choose_target(letter: Letter, topics: Mapping[str, int], request: ReplayRequest) -> Target | Refused:
    """Where `letter` goes, whether or not it should."""
    if request.to is not None:
        if request.to not in topics:
            return Refused(f"there is no topic {request.to!r}, which --to names; create it first")
        way = Way.RETRY if parse_topic(request.to).kind is TopicKind.RETRY else Way.GIVEN
        return Target(request.to, way)
    told = letter.told
    if told.topic is None:
        return Refused("no header tells which topic it comes from; name where it goes with --to TOPIC")
    if told.group is not None:
        if (retry := _first_retry_topic(letter, topics)) is not None:
            return Target(retry, Way.RETRY)
        if told.reason is not None:
            return _replay_target(letter, told.topic, told.group, topics)
    if not request.to_all_groups:
        whose = (
            "no header tells which group failed"
            if told.group is None
            else f"group {told.group!r} is not Ottla's"
        )
        return Refused(
            f"{whose}, and no retry topic of it is there: only {told.topic!r} would do, and all groups "
            "that read it would get the record; ask for that with --to-all-groups, or give --to TOPIC"
        )
    if told.topic not in topics:
        return Refused(f"topic {told.topic!r} is not there any more; name another with --to TOPIC")
    return Target(told.topic, Way.MAIN)


def replay_headers(letter: Letter, target: Target, stamp: Stamp) -> Headers:
    """The headers of the letter as it is sent: its own, and behind them which replay it is.

    For a retry topic that the record is at its first attempt and due now. When it was first
    seen stays: a time-out of its retry topics is counted from there.
    """
    headers = (letter.headers or Headers()).with_added(
        (REPLAY_ID_HEADER, TEXT.encode(stamp.replay_id)),
        (REPLAYED_BY_HEADER, TEXT.encode(stamp.by)),
        (REPLAYED_AT_HEADER, TEXT.encode(stamp.at)),
    )
    if target.way is not Way.RETRY:
        return headers
    first_seen_ms = letter.told.timestamp_ms
    if headers.last(FIRST_SEEN_HEADER) is None and first_seen_ms is not None:
        headers = headers.with_added((FIRST_SEEN_HEADER, BIG_INTEGER.encode(first_seen_ms)))
    return headers.with_added(
        (ATTEMPTS_HEADER, ATTEMPT.encode(FIRST_ATTEMPT)), (DUE_HEADER, BIG_INTEGER.encode(stamp.at_ms))
    )


def _too_old(letter: Letter, request: ReplayRequest) -> Refused | None:
    """Whether the inbox may have forgotten the event of a dead letter of ours.

    Its row was written when the record was given up, which is when the dead letter was written:
    not when the record was sent. Who handles it without an inbox has no window.
    """
    if request.force or letter.told.reason is None:
        return None
    if letter.timestamp_ms is not None and request.now_ms - letter.timestamp_ms <= request.window_ms:
        return None
    return Refused(
        f"older than the {_days(request.window_ms)} days of OTTLA_DEDUP_WINDOW_DAYS: the inbox may have "
        "forgotten the event, and an effect that took place meanwhile could take place twice; "
        "--force sends it all the same"
    )


def _days(ms: int) -> str:
    return f"{ms / 86_400_000:g}"


def _replay_target(letter: Letter, topic: str, group: str, topics: Mapping[str, int]) -> Target:
    name = replay_topic(topic, group)
    if name in topics:
        return Target(name, Way.REPLAY)
    return Target(name, Way.REPLAY, topics.get(topic) or topics[letter.topic])


def _first_retry_topic(letter: Letter, topics: Mapping[str, int]) -> str | None:
    """The retry topic that a record of the letter's group comes to first, where there is any."""
    told = letter.told
    own = _retry_topics(f"{told.topic}-{told.group}", topics)
    shared = _retry_topics(told.topic or "", topics) if told.family is Family.RETRY_TOPIC else []
    return next(iter(own or shared), None)


def _retry_topics(base: str, topics: Mapping[str, int]) -> list[str]:
    """Those of `base`, in the order of their delays or indexes."""
    parsed = [(name, parse_topic(name)) for name in topics if name.startswith(f"{base}-retry")]
    found = [
        (name, each.suffix) for name, each in parsed if each.kind is TopicKind.RETRY and each.base == base
    ]
    return [name for name, suffix in sorted(found, key=lambda pair: _numbers(pair[1]))]


def _numbers(suffix: str) -> tuple[int, ...]:
    """What `-retry-2000-1` is ordered by: 2000, then 1."""
    return tuple(int(part) for part in suffix.split("-")[2:])
