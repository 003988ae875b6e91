"""What a record brings along that comes to its listener by another topic than the first.

Rules of this file:

- Headers are believed only where the road says so: on its first topic a record is at its
  first attempt, whatever it claims.
- On a shared retry or dead-letter topic the group header tells whose record it is; without
  one it is everybody's, as for Spring, which writes none for some failures.
- What came by a detour keeps the coordinates of its first topic: by these the inbox knows it,
  and by these it is told of when it fails again.
- A replayed record begins anew: on a replay topic at its first attempt, on a retry topic at the one
  that the replay wrote.

Source: Spring Kafka 4.1.1 `KafkaBackoffAwareMessageListenerAdapter`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ottla.core.headers import Origin
from ottla.core.provenance import Provenance, read_provenance, read_retry
from ottla.records import Headers

REPLAY_ID_HEADER = "ottla-replay-id"
"""Of a dead letter that was sent to be handled again; believed on a group's own retry and replay topics."""

_TIMESTAMP_TYPES = {"NoTimestampType": 0, "CreateTime": 1, "LogAppendTime": 2}


class Road(enum.Enum):
    """Which of a listener's topics a record came by."""

    MAIN = "main"
    RETRY = "retry"
    REPLAY = "replay"
    DEAD_LETTER = "dead-letter"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A record that is ours. `origin` is None where no header tells it: then it is where it stands.

    `attempt` is the one that comes now, from 1. `first_seen_ms` and `due_ms` are None for "its own
    timestamp" and "at once".
    """

    attempt: int
    origin: Origin | None
    first_seen_ms: int | None = None
    due_ms: int | None = None
    is_replay: bool = False


def read_arrival(road: Road, headers: Headers, *, group: str, now_ms: int) -> Arrival | None:
    """What a record on a detour is to the listener of `group`; None when it is another group's."""
    told = read_provenance(headers)
    if road is not Road.REPLAY and told is not None and told.group not in {None, group}:
        return None
    origin = _origin(told, group)
    match road:
        case Road.RETRY:
            retry = read_retry(headers, now_ms=now_ms)
            is_replay = headers.last(REPLAY_ID_HEADER) is not None
            return Arrival(retry.attempt, origin, retry.first_seen_ms, retry.due_ms, is_replay)
        case Road.REPLAY:
            return Arrival(1, origin, is_replay=True)
        case _:
            return Arrival(1, origin)


def _origin(told: Provenance | None, group: str) -> Origin | None:
    """All four coordinates, or nothing: in part they would name another record."""
    if told is None or told.topic is None or told.partition is None or told.offset is None:
        return None
    if told.timestamp_ms is None:
        return None
    kind = _TIMESTAMP_TYPES.get(told.timestamp_type or "CreateTime", 0)
    return Origin(told.topic, told.partition, told.offset, told.timestamp_ms, kind, group)
