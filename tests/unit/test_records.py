"""The values that travel, as authors make and read them."""

from __future__ import annotations

from datetime import UTC, datetime

from ottla import Headers, Record


def test_a_record_for_a_test_of_a_handler_needs_only_what_the_handler_reads() -> None:
    record = Record(event_id="o-1")

    assert (record.event_id, record.attempt) == ("o-1", 1)
    assert (record.key, record.value, record.headers, record.timestamp) == (None, None, Headers(), None)


def test_a_record_tells_where_it_stands_by_name() -> None:
    record = Record(("orders", 3, 17), b"o-1", timestamp_ms=1_700_000_000_000)

    assert (record.topic, record.partition, record.offset) == record.at == ("orders", 3, 17)
    assert record.timestamp == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
