"""Whether a service can do its work, and in one line each why not."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from ottla.ports import Timer

_log = logging.getLogger("ottla")


class Health:
    """The reasons why a service is not ready. Each is logged when it comes, changes and goes."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    def unready(self, subject: str, reason: str) -> None:
        """`subject` (a listener, a partition, the database) keeps the service from its work."""
        if self._reasons.get(subject) != reason:
            self._reasons[subject] = reason
            _log.error("%s: %s", subject, reason)

    def ready(self, subject: str) -> None:
        """`subject` works again, or is no longer ours."""
        if self._reasons.pop(subject, None) is not None:
            _log.info("%s: ready again", subject)

    def reasons(self) -> dict[str, str]:
        """Subject to reason; empty when the service is ready."""
        return dict(self._reasons)


class LoopClock:
    """The running event loop's clock."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        """Seconds of the loop's clock."""
        return self._loop.time()

    def time_ms(self) -> int:
        """The date."""
        return time.time_ns() // 1_000_000

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call back on the loop after `delay_s`."""
        return self._loop.call_later(delay_s, callback)


def supervise(
    work: Coroutine[Any, Any, None], *, name: str, on_crash: Callable[[BaseException], None]
) -> asyncio.Task[None]:
    """Run `work` as a task whose crash is told: a fault of ours must end the process, not the task alone."""
    task = asyncio.get_running_loop().create_task(work, name=name)

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            on_crash(error)

    task.add_done_callback(ended)
    return task
