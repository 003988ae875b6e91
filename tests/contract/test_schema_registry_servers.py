"""The registry in memory and Confluent's client on Apicurio keep the contract; and what a server shows."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ottla.core.schemas import WantedSchema, plan_schema
from ottla.embedded.guarded import free_port
from ottla.errors import AuthenticationFailed, SchemaRefused, SchemaRegistryUnavailable
from ottla.ports import SchemaRegistry
from ottla.registry.confluent import ConfluentRegistry
from ottla.settings import load_settings
from ottla.testing.registry import InMemoryRegistry
from tests.contract.test_schema_registry import SchemaRegistryContract, wanted
from tests.support.apicurio import Apicurio
from tests.support.http import answering

__all__ = ["wanted"]

INCOMPATIBLE = '{"type":"record","name":"%s","fields":[{"name":"new","type":"string"}]}'


def registry_at(url: str, **environment: str) -> ConfluentRegistry:
    return ConfluentRegistry(
        load_settings(
            environ={
                "KAFKA_BOOTSTRAP_SERVERS": "localhost",
                "OTTLA_CONFIG": "/dev/null",
                "SCHEMA_REGISTRY_URL": url,
                **environment,
            }
        )
    )


class TestInMemoryRegistry(SchemaRegistryContract):
    @pytest.fixture
    def registry(self) -> SchemaRegistry:
        return InMemoryRegistry()


class TestApicurio(SchemaRegistryContract):
    @pytest.fixture
    def registry(self, apicurio: Apicurio) -> Iterator[SchemaRegistry]:
        registry = registry_at(apicurio.url)
        yield registry
        registry.close()

    def test_what_is_not_compatible_is_refused_with_the_reason(
        self, registry: SchemaRegistry, wanted: WantedSchema
    ) -> None:
        registry.register(wanted)
        bad = replace(wanted, text=INCOMPATIBLE % wanted.subject.removesuffix("-value"))

        step = plan_schema(bad, registry.state(bad))

        assert step.verb == "refuse"
        assert "field new is new and has no default" in str(step)
        with pytest.raises(SchemaRefused, match="new at /fields/0"):
            registry.register(bad)
        assert registry.state(wanted).latest == 1

    def test_a_guid_that_it_does_not_know_is_none(self, registry: SchemaRegistry) -> None:
        assert registry.schema(uuid.uuid4()) is None

    def test_a_text_that_is_no_schema_is_refused(
        self, registry: SchemaRegistry, wanted: WantedSchema
    ) -> None:
        with pytest.raises(SchemaRefused):
            registry.register(replace(wanted, text='{"type": "recor'))


class TestWithoutAnAnswer:
    def test_nobody_listens(self) -> None:
        registry = registry_at(f"http://user:secret@127.0.0.1:{free_port()}/path")

        with pytest.raises(SchemaRegistryUnavailable, match=r"127\.0\.0\.1") as caught:
            registry.newest("orders-value")

        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None

    def test_a_server_that_is_silent_is_given_up_within_the_time_out(self) -> None:
        with answering(None) as url:
            registry = registry_at(url, SCHEMA_REGISTRY_TIMEOUT_S="0.2")
            begun = time.monotonic()

            with pytest.raises(SchemaRegistryUnavailable, match="ReadTimeout"):
                registry.schema(1)

        assert time.monotonic() - begun < 5

    @pytest.mark.parametrize(
        ("status", "error"),
        [(500, SchemaRegistryUnavailable), (429, SchemaRegistryUnavailable), (401, AuthenticationFailed)],
    )
    def test_what_is_no_answer_to_the_question_says_so(self, status: int, error: type[Exception]) -> None:
        answer = (status, b'{"error_code": 1, "message": "words of the server"}')

        with answering(answer) as url, pytest.raises(error, match="words of the server"):
            registry_at(url).schema(1)

    @pytest.mark.parametrize("answer", [(200, b"<html>"), (404, b"<html>"), (404, b'{"error_code": 404}')])
    def test_what_is_no_registry_is_unavailable_and_not_an_unknown_schema(
        self, answer: tuple[int, bytes]
    ) -> None:
        with answering(answer) as url, pytest.raises(SchemaRegistryUnavailable):
            registry_at(url).schema(1)
