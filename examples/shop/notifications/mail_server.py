"""A mail server that sends nothing and counts: `uvicorn examples.shop.notifications.mail_server:api`.

Keeps the idempotency keys it has seen, in memory, as a real one would for some days.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from fastapi import FastAPI, Header
from pydantic import BaseModel

api = FastAPI(title="Mail")
_asked: Counter[str] = Counter()


class Mail(BaseModel):
    """One mail."""

    to: str
    subject: str


class Counts(BaseModel):
    """`sent`: distinct idempotency keys; `asked`: requests."""

    sent: int
    asked: int


@api.post("/mail", status_code=202)
async def send(_: Mail, idempotency_key: Annotated[str, Header()]) -> Counts:
    """Send it, unless its key was seen."""
    _asked[idempotency_key] += 1
    return await counts()


@api.get("/counts")
async def counts() -> Counts:
    """What was sent so far."""
    return Counts(sent=len(_asked), asked=_asked.total())
