"""What a process knows of its schema registry: ids and schemas, asked once and kept.

Rules of this file:
- What is known is never asked again, so a registry that is away holds up nothing that it has told.
- What is not known is asked for by one question, however many records wait for the answer, in a
  thread: nothing here holds up the event loop.
- "I do not know it" is believed when it has been said three times within a second: a registry with
  followers may learn of an id later than its readers do. What does not answer is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from ottla.core.frames import SchemaRef
from ottla.core.schemas import WantedSchema
from ottla.errors import SchemaNotRegistered, SchemaRegistryUnavailable, Unavailable, Undecodable
from ottla.ports import RegisteredSchema, SchemaRegistry

T = TypeVar("T")

_ASK_AGAIN_S = (0.3, 0.7)
_BELIEVED_S = 60.0
_MOST_UNKNOWN = 1_000
_THREADS = 4
_BEYOND_S = 1.0
"""The client's own time-outs come first; this one is for a server that drips."""


class SchemaStore(Protocol):
    """Where ids and schemas are looked up."""

    def id_of(self, wanted: WantedSchema) -> int:
        """The id that `wanted` is registered under. Raises `SchemaNotKnown`."""
        ...

    def schema(self, ref: SchemaRef) -> RegisteredSchema:
        """The schema known as `ref`. Raises `SchemaNotKnown`."""
        ...


class SchemaNotKnown(Unavailable):
    """The registry has not been asked yet; `learn` asks it, and raises what `Schemas` does."""

    def __init__(
        self, what: str, *, learn: Callable[[], Awaitable[None]], learn_in_thread: Callable[[], None]
    ) -> None:
        self.learn = learn
        self.learn_in_thread = learn_in_thread
        super().__init__(f"the schema registry has not been asked for {what} yet")


class Unregistered:
    """Stands in where there is no app, as in a test that calls a handler: every schema has id 0."""

    def id_of(self, wanted: WantedSchema) -> int:  # noqa: ARG002  (as `SchemaStore` has it)
        """Always 0, which no registry gives."""
        return 0

    def schema(self, ref: SchemaRef) -> RegisteredSchema:
        """Nothing is known."""
        raise Undecodable(f"schema {ref} is not known: there is no schema registry")


