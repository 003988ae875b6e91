"""The schema registry: reachable, letting us in, and how its clock is set."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Collection, Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

from ottla.core.diagnosis.findings import Finding
from ottla.core.diagnosis.here import clock
from ottla.core.diagnosis.registry import answered, silent
from ottla.settings import Settings

_ANSWER_S = 3.0
_HTTP_DATE_S = 0.5
"""The header Date is cut off to a second: half of one too early, on average."""


def examine_registry(settings: Settings, wanted: Iterable[str] = ()) -> list[Finding]:
    """Ask the registries of the settings for their subjects, `wanted` among them; blocks for seconds at most.

    Nothing where there is no registry. Who we are may stand in its URL; nothing of that is repeated.
    """
    if settings.schema_registry_url is None:
        return []
    wanted = list(wanted)
    urls = settings.schema_registry_url.get_secret_value().split(",")
    return [finding for url in urls for finding in _examine(url.strip(), settings, wanted)]


def _examine(url: str, settings: Settings, wanted: Collection[str]) -> list[Finding]:
    where, login = _taken_apart(url, settings)
    request = urllib.request.Request(f"{where.rstrip('/')}/subjects", headers=login)  # noqa: S310  (checked by its setting)
    before = time.time()
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_S, context=_tls(settings)) as answer:  # noqa: S310  (the same)
            status, body, date = answer.status, answer.read(), answer.headers.get("Date")
    except urllib.error.HTTPError as error:
        with error:
            status, body, date = error.code, b"", error.headers.get("Date")
    except (OSError, ValueError) as error:
        return [silent(where, str(getattr(error, "reason", error)))]
    after = time.time()
    findings = answered(where, status, subjects=_subjects(body), wanted=wanted)
    return [*findings, *_clock(date, before, after)]


def _subjects(body: bytes) -> Collection[str] | None:
    try:
        subjects = json.loads(body)
    except ValueError:
        return None
    return subjects if isinstance(subjects, list) else None


def _tls(settings: Settings) -> ssl.SSLContext | None:
    """By the files that the settings name, else the system's authorities. Raises `OSError`."""
    certificate = settings.schema_registry_certificate_file
    if settings.schema_registry_ca_file is None and certificate is None:
        return None
    context = ssl.create_default_context(cafile=settings.schema_registry_ca_file)
    if certificate is not None:
        password = settings.schema_registry_key_password
        secret = None if password is None else password.get_secret_value()
        context.load_cert_chain(certificate, settings.schema_registry_key_file, secret)
    return context


def _clock(date: str | None, before: float, after: float) -> list[Finding]:
    try:
        there = parsedate_to_datetime(date or "").replace(tzinfo=UTC).timestamp() + _HTTP_DATE_S
    except ValueError:
        return []
    return [clock("the registry", (before + after) / 2 - there, (after - before) / 2 + _HTTP_DATE_S)]


def _taken_apart(url: str, settings: Settings) -> tuple[str, dict[str, str]]:
    """`url` without user and password, and the header that they, or the settings, make."""
    parts = urlsplit(url)
    user, _, server = parts.netloc.rpartition("@")
    user = unquote(user)
    if not user and settings.schema_registry_username is not None:
        password = settings.schema_registry_password
        user = f"{settings.schema_registry_username}:{password.get_secret_value() if password else ''}"
    login = {"Authorization": f"Basic {b64encode(user.encode()).decode()}"} if user else {}
    return parts._replace(netloc=server).geturl(), login
