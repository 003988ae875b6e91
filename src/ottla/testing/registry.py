"""A schema registry in memory, for apps that run on the in-memory broker."""

from __future__ import annotations

from ottla.core.frames import SchemaRef
from ottla.core.schemas import SubjectState, WantedSchema
from ottla.ports import RegisteredSchema


class InMemoryRegistry:
    """Takes every schema, as a registry of compatibility NONE does. Fills `ports.SchemaRegistry`."""

    is_remote = False

    def __init__(self) -> None:
        self._subjects: dict[str, list[WantedSchema]] = {}
        self._ids: dict[tuple[str, str], int] = {}

    def schema(self, ref: SchemaRef) -> RegisteredSchema | None:
        """By id alone: it gives no GUIDs."""
        for (kind, text), schema_id in self._ids.items():
            if schema_id == ref:
                return RegisteredSchema(schema_id, kind, text)
        return None

    def newest(self, subject: str) -> RegisteredSchema | None:
        """As `ports.SchemaRegistry.newest`."""
        versions = self._subjects.get(subject)
        return self._registered(versions[-1]) if versions else None

    def id_of(self, wanted: WantedSchema) -> int | None:
        """As `ports.SchemaRegistry.id_of`."""
        if wanted not in self._subjects.get(wanted.subject, ()):
            return None
        return self._ids[wanted.kind, wanted.text]

    def register(self, wanted: WantedSchema) -> int:
        """As `ports.SchemaRegistry.register`; the same text has one id in all subjects."""
        versions = self._subjects.setdefault(wanted.subject, [])
        if wanted not in versions:
            versions.append(wanted)
        return self._ids.setdefault((wanted.kind, wanted.text), len(self._ids) + 1)

    def state(self, wanted: WantedSchema) -> SubjectState:
        """As `ports.SchemaRegistry.state`."""
        versions = self._subjects.get(wanted.subject, [])
        version = versions.index(wanted) + 1 if wanted in versions else None
        return SubjectState(
            latest=len(versions) or None, id=self.id_of(wanted), version=version, compatibility="NONE"
        )

    def close(self) -> None:
        """Nothing is open, and apps share it."""

    def _registered(self, wanted: WantedSchema) -> RegisteredSchema:
        return RegisteredSchema(self._ids[wanted.kind, wanted.text], wanted.kind, wanted.text)
