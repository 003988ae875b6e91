"""Whether a process is alive: its poll loops turn.

Rules of this file:

- Nothing else counts. Whoever asks starts the process anew when it is not alive, and that cures
  neither a broker that is away nor a handler that fails: those are matters of readiness.
- A loop may stand for as long as its waits are bound to, and no longer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Pulse(NamedTuple):
    """How long ago a listener's poll loop last turned, and from when on that has no good reason."""

    listener: str
    age_s: float
    bound_s: float


def standing(pulses: Iterable[Pulse]) -> list[str]:
    """Which poll loops stand still, one line each; empty when the process is alive."""
    return [
        f"{listener}: its poll loop last turned {age_s:.1f} s ago, which is more than {bound_s:g} s"
        for listener, age_s, bound_s in pulses
        if age_s > bound_s
    ]
