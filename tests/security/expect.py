"""What checks ask of the product: to be let in, to be refused with words, to run a service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

from ottla import App, InPlace, Topic
from ottla.errors import AuthenticationFailed
from ottla.kafka.admin import KafkaAdmin
from ottla.kafka.properties import client_properties
from ottla.settings import Settings
from tests.support.apps import DEADLINE_S, until

_LOOK_S = 5.0


async def is_let_in(settings: Settings, topic: str) -> None:
    """An admin client sees `topic`."""
    found = await KafkaAdmin(client_properties(settings), timeout_s=_LOOK_S).partitions([topic])
    assert found == {topic: 1}, f"{topic} has {found}"


async def is_refused(settings: Settings, *words: str, **properties: Any) -> str:
    """An admin client is refused in time, with each of `words`; what was said."""
    began = time.monotonic()
    try:
        await KafkaAdmin({**client_properties(settings), **properties}, timeout_s=_LOOK_S).topics()
    except AuthenticationFailed as error:
        said = str(error)
    else:
        raise AssertionError("it was let in")
    missing = [word for word in words if word not in said]
    assert not missing, f"{missing} not in: {said}"
    assert time.monotonic() - began < _LOOK_S + 5, f"it took {time.monotonic() - began:.1f} s"
    return said


class Service:
    """An app that copies one topic to another, and what it was given."""

    def __init__(self, settings: Settings, group: str, source: str, target: str | None = None) -> None:
        self.app = App(group, settings=settings)
        self.handled: list[str] = []

        @self.app.listener(Topic(source, str), retry=InPlace(attempts=1))
        async def handle(text: str) -> None:
            if text.startswith("poison"):
                raise ValueError(text)
            self.handled.append(text)
            if target is not None:
                await self.app.template.send(target, text)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Between start and stop, ready or not."""
        try:
            await self.app.start(fail_fast=False)
            yield
        finally:
            await self.app.stop()

    async def is_ready(self, within_s: float = DEADLINE_S) -> None:
        """Wait until nothing keeps it from its work."""
        await until(lambda: not self.app.unready(), what=f"ready: {self.app.unready()}", within_s=within_s)

    async def is_unready(self, *words: str) -> str:
        """Wait until it says each of `words`; all that it says then."""

        def said() -> str:
            return "; ".join(f"{subject}: {why}" for subject, why in self.app.unready().items())

        await until(lambda: all(word in said() for word in words), what=f"unready with {words}: {said()}")
        return said()

    async def has_handled(self, *texts: str) -> None:
        """Wait until exactly these were handled."""
        await until(lambda: len(self.handled) >= len(texts), what=f"{len(texts)} handled")
        assert sorted(self.handled) == sorted(texts), f"handled: {self.handled}"


class Beat:
    """How long the event loop stood still at most, in the block."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            self.longest_s, last = max(self.longest_s, now - last), now
