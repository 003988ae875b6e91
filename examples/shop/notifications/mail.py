"""Sends mail through an HTTP service. Environment: MAIL_URL."""

from __future__ import annotations

import os
from functools import cache

import httpx

_TIMEOUT_S = 10.0


@cache
def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=os.environ.get("MAIL_URL", "http://127.0.0.1:8025"), timeout=_TIMEOUT_S)


async def send(to: str, subject: str, *, idempotency_key: str) -> None:
    """Have one mail sent for `idempotency_key`, however often it is asked for.

    Raises `httpx.HTTPError` when the mail service does not take it: then the record is tried again.
    """
    answer = await _client().post(
        "/mail", json={"to": to, "subject": subject}, headers={"Idempotency-Key": idempotency_key}
    )
    answer.raise_for_status()
