"""The schema registry: reachable, letting us in, and how its clock is set."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

from ottla.core.diagnosis.findings import Finding
from ottla.core.diagnosis.here import clock
from ottla.core.diagnosis.registry import answered, silent

_ANSWER_S = 3.0
_HTTP_DATE_S = 0.5
"""The header Date is cut off to a second: half of one too early, on average."""


def examine_registry(url: str, *, headers: Mapping[str, str], tls: ssl.SSLContext | None) -> list[Finding]:
    """Ask a Confluent-compatible registry for its subjects; blocks for seconds at most.

    Who we are may stand in `url` or in `headers`; nothing of it is repeated.
    """
    where, login = _taken_apart(url)
    request = urllib.request.Request(f"{where.rstrip('/')}/subjects", headers={**login, **headers})  # noqa: S310  (checked by its setting)
    before = time.time()
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_S, context=tls) as answer:  # noqa: S310  (the same)
            status, body, date = answer.status, answer.read(), answer.headers.get("Date")
    except urllib.error.HTTPError as error:
        with error:
            status, body, date = error.code, b"", error.headers.get("Date")
    except (OSError, ValueError) as error:
        return [silent(where, str(getattr(error, "reason", error)))]
    after = time.time()
    return [answered(where, status, subjects=_count(body)), *_clock(date, before, after)]


def _count(body: bytes) -> int | None:
    try:
        subjects = json.loads(body)
    except ValueError:
        return None
    return len(subjects) if isinstance(subjects, list) else None


def _clock(date: str | None, before: float, after: float) -> list[Finding]:
    try:
        there = parsedate_to_datetime(date or "").replace(tzinfo=UTC).timestamp() + _HTTP_DATE_S
    except ValueError:
        return []
    return [clock("the registry", (before + after) / 2 - there, (after - before) / 2 + _HTTP_DATE_S)]


def _taken_apart(url: str) -> tuple[str, dict[str, str]]:
    """`url` without user and password, and the header that they make."""
    parts = urlsplit(url)
    user, _, server = parts.netloc.rpartition("@")
    login = {"Authorization": f"Basic {b64encode(unquote(user).encode()).decode()}"} if user else {}
    return parts._replace(netloc=server).geturl(), login
