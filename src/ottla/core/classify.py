"""Which exceptions no retry can cure.

Rules of this file:

- The nearest class decides: of all classes that are named, the one that stands first in the
  method resolution order of the error's own class.
- Where a listener and its app name the same class, the listener's word counts.
- What matches nothing is not fatal: a needless retry costs time, a needless dead letter an operator.

Source: Spring Kafka 4.1.1 `ExceptionClassifier`, `@RetryableTopic(include, exclude, traversingCauses)`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ottla.errors import WiringError


def _problems(name: str, classes: object) -> list[str]:
    # Checked at run time as well: these are typed by hand where listeners are declared, and a class
    # in place of a tuple would otherwise be told when the first record fails.
    if not isinstance(classes, tuple):
        return [f"{name}={classes!r} must be a tuple of exception classes"]
    return [
        f"{named!r} in {name} is no exception class"
        for named in classes
        if not (isinstance(named, type) and issubclass(named, BaseException))
    ]


@dataclass(frozen=True, slots=True)
class Fatal:
    """The exceptions that are given up at once, subclasses included.

    `retryable` takes subclasses out again: `Fatal((OSError,), retryable=(ConnectionError,))`.
    With `causes`, an error that matches nothing is judged by its explicit cause (`raise … from`),
    and so on down; an implicit one (`__context__`) says only what was going on. An
    `ExceptionGroup` is judged by its own class, not by what it holds.

    Raises:
        WiringError: what is named is no exception class, or is named on both sides.
    """

    types: tuple[type[BaseException], ...]
    retryable: tuple[type[BaseException], ...] = ()
    causes: bool = False

    def __post_init__(self) -> None:
        problems = [*_problems("types", self.types), *_problems("retryable", self.retryable)]
        if not problems:
            both = [named for named in self.types if named in self.retryable]
            problems = [f"{named.__qualname__} cannot be both fatal and retryable" for named in both]
        if problems:
            raise WiringError(f"Fatal: {'; '.join(problems)}")


NOTHING_IS_FATAL = Fatal(())


def is_fatal(error: BaseException, *, listener: Fatal, app: Fatal = NOTHING_IS_FATAL) -> bool:
    """Whether `error` is given up without a further attempt.

    `causes=True` of either side lets both judge the causes. Causes that run in a circle end.
    """
    judged: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in judged:
        verdict = _verdict(type(current), listener, app)
        if verdict is not None:
            return verdict
        judged.add(id(current))
        current = current.__cause__ if listener.causes or app.causes else None
    return False


def _verdict(cls: type[BaseException], *sides: Fatal) -> bool | None:
    for ancestor in cls.__mro__:
        for side in sides:
            if ancestor in side.types:
                return True
            if ancestor in side.retryable:
                return False
    return None
