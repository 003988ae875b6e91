"""What each path answers, from what the service tells; asked on threads of the endpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

from ottla.admin.metrics import CONTENT_TYPE, exposition
from ottla.core.figures import ServiceFigures
from ottla.core.liveness import Pulse, standing

TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"


class Answer(NamedTuple):
    """A response."""

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT


@dataclass(frozen=True, slots=True)
class Probes:
    """What a service tells of itself. Each is called by threads, and must neither wait nor raise."""

    pulses: Callable[[], Sequence[Pulse]]
    unready: Callable[[], Mapping[str, str]]
    figures: Callable[[], ServiceFigures]


def answers(probes: Probes) -> dict[str, Callable[[], Answer]]:
    """What to ask for each path."""
    return {
        "/livez": lambda: _livez(probes.pulses()),
        "/readyz": lambda: _readyz(probes.unready()),
        "/metrics": lambda: _metrics(probes.figures()),
    }


def _livez(pulses: Sequence[Pulse]) -> Answer:
    lines = standing(pulses)
    status = HTTPStatus.SERVICE_UNAVAILABLE if lines else HTTPStatus.OK
    return Answer(status, "".join(f"{line}\n" for line in lines or ["ok"]).encode())


def _readyz(reasons: Mapping[str, str]) -> Answer:
    status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    body = json.dumps({"ready": not reasons, "reasons": dict(reasons)}, ensure_ascii=False)
    return Answer(status, f"{body}\n".encode(errors="replace"), _JSON)


def _metrics(figures: ServiceFigures) -> Answer:
    try:
        return Answer(HTTPStatus.OK, exposition(figures), CONTENT_TYPE)
    except ImportError:
        return Answer(HTTPStatus.NOT_IMPLEMENTED, b"install ottla[metrics]\n")
