"""Of the schema registry: what it answers when it is asked for its subjects."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from http import HTTPStatus

from ottla.core.diagnosis.findings import Check, Finding, fail, ok

_REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


def answered(
    where: str, status: int, *, subjects: Collection[str] | None, wanted: Iterable[str] = ()
) -> list[Finding]:
    """What a registry's answer means; `subjects` is None where it was no list of them.

    `wanted` are those that the app's topics need; whether their schemas fit is told by `ottla schemas plan`.
    """
    if status in _REFUSED:
        cure = "check SCHEMA_REGISTRY_USERNAME, SCHEMA_REGISTRY_PASSWORD and their rights"
        return [fail(Check.REGISTRY, where, f"the registry refuses us (HTTP {status})", cure)]
    if status != HTTPStatus.OK or subjects is None:
        cure = "take the URL below which /subjects is (Apicurio: …/apis/ccompat/v7)"
        return [fail(Check.REGISTRY, where, f"no schema registry there (HTTP {status} for /subjects)", cure)]
    count = len(subjects)
    missing = [
        fail(Check.REGISTRY, subject, "not registered", "run `ottla schemas register` with this app")
        for subject in dict.fromkeys(wanted)
        if subject not in subjects
    ]
    return [ok(Check.REGISTRY, where, f"{count} subject{'' if count == 1 else 's'}"), *missing]


def silent(where: str, said: str) -> Finding:
    """There was no answer."""
    cure = "check SCHEMA_REGISTRY_URL, and that the registry runs there"
    return fail(Check.REGISTRY, where, f"does not answer ({said})", cure)
