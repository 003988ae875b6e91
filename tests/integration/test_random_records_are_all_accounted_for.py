"""Anybody may write anything onto the topics that a listener reads: a short run of `make fuzz`."""

from __future__ import annotations

from tests.fuzz.run import run
from tests.support.kafka_server import Kafka


async def test_each_of_2000_random_records_has_one_end(kafka: Kafka, migrated: str) -> None:
    result = await run(kafka, migrated, seed=1, count=2_000)

    assert result.crashes == []
    assert result.wrong == []
    assert result.unaccounted == 0
    assert set(result.ends) == {"handled", "skipped", "dead-lettered", "looked at", "foreign"}
