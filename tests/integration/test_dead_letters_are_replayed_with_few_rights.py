"""Which rights `ottla dlt` needs, and that one that is missing is said before anything is sent.

Whoever may look at dead letters is often not whoever may write to the topics of a service. What
is said here of rights stands on the page about dead letters.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AclOperation

from ottla.core.decide import Reason
from ottla.core.headers import Origin, dead_letter_headers
from ottla.records import Headers
from tests.conftest import missing
from tests.support.apps import produce, read_all
from tests.support.dlt import Done, dlt
from tests.support.guarded_kafka import PASSWORD, GuardedKafka, guarded_kafka
from tests.support.kafka_server import KafkaMissing

DEAD, REPLAY, LEDGER = "orders-billing-dlt", "orders-billing-replay", "billing-replays"
READ, WRITE, CREATE = AclOperation.READ, AclOperation.WRITE, AclOperation.CREATE


@pytest.fixture(scope="module")
def broker() -> Iterator[GuardedKafka]:
    """With a letter on the dead-letter topic."""
    headers = dead_letter_headers(
        Headers(), Origin("orders", 0, 0, 1, 1, "billing"), Reason.FATAL, ValueError("no")
    )
    try:
        with guarded_kafka() as kafka:
            kafka.create_topic(DEAD)
            produce(kafka, DEAD, [("o-1", "a")], headers=list(headers))
            yield kafka
    except KafkaMissing as error:
        missing(str(error))


class Somebody:
    """Runs `ottla dlt` with the rights that are given."""

    def __init__(self, broker: GuardedKafka, folder: Path, name: str) -> None:
        self._broker = broker
        self._name = name
        self._file = folder / "ottla.toml"
        self._file.write_text('[kafka.client]\n"security.protocol" = "SASL_PLAINTEXT"\n')
        broker.add_user(name)

    def may(self, topic: str, *operations: AclOperation) -> None:
        for operation in operations:
            self._broker.allow(self._name, operation, topic)

    def runs(self, *arguments: str) -> Done:
        return dlt(
            self._broker,
            *arguments,
            KAFKA_BOOTSTRAP_SERVERS=self._broker.guarded,
            KAFKA_SECURITY="scram",
            KAFKA_USERNAME=self._name,
            KAFKA_PASSWORD=PASSWORD,
            OTTLA_CONFIG=str(self._file),
        )


def test_to_look_takes_the_right_to_read_the_topic_and_nothing_else(
    broker: GuardedKafka, tmp_path: Path
) -> None:
    reader = Somebody(broker, tmp_path, "reader")

    hidden = reader.runs("list", DEAD)
    reader.may(DEAD, READ)
    listed = reader.runs("list", DEAD)

    assert (hidden.code, len(hidden.errors)) == (1, 1)
    assert "no such topic that this user may see" in hidden.errors[0]
    assert (listed.code, listed.lines[-1], listed.errors) == (0, "dlt: listed=1", [])


def test_a_right_that_is_missing_is_said_and_nothing_is_sent(broker: GuardedKafka, tmp_path: Path) -> None:
    writer = Somebody(broker, tmp_path, "writer")
    writer.may(DEAD, READ)

    refused = writer.runs("replay", DEAD, "--yes")
    writer.may(LEDGER, CREATE, READ, WRITE)
    halfway = writer.runs("replay", DEAD, "--yes")
    writer.may(REPLAY, CREATE, WRITE)
    done = writer.runs("replay", DEAD, "--yes")
    again = writer.runs("replay", DEAD, "--yes")

    said = f"ottla: topic {LEDGER!r}: this user may not create it; grant CREATE on the topic"
    assert refused.code == 1
    assert refused.errors[0].startswith(said)
    assert halfway.code == 1
    assert f"topic {REPLAY!r}: this user may not create it" in halfway.errors[0]
    assert done.code == 0, done.errors
    assert done.lines[-1] == "dlt: replayed=1 skipped=0 refused=0 failed=0 again=0"
    assert again.lines[-1] == "dlt: replayed=0 skipped=1 refused=0 failed=0 again=0"
    assert len(read_all(broker, REPLAY)) == 1
