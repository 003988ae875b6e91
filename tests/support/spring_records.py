"""Records that Spring Kafka wrote, and whether we write their headers as it does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ottla.core.spring_headers import CODECS, Codec
from ottla.records import Headers

FILE = Path(__file__).parents[1] / "data" / "spring-records.json"


class SpringRecord(NamedTuple):
    """One captured record; `case` says what happened to it."""

    case: str
    topic: str
    partition: int
    timestamp_ms: int
    key: bytes
    value: bytes
    headers: Headers


def captured() -> dict[str, SpringRecord]:
    """Every captured record, by its case."""
    return {
        record["case"]: SpringRecord(
            record["case"],
            record["topic"],
            record["partition"],
            record["timestamp_ms"],
            bytes.fromhex(record["key"]),
            bytes.fromhex(record["value"]),
            Headers((name, bytes.fromhex(value)) for name, value in record["headers"]),
        )
        for record in json.loads(FILE.read_text())["records"]
    }


def written_again(headers: Headers) -> Headers:
    """The headers, of which each that is Spring Kafka's was decoded to its value and encoded from it."""
    return Headers((name, _again(name, raw)) for name, raw in headers)


def differing(records: Iterable[Headers]) -> int:
    """How many of the records are not the same, byte for byte, when they are written again."""
    return sum(written_again(headers) != headers for headers in records)


def _again(name: str, raw: bytes | None) -> bytes | None:
    codec: Codec[Any] | None = CODECS.get(name)
    if codec is None or raw is None:
        return raw
    value = codec.decode(raw)
    return None if value is None else codec.encode(value)


if __name__ == "__main__":
    records = captured()
    print(f"records: {len(records)}, {differing(record.headers for record in records.values())} differ")
