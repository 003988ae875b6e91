"""Whether a listener may start records while the framework's own work fails.

Rules of this file:

- The first failure suspends: nothing starts but probes, one record at a time, each after a
  longer wait than the one before.
- However a probe ends, except by showing that the work succeeds again, another follows:
  a probe that vanished with its partition must not be the last.
- Failures of records that ran beside count once: they are the same outage.
"""

from __future__ import annotations

from ottla.core.backoff import exponential_s

_FIRST_S, _LONGEST_S = 0.2, 10.0


class Suspension:
    """Opens and closes a listener; `may_start` is what its workers look at."""

    __slots__ = ("_failures", "_is_over", "_probe", "is_open", "may_start")

    def __init__(self) -> None:
        self.may_start = True
        """Whether the next record may start: always while open, once for each probe that is due."""
        self.is_open = True
        """Whether all is well; only while it is not has anybody to ask further."""
        self._is_over = False
        self._probe: object = None
        self._failures = 0

    def started(self, item: object) -> None:
        """`item` has been started while suspended: it is the probe, and the only one."""
        self._probe, self.may_start = item, False

    def failed(self, chance: float) -> float | None:
        """The framework's work failed. If this is news, the wait before a probe, moved by `chance`."""
        if not self.is_open:
            return None
        self.is_open = self.may_start = False
        return self._next_wait_s(chance)

    def ended(self, item: object, chance: float) -> float | None:
        """`item` has ended, however. The wait before the next probe, if it was one that cured nothing."""
        if item is not self._probe or self.is_open or self._is_over:
            return None
        self._probe = None
        return self._next_wait_s(chance)

    def probe_due(self) -> None:
        """The wait is over."""
        self.may_start = not self._is_over

    def succeeded(self) -> bool:
        """The framework's work succeeded. Whether that ends a suspension."""
        if self.is_open or self._is_over:
            return False
        self.is_open = self.may_start = True
        self._failures, self._probe = 0, None
        return True

    def end(self) -> None:
        """The listener stops: nothing starts any more."""
        self.is_open = self.may_start = False
        self._is_over = True

    def _next_wait_s(self, chance: float) -> float:
        self._failures += 1
        wait_s = exponential_s(self._failures, first_s=_FIRST_S, factor=2, max_s=_LONGEST_S)
        return wait_s * (0.8 + 0.2 * chance)
