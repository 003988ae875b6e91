"""How values become bytes: what `Topic(format=…)` takes is here, and what it takes to do it beside it."""

from __future__ import annotations

from ottla.core.formats import Avro, Format, Json, JsonSchema

__all__ = ["Avro", "Format", "Json", "JsonSchema"]
