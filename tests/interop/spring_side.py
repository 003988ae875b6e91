"""The Spring side's process, and how it tells what its listeners are given."""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel

from ottla.embedded.guarded import GuardedServer
from tests.support.kafka_server import ROOT, Kafka, java

_JAR = ROOT / "tests" / "interop" / "spring" / "target" / "interop.jar"
_LOG = "spring.log"


class HeaderSeen(BaseModel):
    """A header as Java saw it: the simple name of its class; bytes are base64."""

    type: str
    value: Any


class Seen(BaseModel):
    """What a listener of the Spring side was given. `typed` are parameters of their own."""

    listener: str
    at_ms: int
    key: str | None
    value: Any
    headers: dict[str, HeaderSeen]
    typed: dict[str, Any]


class Spring:
    """The Spring side's process; it ends with this one."""

    def __init__(self, kafka: Kafka) -> None:
        self._server = GuardedServer("ottla-interop-")
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("SPRING_", "LOGGING_"))
        }
        self._server.start(
            [
                java(),
                "-Xmx192m",
                "-XX:TieredStopAtLevel=1",  # starts sooner; nothing is measured
                "-jar",
                str(_JAR),
                f"--spring.kafka.bootstrap-servers={kafka.bootstrap_servers}",
            ],
            log=_LOG,
            env=inherited,
        )

    def has_ended(self) -> bool:
        """Whether the process is over."""
        return self._server.exit_code() is not None

    def log(self) -> str:
        """The end of what it has said."""
        return self._server.tail(_LOG, 4_000)

    def close(self) -> None:
        """End the process."""
        self._server.close()
