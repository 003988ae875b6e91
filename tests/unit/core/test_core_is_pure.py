"""Imports of clients are refused by import-linter; what else would make the core impure is refused here."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ottla.core

FILES = sorted(Path(ottla.core.__file__).parent.glob("*.py"))
ALLOWED_IMPORTS = {
    "__future__",
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "hashlib",
    "itertools",
    "json",
    "zlib",
    "math",
    "ottla",
    "re",
    "traceback",
    "typing",
    "uuid",  # the type; chance is an argument
}
IMPURE_NODES = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith, ast.Global)
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__"}


def test_the_rules_of_the_core_are_looked_at() -> None:
    names = {path.stem for path in FILES}

    assert {"backoff", "decide", "headers", "identity", "lanes", "offsets", "pacing", "topology"} <= names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_core_awaits_nothing_and_does_nothing_to_the_world(path: Path) -> None:
    nodes = list(ast.walk(ast.parse(path.read_text())))

    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    called = {
        node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }

    assert {name.split(".")[0] for name in imported} - ALLOWED_IMPORTS == set()
    assert [node.lineno for node in nodes if isinstance(node, IMPURE_NODES)] == []
    assert called & IMPURE_CALLS == set()
