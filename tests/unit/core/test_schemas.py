"""A plan tells what would be registered, what is refused and why, and that NONE refuses nothing."""

from __future__ import annotations

import json

import pytest

from ottla.core.schemas import SubjectState, WantedSchema, differences, plan_schema, subject_of

WANTED = WantedSchema("orders-value", "AVRO", "{}")


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (
            SubjectState(latest=None, compatibility="BACKWARD"),
            "register orders-value: the first version (compatibility BACKWARD)",
        ),
        (
            SubjectState(latest=3, compatibility="FULL"),
            "register orders-value: a version after 3, compatible (compatibility FULL)",
        ),
        (
            SubjectState(latest=3, id=7, version=3, compatibility="BACKWARD"),
            "ok orders-value: version 3, id 7 (compatibility BACKWARD)",
        ),
        (
            SubjectState(latest=3, id=5, version=2, compatibility="BACKWARD"),
            "ok orders-value: version 2, id 5, 3 is the newest (compatibility BACKWARD)",
        ),
    ],
)
def test_a_step_says_what_is_there_and_what_would_be_done(state: SubjectState, line: str) -> None:
    assert str(plan_schema(WANTED, state)) == line


def test_what_the_registry_refuses_is_told_in_its_words_and_with_a_cure() -> None:
    step = plan_schema(
        WANTED,
        SubjectState(latest=1, compatibility="BACKWARD", refusal="field sku is new and has no default"),
    )

    assert step.verb == "refuse"
    assert "field sku is new and has no default" in str(step)
    assert "Give a new field a default" in str(step)


def test_compatibility_none_is_warned_of() -> None:
    step = plan_schema(WANTED, SubjectState(latest=1, compatibility="NONE"))

    assert "the registry takes every schema" in str(step)


def record(*fields: dict[str, object], name: str = "Order") -> str:
    return json.dumps({"type": "record", "name": name, "fields": fields})


def test_differences_are_told_by_field_and_nothing_is_said_of_what_readers_bear() -> None:
    inner = {"type": "record", "name": "Line", "fields": [{"name": "sku", "type": "string"}]}
    changed = {**inner, "fields": [{"name": "sku", "type": "long"}]}

    told = differences(
        record(
            {"name": "id", "type": "string"},
            {"name": "line", "type": inner},
            {"name": "gone", "type": "int"},
            {"name": "optional", "type": "int", "default": 1},
        ),
        record(
            {"name": "id", "type": "string"},
            {"name": "line", "type": changed},
            {"name": "new", "type": "int"},
            {"name": "newer", "type": "int", "default": 1},
            name="Purchase",
        ),
    )

    assert told == [
        "the record was called Order and is called Purchase",
        "field line.sku was string and is long",
        "field new is new and has no default",
        "field gone is gone and had no default",
    ]


def test_what_is_no_json_has_no_differences_to_tell() -> None:
    assert differences("{", "{}") == []


def test_the_subject_is_that_of_the_topics_values() -> None:
    assert subject_of("shop.orders") == "shop.orders-value"
