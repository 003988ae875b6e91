"""The demo's child processes. None outlives the demo, however that ends."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from examples.shop.demo.service import STATUS
from ottla.embedded.guarded import GuardedServer

_ROOT = Path(__file__).parents[3]
_LOG = "log"
_KILLED_WITHIN_S = 10.0


class Program:
    """One Python module in a process and a temporary folder of its own."""

    def __init__(self, name: str, module: str, *arguments: str, environment: Mapping[str, str]) -> None:
        self.name = name
        self._server = GuardedServer(f"ottla-demo-{name}-")
        try:
            self.pid = self._server.start(
                [sys.executable, "-m", module, *arguments],
                log=_LOG,
                env={**environment, "PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": "1"},
                end_signal=signal.SIGTERM,
            )
        except BaseException:
            self._server.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._server.exit_code()

    def freeze(self) -> None:
        """SIGSTOP."""
        self._server.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._server.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self._server.send_signal(signal.SIGKILL)
        self._server.wait(_KILLED_WITHIN_S)

    def log(self) -> str:
        """The end of what it has written."""
        return self._server.tail(_LOG, 3000)

    def status(self) -> Mapping[str, int]:
        """What a listening process has said of itself last; empty when nothing yet."""
        file = self._server.folder / STATUS
        status: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
        return status
