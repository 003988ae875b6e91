"""Waiting with an end: turns of the event loop, as long as there is real time left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ottla.errors import OttlaError

_QUICK_TURNS = 100
_LOOK_S = 0.001
"""How often a handler is looked at that waits for something outside: nobody tells when it ends."""


class NotSettled(OttlaError):
    """Something has not come to its end in time; the message says what, and why where that is known."""


class Patience:
    """Turns of the event loop, quick ones at first, until real time is up."""

    def __init__(self, within_s: float) -> None:
        self._clock = asyncio.get_running_loop().time
        self._within_s = within_s
        self._deadline = self._clock() + within_s
        self._turns = 0

    async def turn(self, why_not: Callable[[], str]) -> None:
        """Let others run once. Raises `NotSettled` when the time is up."""
        if self._clock() > self._deadline:
            raise NotSettled(f"not within {self._within_s:g} s of real time: {why_not()}")
        self._turns += 1
        await asyncio.sleep(0 if self._turns < _QUICK_TURNS else _LOOK_S)

    def renew(self) -> None:
        """Something went on: what follows may be quick again."""
        self._turns = 0
