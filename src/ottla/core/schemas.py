"""What a service wants of a schema registry, and how that differs from what is registered.

Rules of this file: a plan says what `ottla schemas register` would do and does nothing;
compatibility settings are told and never changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


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
