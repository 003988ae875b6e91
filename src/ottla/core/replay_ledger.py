"""What has become of dead letters, as a compacted topic of their group keeps it.

Rules of this file:

- A dead letter is known by topic, partition, offset and timestamp: the offsets alone begin
  again when the topic is made anew.
- What is written last counts; null forgets. What is no entry of ours changes nothing,
  because anybody can write to a topic.
- `sending` is written before a send and `sent` after its acknowledgement. What is found
  `sending` may have been sent, and may not.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ottla.core.letters import Letter

LEDGER_CONFIG = (("cleanup.policy", "compact"),)


class State(enum.Enum):
    """How far a dead letter has come."""

    SENDING = "sending"
    SENT = "sent"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class Entry:
    """What was done with a dead letter, by whom and when (ISO 8601); `why` belongs to `discarded`."""

    state: State
    by: str
    at: str
    replay_id: str | None = None
    target: str | None = None
    why: str | None = None


Entries = Mapping[bytes, Entry]
"""Of one ledger, by `entry_key`."""


def ledger_topic(letter: Letter) -> str:
    """Where the fate of `letter` is kept: a topic of its group, or of its topic where none is told."""
    return ledger_name(letter.told.group or letter.topic)


def ledger_name(group: str) -> str:
    """The ledger of `group`."""
    return f"{group}-replays"


def entry_key(letter: Letter) -> bytes:
    """The key of the letter's entry. `/` is in no topic's name."""
    timestamp = "none" if letter.timestamp_ms is None else letter.timestamp_ms
    return f"{letter.topic}/{letter.partition}/{letter.offset}/{timestamp}".encode()


def encode_entry(entry: Entry) -> bytes:
    """The value of an entry: JSON, without what there is none of."""
    told = {
        "state": entry.state.value,
        "by": entry.by,
        "at": entry.at,
        "replay_id": entry.replay_id,
        "target": entry.target,
        "reason": entry.why,
    }
    return json.dumps({name: value for name, value in told.items() if value is not None}).encode()


def decode_entry(raw: bytes) -> Entry | None:
    """The entry in `raw`; None when it is none."""
    try:
        told = json.loads(raw)
        state = State(told["state"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    by, at, *rest = (told.get(name) for name in ("by", "at", "replay_id", "target", "reason"))
    if not (isinstance(by, str) and isinstance(at, str)):
        return None
    if not all(value is None or isinstance(value, str) for value in rest):
        return None
    replay_id, target, why = rest
    return Entry(state, by, at, replay_id, target, why)


def fold(records: Iterable[tuple[bytes | None, bytes | None]]) -> dict[bytes, Entry]:
    """What the ledger says, from its keys and values in the order of their offsets."""
    entries: dict[bytes, Entry] = {}
    for key, value in records:
        if key is None:
            continue
        if value is None:
            entries.pop(key, None)
        elif (entry := decode_entry(value)) is not None:
            entries[key] = entry
    return entries
