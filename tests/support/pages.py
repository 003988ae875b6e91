"""The project's pages, and the fenced blocks on them.

A block whose info string has a title (```python title="billing.py") is a file: it must run as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r'title="([\w.-]+)"')


class Block(NamedTuple):
    """A fenced block: where it is, its language, its file name if it is a file, and its text."""

    page: Path
    line: int
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Every page at the top, in docs and in the folders beside the code."""
    found = list(ROOT.glob("*.md"))
    for folder in ("docs", "examples", "benchmarks", "tests", "scripts", ".ci"):
        found += (ROOT / folder).rglob("*.md")
    return sorted(found)


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of `page`, in their order."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        title = _TITLE.search(match[2])
        line = text.count("\n", 0, match.start()) + 1
        yield Block(page, line, match[1], title[1] if title else "", match[3])


def without_blocks(page: Path) -> str:
    """The page's text without its fenced blocks."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))