class Schemas:
    """A `SchemaStore` that asks `registry` for what it does not know. Belongs to one event loop.

    `auto_register` registers what a send needs and is not registered.
    """

    def __init__(
        self, registry: SchemaRegistry, *, auto_register: bool = False, timeout_s: float = 5.0
    ) -> None:
        self._registry = registry
        self._auto_register = auto_register
        self._timeout_s = timeout_s
        self._ids: dict[WantedSchema, int] = {}
        self._schemas: dict[SchemaRef, RegisteredSchema] = {}
        self._unknown: dict[SchemaRef, float] = {}
        self._asked: dict[Hashable, asyncio.Task[Any]] = {}
        self._threads: ThreadPoolExecutor | None = None

    def id_of(self, wanted: WantedSchema) -> int:
        """The id that `wanted` is registered under. Raises `SchemaNotKnown`."""
        try:
            return self._ids[wanted]
        except KeyError:
            pass
        raise SchemaNotKnown(
            f"the id of subject {wanted.subject!r}",
            learn=lambda: self.learn_id(wanted),
            learn_in_thread=lambda: self.learn_id_in_thread(wanted),
        )

    def schema(self, ref: SchemaRef) -> RegisteredSchema:
        """The schema known as `ref`. Raises `SchemaNotKnown`."""
        try:
            return self._schemas[ref]
        except KeyError:
            pass
        raise SchemaNotKnown(
            f"schema {ref}", learn=lambda: self.learn(ref), learn_in_thread=lambda: self.learn_in_thread(ref)
        )

    async def learn_id(self, wanted: WantedSchema) -> None:
        """Ask for the id of `wanted`.

        Raises:
            SchemaNotRegistered: the registry has no such schema under that subject.
            SchemaRefused: it was to be registered, and the registry does not take it.
            SchemaRegistryUnavailable: or another `Unavailable`: no answer.
        """
        if wanted not in self._ids:
            await self._once(wanted, lambda: self._in_thread(self.learn_id_in_thread, wanted))

    def learn_id_in_thread(self, wanted: WantedSchema) -> None:
        """The same; blocks the calling thread."""
        found = self._registry.id_of(wanted)
        if found is None and self._auto_register:
            found = self._registry.register(wanted)
        if found is None:
            raise SchemaNotRegistered(
                f"the schema of subject {wanted.subject!r} is not registered as this service has it: "
                "run `ottla schemas register MODULE:APP` (or deploy what does)"
            )
        self._ids[wanted] = found
        self._schemas[found] = RegisteredSchema(found, wanted.kind, wanted.text)

    async def learn(self, ref: SchemaRef) -> None:
        """Ask for the schema known as `ref`.

        Raises:
            Undecodable: the registry answers, and does not know it.
            SchemaRegistryUnavailable: or another `Unavailable`: no answer.
        """
        if ref not in self._schemas:
            await self._once(ref, lambda: self._ask(ref))

    def learn_in_thread(self, ref: SchemaRef) -> None:
        """The same, asked once; blocks the calling thread."""
        found = self._registry.schema(ref)
        if found is None:
            raise _unknown(ref)
        self._schemas[ref] = found

    async def learn_newest(self, subject: str) -> None:
        """Know the newest schema of a subject that is read, before the registry may be away.

        Raises:
            SchemaNotRegistered: there is no such subject.
            SchemaRegistryUnavailable: or another `Unavailable`: no answer.
        """
        newest = await self._in_thread(self._registry.newest, subject)
        if newest is None and self._auto_register:
            return  # its first sender will
        if newest is None:
            raise SchemaNotRegistered(
                f"the schema registry has no subject {subject!r}: "
                "run `ottla schemas register MODULE:APP` of a service that sends to the topic"
            )
        self._schemas[newest.id] = newest

    def close(self) -> None:
        """End what asks; a question that is out ends by its time-out."""
        for task in self._asked.values():
            task.cancel()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        self._registry.close()

    async def _ask(self, ref: SchemaRef) -> None:
        clock = asyncio.get_running_loop().time
        if self._unknown.get(ref, 0.0) > clock():
            raise _unknown(ref)
        waits: Iterable[float] = _ASK_AGAIN_S if self._registry.is_remote else ()
        found = await self._in_thread(self._registry.schema, ref)
        for wait_s in waits:
            if found is not None:
                break
            await asyncio.sleep(wait_s)
            found = await self._in_thread(self._registry.schema, ref)
        if found is None:
            if len(self._unknown) >= _MOST_UNKNOWN:
                self._unknown.clear()
            self._unknown[ref] = clock() + _BELIEVED_S
            raise _unknown(ref)
        self._schemas[ref] = found

    async def _once(self, key: Hashable, ask: Callable[[], Awaitable[None]]) -> None:
        """Wait for the answer to `key`, which one task asks for; a cancelled waiter ends it for nobody."""
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.ensure_future(ask())
            task.add_done_callback(lambda done: self._answered(key, done))
        await asyncio.shield(task)

    def _answered(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        del self._asked[key]
        if not task.cancelled():
            task.exception()  # its waiters may be gone

    async def _in_thread(self, function: Callable[..., T], argument: Any) -> T:
        if not self._registry.is_remote:
            return function(argument)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="ottla schemas")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s + _BEYOND_S):
                return await loop.run_in_executor(self._threads, function, argument)
        except TimeoutError as error:
            raise SchemaRegistryUnavailable(
                f"the schema registry has not answered within {self._timeout_s + _BEYOND_S:g} s"
            ) from error


def _unknown(ref: SchemaRef) -> Undecodable:
    return Undecodable(
        f"the schema registry answers, and knows no schema {ref}: the record may be of another registry, "
        "or its schema was deleted"
    )
