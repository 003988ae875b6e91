"""Services that only an edit can cure."""

from __future__ import annotations

from sqlalchemy.orm import Session

from ottla import App, Topic, Transaction

ORDERS = Topic("orders", bytes)

twice = App("twice")


@twice.listener(ORDERS)
async def first(value: bytes) -> None: ...


@twice.listener(ORDERS)
async def second(value: bytes) -> None: ...


unfillable = App("unfillable")


@unfillable.listener(ORDERS)
async def with_two_payloads(value: bytes, mailer: dict[str, int]) -> None: ...


unusable = App("unusable")


@unusable.listener(ORDERS)
async def without_annotation(value) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    ...


crowded = App("crowded")


@crowded.listener(ORDERS)
def in_a_thread(value: bytes, tx: Transaction[Session]) -> None: ...
