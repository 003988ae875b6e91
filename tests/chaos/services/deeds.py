"""What a record tells its handler to do."""

from __future__ import annotations

import asyncio
import contextlib

from ottla import Record


async def do(deed: str, takes_s: float, record: Record) -> None:
    """Fail, fail once, or hang: for so long, and whoever cancels it is not heard."""
    if deed == "fail" or (deed == "flaky" and record.attempt == 1):
        raise ValueError(f"told to {deed}")
    ends = asyncio.get_running_loop().time() + takes_s
    while (left := ends - asyncio.get_running_loop().time()) > 0:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(left)
