"""The loop that a careful programmer writes by hand: the yardstick of the listener."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from confluent_kafka import Consumer


async def loop(
    consumer: Consumer, decode: Callable[[Any], Any], handle: Callable[[Any], Awaitable[None]], total: int
) -> None:
    done, running = 0, asyncio.get_running_loop()
    while done < total:
        batch = await running.run_in_executor(None, consumer.consume, 500, 0.2)
        for message in batch:
            if message.error() is None:
                await handle(decode(message.value()))
                done += 1
        if batch:
            consumer.commit(asynchronous=True)
