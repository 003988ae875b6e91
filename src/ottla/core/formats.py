"""How the values of a topic are written: declared values, without a schema in them.

A schema is derived from the topic's type, so that none is written twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAMESPACE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Json:
    """JSON without a schema; needs no registry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Avro:
    """Avro by a schema registry, in Confluent's frame.

    The schema follows from the topic's type; its subject is `<topic's real name>-value`.

    Args:
        namespace: of the schema's names, such as "com.example.shop", where Java classes have one.
        or_json: whether the topic is JSON where no SCHEMA_REGISTRY_URL is set. Its listeners
            then read both: a frame begins with a zero byte, which no JSON does. All
            services of the topic want the same.
    """

    namespace: str | None = None
    or_json: bool = False

    def __post_init__(self) -> None:
        if self.namespace is not None and not _NAMESPACE.fullmatch(self.namespace):
            raise ValueError(f"{self.namespace!r} is no namespace; write it as 'com.example.shop'")


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonSchema:
    """JSON in Confluent's frame, its JSON Schema in a schema registry.

    Schema and subject as with `Avro`. Reading asks the registry nothing: the JSON is
    checked against the listener's own type.

    Args:
        or_json: as in `Avro`.
    """

    or_json: bool = False


Format = Json | Avro | JsonSchema
"""What `Topic(format=…)` takes."""

JSON = Json()
