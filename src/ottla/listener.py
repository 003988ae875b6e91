"""Listeners as declared values: which topic, which function, and how its records are handled.

Nothing is read or opened here. A declaration is checked as a whole when the app
starts, because annotations may name types that are defined further down a module.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_origin

from ottla.core.backoff import InPlace
from ottla.core.classify import Fatal
from ottla.core.dead_letters import DeadLetterTopic
from ottla.core.lanes import Order
from ottla.core.retry_topics import RetryTopics
from ottla.core.start_offsets import Offsets
from ottla.errors import WiringError
from ottla.records import Record
from ottla.template import KafkaTemplate
from ottla.topics import Topic
from ottla.transaction import Transaction


@dataclass(frozen=True, slots=True)
class ListenerSpec:
    """What `App.listener` was told; it documents the fields and has their defaults."""

    topic: Topic[Any]
    function: Callable[..., Any]
    concurrency: int
    order: Order
    retry: InPlace | RetryTopics
    fatal: Fatal
    dead_letter: DeadLetterTopic | None
    offsets: Offsets
    is_dlt_handler: bool = False
    """Whether it takes the dead letters of `topic` in place of its records."""

    def __str__(self) -> str:
        """For messages: the function and where it stands."""
        module, name = self.function.__module__, self.function.__qualname__
        what = "dlt_handler" if self.is_dlt_handler else "listener"
        return f"{what} {name} of topic {self.topic.name!r} ({module})"

    @property
    def is_async(self) -> bool:
        """Whether the handler is a coroutine function; any other runs in a thread."""
        return inspect.iscoroutinefunction(self.function)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Which parameter of a handler takes what; `annotation` is that of the payload."""

    payload: str | None = None
    annotation: Any = None
    record: str | None = None
    template: str | None = None
    transaction: str | None = None


def parameters_of(spec: ListenerSpec) -> Parameters:
    """How the handler of `spec` is to be called.

    Raises:
        WiringError: a parameter that cannot be injected, an annotation that cannot be read.
    """
    try:
        hints = typing.get_type_hints(spec.function, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        raise WiringError(
            f"{spec}: its annotations cannot be read ({error}); define what they name at module level"
        ) from error
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(spec.function).parameters.items():
        if parameter.default is not inspect.Parameter.empty:
            continue  # the handler's own
        role, annotation = _role(spec, parameter, hints)
        if role in found:
            raise WiringError(
                f"{spec}: parameters {found[role]!r} and {name!r} both take the {role}; a handler has one "
                "payload, and may take a Record, a KafkaTemplate and a Transaction beside it"
            )
        found[role] = name
        if role == "payload":
            found["annotation"] = annotation
    return Parameters(**found)


def _role(spec: ListenerSpec, parameter: inspect.Parameter, hints: dict[str, Any]) -> tuple[str, Any]:
    name = parameter.name
    if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
        raise WiringError(
            f"{spec}: parameter {name!r} ({parameter.kind.description}) cannot be injected; "
            "give it a name of its own"
        )
    if name not in hints:
        raise WiringError(
            f"{spec}: parameter {name!r} has no annotation; "
            "write its type: the event's, or Record, KafkaTemplate, Transaction"
        )
    annotation = hints[name]
    plain = annotation.__origin__ if get_origin(annotation) is Annotated else annotation
    kinds = {Record: "record", KafkaTemplate: "template", Transaction: "transaction"}
    return kinds.get(get_origin(plain) or plain, "payload"), annotation


def check(spec: ListenerSpec) -> list[str]:
    """What is wrong with `spec` beside its parameters."""
    problems = []
    if spec.concurrency < 1:
        problems.append(f"{spec}: concurrency={spec.concurrency} must be at least 1")
    if inspect.isasyncgenfunction(spec.function) or inspect.isgeneratorfunction(spec.function):
        problems.append(f"{spec}: a generator cannot be a handler; use `async def` or `def` without yield")
    return problems
