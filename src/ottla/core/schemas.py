"""What a service wants of a schema registry, and how that differs from what is registered.

Rules of this file: a plan says what `ottla schemas register` would do and does nothing;
compatibility settings are told and never changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class WantedSchema:
    """A schema as registries take it: `kind` is AVRO or JSON, `text` the schema itself."""

    subject: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class SubjectState:
    """What a registry says of a wanted schema: `id` and `version` when it is registered.

    `latest` is the subject's newest version, None where there is no such subject.
    `refusal` is why the registry would not take the schema, in its words.
    """

    latest: int | None = None
    id: int | None = None
    version: int | None = None
    compatibility: str = ""
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class SchemaStep:
    """One line of a plan; `verb` is how it is counted."""

    subject: str
    note: str
    wanted: WantedSchema
    verb: ClassVar[str] = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.subject}: {self.note}"


class RegisterSchema(SchemaStep):
    """The registry would take it."""

    verb = "register"


class SchemaInOrder(SchemaStep):
    """It is registered."""

    verb = "ok"


class RefuseSchema(SchemaStep):
    """The registry would not take it."""

    verb = "refuse"


def subject_of(topic: str) -> str:
    """The subject of a topic's values. Source: Confluent `TopicNameStrategy`."""
    return f"{topic}-value"


def differences(registered: str, wanted: str) -> list[str]:
    """How one Avro schema differs from another, where readers of either may stumble; of others nothing."""
    try:
        return list(_differences(json.loads(registered), json.loads(wanted), ""))
    except ValueError:
        return []


def _differences(old: Any, new: Any, where: str) -> Iterator[str]:
    if not (
        isinstance(old, dict) and isinstance(new, dict) and old.get("type") == new.get("type") == "record"
    ):
        if old != new:
            yield f"{where or 'the type'} was {_short(old)} and is {_short(new)}"
        return
    if old.get("name") != new.get("name"):
        yield f"{where or 'the record'} was called {old.get('name')} and is called {new.get('name')}"
    before = {field["name"]: field for field in old.get("fields", ())}
    after = {field["name"]: field for field in new.get("fields", ())}
    for name, field in after.items():
        at = f"{where}.{name}" if where else f"field {name}"
        if name in before:
            yield from _differences(before[name]["type"], field["type"], at)
        elif "default" not in field:
            yield f"{at} is new and has no default"
    for name, field in before.items():
        if name not in after and "default" not in field:
            yield f"{f'{where}.{name}' if where else f'field {name}'} is gone and had no default"


def _short(schema: Any) -> str:
    return schema if isinstance(schema, str) else json.dumps(schema, separators=(",", ":"))


def plan_schema(wanted: WantedSchema, state: SubjectState) -> SchemaStep:
    """What is to be done about one wanted schema."""
    rule = f"compatibility {state.compatibility}"
    if state.compatibility == "NONE":
        rule += ": the registry takes every schema, also one that readers cannot read; BACKWARD refuses those"
    if state.id is not None:
        newest = "" if state.version == state.latest else f", {state.latest} is the newest"
        return SchemaInOrder(
            wanted.subject, f"version {state.version}, id {state.id}{newest} ({rule})", wanted
        )
    if state.refusal is not None:
        return RefuseSchema(
            wanted.subject,
            f"not compatible with what is registered ({rule}): {state.refusal}. Give a new field a default, "
            "keep types and names as they are, or send the new type on another topic",
            wanted,
        )
    what = "the first version" if state.latest is None else f"a version after {state.latest}, compatible"
    return RegisterSchema(wanted.subject, f"{what} ({rule})", wanted)
