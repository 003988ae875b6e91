"""What a newcomer meets stays small: few public names, few parameters, a short first service and its test."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from types import FunctionType, ModuleType
from typing import Any

import pytest

import ottla
import ottla.errors
import ottla.testing
from tests.support.pages import ROOT, blocks

MOST_NAMES = 25
MOST_PARAMETERS = 7
MOST_LINES = 15


def public_things() -> Iterator[tuple[str, Any]]:
    """What users import, by dotted name.

    Settings are not among it: the pydantic models are named nowhere in public, and users
    meet their fields as variables, each with a line of its own on the page of settings.
    """
    for module in (ottla, ottla.testing):
        for name in module.__all__:
            yield f"{module.__name__}.{name}", getattr(module, name)
    for name, thing in vars(ottla.errors).items():
        if isinstance(thing, type) and thing.__module__ == ottla.errors.__name__:
            yield f"{ottla.errors.__name__}.{name}", thing


def widths(name: str, thing: Any) -> Iterator[tuple[str, int]]:
    """How many parameters each call of `thing` takes: of itself, or of its constructor and public members."""
    if not isinstance(thing, type):
        if callable(thing):
            yield name, len(inspect.signature(thing).parameters)
        return
    if has_constructor(thing):
        yield name, len(inspect.signature(thing).parameters)
    for member in dir(thing):
        found = inspect.getattr_static(thing, member)
        if member.startswith("_"):
            continue
        if (width := width_of(found)) is not None:
            yield f"{name}.{member}", width


def width_of(member: Any) -> int | None:
    """How many parameters a call of it takes, self and cls not counted; None for what is no function of ours.

    Such is the interpreter's own: `BaseException.add_note`, `tuple.index`.
    """
    match member:
        case staticmethod():
            return len(inspect.signature(member.__func__).parameters)
        case classmethod():
            return len(inspect.signature(member.__func__).parameters) - 1
        case property(fget=function) if function is not None:
            return len(inspect.signature(function).parameters) - 1
        case FunctionType():
            return len(inspect.signature(member).parameters) - 1
    return None


def has_constructor(cls: type) -> bool:
    """Whether users make such objects, by parameters that we chose.

    Members of an enum are picked and a Protocol is filled; their signatures are the metaclass's. An
    exception without an `__init__` of ours takes what `BaseException` takes, which has no signature.
    """
    if issubclass(cls, Enum) or getattr(cls, "_is_protocol", False):
        return False
    return any(
        isinstance(inspect.getattr_static(cls, name), FunctionType) for name in ("__init__", "__new__")
    )


def code_lines(text: str) -> int:
    """Lines that are not blank. Imports and comments count: they are read as well."""
    return sum(bool(line.strip()) for line in text.splitlines())


def test_there_are_at_most_25_public_names() -> None:
    names = {
        name
        for name, value in vars(ottla).items()
        if not (name.startswith("_") or isinstance(value, ModuleType) or name == "annotations")
    }

    assert sorted(names) == sorted(ottla.__all__), "a name is public that `__all__` does not tell of"
    assert len(ottla.__all__) <= MOST_NAMES


def test_nothing_public_takes_more_than_7_parameters() -> None:
    found = dict(width for name, thing in public_things() for width in widths(name, thing))

    too_wide = {name: width for name, width in found.items() if width > MOST_PARAMETERS}

    assert {
        "ottla.App.listener",
        "ottla.Record",
        "ottla.InPlace",
        "ottla.testing.InMemoryBroker.send",
    } <= set(found)
    assert too_wide == {}


def seven(a: int, b: int, c: int, /, d: int, *e: int, f: int, **g: int) -> None: ...


def eight(a: int, b: int, c: int, /, d: int, *e: int, f: int, g: int, **h: int) -> None: ...


@dataclass
class Eight:
    a: int
    b: int
    c: int
    d: int
    e: int
    f: int
    g: int
    h: int

    def method(self, a: int, b: int, c: int, /, d: int, *e: int, f: int, g: int, **h: int) -> None: ...

    @classmethod
    def of(cls, a: int, b: int, c: int, /, d: int, *e: int, f: int, g: int, **h: int) -> None: ...

    @staticmethod
    def beside(a: int, b: int, c: int, /, d: int, *e: int, f: int, g: int, **h: int) -> None: ...

    @property
    def none(self) -> int:
        return 0


class Inherits(Eight): ...


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        (seven, {"it": 7}),
        (eight, {"it": 8}),
        (Eight, {"it": 8, "it.method": 8, "it.of": 8, "it.beside": 8, "it.none": 0}),
        (Inherits, {"it": 8, "it.method": 8, "it.of": 8, "it.beside": 8, "it.none": 0}),
        (ottla.WiringError, {}),
        (ottla.Order, {}),
    ],
    ids=["seven", "eight", "class", "subclass", "exception", "enum"],
)
def test_what_is_too_wide_would_be_seen(thing: Any, expected: dict[str, int]) -> None:
    assert dict(widths("it", thing)) == expected


@pytest.mark.parametrize("title", ["hello.py", "billing.py", "test_billing.py"])
def test_the_first_services_of_the_readme_and_their_test_have_at_most_15_lines(title: str) -> None:
    (block,) = [block for block in blocks(ROOT / "README.md") if block.title == title]

    assert 0 < code_lines(block.text) <= MOST_LINES


def test_blank_lines_are_not_counted() -> None:
    assert code_lines("import ottla\n\n\napp = ottla.App('a')  # here\n    \n# why\n") == 3
