"""Which dead-letter topic a record goes to.

Source: Spring Kafka 4.1.1 `@RetryableTopic(exceptionBasedDltRouting)`, `DestinationTopicPropertiesFactory`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ottla.core.guard import Guard
from ottla.errors import WiringError


@dataclass(frozen=True, slots=True)
class DeadLetterTopic:
    """Where a listener's records go that are given up: `<topic>-<group>-dlt`, unless an exception is routed.

    `routes` gives exception classes a topic apart by a suffix: with `{Undecodable: "-deserialization"}`
    what cannot be read goes to `<topic>-<group>-deserialization-dlt`. The nearest class in the error's
    method resolution order decides. `guard` bounds how many may go there in a row.

    Raises:
        WiringError: a route is no exception class, or its suffix does not begin with a dash.
    """

    routes: Mapping[type[BaseException], str] = field(default_factory=dict, hash=False)
    guard: Guard = field(default_factory=Guard)

    def __post_init__(self) -> None:
        problems = []
        routes: Mapping[Any, Any] = self.routes  # what is written need not be what is annotated
        for cls, suffix in routes.items():
            if not (isinstance(cls, type) and issubclass(cls, BaseException)):
                problems.append(f"{cls!r} in routes is no exception class")
            if not (isinstance(suffix, str) and _is_suffix(suffix)):
                problems.append(f"suffix {suffix!r} must begin with a dash, such as '-refused'")
        if problems:
            raise WiringError(f"DeadLetterTopic: {'; '.join(problems)}")

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of all topics that records may go to: first that of the errors without a route."""
        return ("", *dict.fromkeys(self.routes.values()))

    def suffix_of(self, error: BaseException) -> str:
        """Of the topic that a record goes to which failed with `error`."""
        return next((self.routes[cls] for cls in type(error).__mro__ if cls in self.routes), "")


def _is_suffix(text: str) -> bool:
    return text.startswith("-") and text.isascii() and text[1:].replace("-", "").replace("_", "").isalnum()
