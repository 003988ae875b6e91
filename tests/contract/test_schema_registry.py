"""What every schema registry promises. An implementation subclasses it and gives the fixture `registry`."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace

import pytest

from ottla.core.schemas import WantedSchema
from ottla.ports import RegisteredSchema, SchemaRegistry


def text(*fields: str, name: str) -> str:
    """A schema whose fields have defaults, so that every version is compatible with every other."""
    described = [{"name": field, "type": "string", "default": ""} for field in fields]
    return json.dumps({"type": "record", "name": name, "fields": described}, separators=(",", ":"))


@pytest.fixture
def wanted() -> WantedSchema:
    unique = f"T{uuid.uuid4().hex}"
    return WantedSchema(f"{unique}-value", "AVRO", text("one", name=unique))


def next_version(wanted: WantedSchema) -> WantedSchema:
    return replace(wanted, text=text("one", "two", name=wanted.subject.removesuffix("-value")))


class SchemaRegistryContract:
    def test_what_is_registered_is_found_by_its_id_and_by_its_text(
        self, registry: SchemaRegistry, wanted: WantedSchema
    ) -> None:
        schema_id = registry.register(wanted)

        assert registry.id_of(wanted) == schema_id
        found = registry.schema(schema_id)
        assert found is not None
        assert (found.id, found.kind) == (schema_id, "AVRO")
        assert json.loads(found.text) == json.loads(wanted.text)

    def test_to_register_it_again_changes_nothing(
        self, registry: SchemaRegistry, wanted: WantedSchema
    ) -> None:
        first = registry.register(wanted)

        assert registry.register(wanted) == first
        assert registry.state(wanted).latest == 1

    def test_a_new_version_has_another_id_and_the_old_one_stays(
        self, registry: SchemaRegistry, wanted: WantedSchema
    ) -> None:
        first = registry.register(wanted)
        second = registry.register(next_version(wanted))

        assert first != second
        assert (registry.id_of(wanted), registry.id_of(next_version(wanted))) == (first, second)
        assert (registry.state(wanted).version, registry.state(wanted).latest) == (1, 2)

    def test_the_newest_version_is_that_of_the_last_that_was_registered(
        self, registry: SchemaRegistry, wanted: WantedSchema
    ) -> None:
        registry.register(wanted)
        second = registry.register(next_version(wanted))

        newest = registry.newest(wanted.subject)

        assert isinstance(newest, RegisteredSchema)
        assert newest.id == second

    def test_the_same_schema_has_one_id_in_two_subjects(
        self, registry: SchemaRegistry, wanted: WantedSchema
    ) -> None:
        other = replace(wanted, subject=f"other-{wanted.subject}")

        assert registry.register(wanted) == registry.register(other)

    def test_what_is_not_there_is_none(self, registry: SchemaRegistry, wanted: WantedSchema) -> None:
        assert registry.schema(2**31 - 1) is None
        assert registry.newest(wanted.subject) is None
        assert registry.id_of(wanted) is None

    def test_another_text_of_a_known_subject_is_not_registered(
        self, registry: SchemaRegistry, wanted: WantedSchema
    ) -> None:
        registry.register(wanted)

        assert registry.id_of(next_version(wanted)) is None
        assert registry.state(next_version(wanted)).id is None

    def test_json_schemas_are_kept_as_such(self, registry: SchemaRegistry, wanted: WantedSchema) -> None:
        described = {"type": "object", "title": wanted.subject, "properties": {"one": {"type": "string"}}}
        own = WantedSchema(wanted.subject, "JSON", json.dumps(described))

        found = registry.schema(registry.register(own))

        assert found is not None
        assert (found.kind, json.loads(found.text)) == ("JSON", json.loads(own.text))

    def test_close_may_be_called_twice(self, registry: SchemaRegistry) -> None:
        registry.close()
        registry.close()
