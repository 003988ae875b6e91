"""Of the schema registry: what it answers when it is asked for its subjects."""

from __future__ import annotations

from http import HTTPStatus

from ottla.core.diagnosis.findings import Check, Finding, fail, ok

_REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


def answered(where: str, status: int, *, subjects: int | None) -> Finding:
    """What a registry's answer means; `subjects` is None where it was no list of them."""
    if status in _REFUSED:
        cure = "check user, password and rights of the registry"
        return fail(Check.REGISTRY, where, f"the registry refuses us (HTTP {status})", cure)
    if status != HTTPStatus.OK or subjects is None:
        cure = "take the URL below which /subjects is (Apicurio: …/apis/ccompat/v7)"
        return fail(Check.REGISTRY, where, f"no schema registry there (HTTP {status} for /subjects)", cure)
    return ok(Check.REGISTRY, where, f"{subjects} subject{'' if subjects == 1 else 's'}")


def silent(where: str, said: str) -> Finding:
    """There was no answer."""
    cure = "check SCHEMA_REGISTRY_URL, and that the registry runs there"
    return fail(Check.REGISTRY, where, f"does not answer ({said})", cure)
