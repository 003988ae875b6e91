"""What is wrong at start: one clear line that names it and its cure, and the right way to go on.

What only an edit can cure exits with 78 (EX_CONFIG): starting again is of no use. What
the outside can cure stays up, unready, and joins when it is there; `--fail-fast` exits.
"""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from ottla.embedded.guarded import free_port
from tests.conftest import missing
from tests.support.apps import produce, until
from tests.support.kafka_server import Kafka, KafkaMissing, KafkaServer, java, kafka_libs
from tests.support.processes import noted, noting, service

NOTING = "tests.support.services.noting:app"
MISWIRED = "tests.support.services.miswired"
NOWHERE = f"127.0.0.1:{free_port()}"


def complaints(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("ottla: ")]


@pytest.mark.parametrize(
    ("app", "environment", "said"),
    [
        (f"{MISWIRED}:twice", {}, ("second", "first", "share topic 'orders' and group 'twice'")),
        (f"{MISWIRED}:unfillable", {}, ("with_two_payloads", "'mailer'", "Record")),
        (f"{MISWIRED}:unusable", {}, ("without_annotation", "'value' has no annotation", "write its type")),
        (f"{MISWIRED}:nothing", {}, ("nothing named 'nothing'",)),
        ("no.such.module:app", {}, ("no module 'no.such.module'",)),
        (
            f"{MISWIRED}:twice",
            {"OTTLA_CONFIG": "/nowhere/ottla.toml"},
            ("OTTLA_CONFIG", "/nowhere/ottla.toml"),
        ),
        (f"{MISWIRED}:twice", {"KAFKA_BOOTSTRAP_SERVERS": None}, ("KAFKA_BOOTSTRAP_SERVERS",)),
        (f"{MISWIRED}:twice", {"KAFKA_DRAIN_S": "ages"}, ("KAFKA_DRAIN_S", "ages")),
        (
            f"{MISWIRED}:crowded",
            {"DATABASE_URL": "postgresql://u@127.0.0.1:1/d", "DATABASE_CONNECTIONS": "2"},
            ("in_a_thread", "DATABASE_CONNECTIONS to 3"),
        ),
    ],
    ids=[
        "same-group-twice",
        "parameter",
        "annotation",
        "attribute",
        "module",
        "file",
        "unset",
        "value",
        "connections",
    ],
)
async def test_what_only_an_edit_cures_exits_with_78_and_one_line(
    tmp_path: Path, app: str, environment: dict[str, str | None], said: tuple[str, ...]
) -> None:
    with service(app, tmp_path, environment={"KAFKA_BOOTSTRAP_SERVERS": NOWHERE, **environment}) as started:
        code = await started.code()
        output = started.output()

    assert code == 78, output
    assert len(complaints(output)) == 1, output
    assert all(text in complaints(output)[0] for text in said), output
    assert "Traceback" not in output


async def test_a_settings_file_that_cannot_be_parsed_exits_with_78_and_one_line(tmp_path: Path) -> None:
    file = tmp_path / "ottla.toml"
    file.write_text("[kafka\n")

    with service(f"{MISWIRED}:twice", tmp_path, environment={"OTTLA_CONFIG": str(file)}) as started:
        code = await started.code()
        output = started.output()

    assert code == 78, output
    assert any(str(file) in line for line in complaints(output)), output
    assert "Traceback" not in output


async def test_an_admin_port_that_is_taken_exits_with_78_and_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        environment = noting(Kafka(NOWHERE), "orders", tmp_path / "notes", OTTLA_ADMIN_PORT=port)
        with service(NOTING, tmp_path, environment=environment) as started:
            code = await started.code()
            output = started.output()

    assert code == 78, output
    assert len(complaints(output)) == 1, output
    assert f"OTTLA_ADMIN_PORT (in TOML admin_port): {port} is taken" in complaints(output)[0]
    assert "Traceback" not in output


async def test_a_topic_that_is_missing_is_waited_for_and_then_listened_to(
    kafka: Kafka, unique: str, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    with service(NOTING, tmp_path, environment=noting(kafka, unique, notes)) as waiting:
        await waiting.says(f"'{unique}'")
        is_up = not waiting.has_ended()
        kafka.create_topic(unique)
        kafka.create_topic(f"{unique}-{unique}-dlt")
        produce(kafka, unique, [("key", "at last")])
        await until(lambda: noted(notes, "ended"), what="the record is handled")
        waiting.send(signal.SIGTERM)
        code = await waiting.code()

    assert is_up
    assert "create it (`ottla topics apply MODULE:APP`)" in waiting.output()
    assert "TOPICS__" in waiting.output()
    assert code == 0


@pytest.fixture
def kafka_to_come() -> KafkaServer:
    """A broker that is not started: nobody listens at its address yet."""
    try:
        java()
        kafka_libs()
    except KafkaMissing as error:
        missing(str(error))
    return KafkaServer()


async def test_a_broker_that_cannot_be_reached_is_waited_for_and_then_joined(
    kafka_to_come: KafkaServer, tmp_path: Path
) -> None:
    kafka, notes = kafka_to_come, tmp_path / "notes"
    with service(NOTING, tmp_path, environment=noting(kafka, "orders", notes)) as waiting:
        await waiting.says("check that Kafka runs there")
        is_up = not waiting.has_ended()
        with kafka:
            kafka.create_topic("orders")
            kafka.create_topic("orders-orders-dlt")
            produce(kafka, "orders", [("key", "at last")])
            await until(lambda: noted(notes, "ended"), what="the record is handled")
            waiting.send(signal.SIGTERM)
            code = await waiting.code()

    assert is_up
    assert [value for _, _, value in noted(notes, "ended")] == ["at last"]
    assert code == 0


async def test_a_service_that_waits_for_its_broker_stops_at_once_when_told(tmp_path: Path) -> None:
    environment = noting(Kafka(NOWHERE), "orders", tmp_path / "notes", KAFKA_DRAIN_S="2")
    with service(NOTING, tmp_path, environment=environment) as waiting:
        await waiting.says("Connection refused")  # now it asks again, for seconds on end
        waiting.send(signal.SIGTERM)
        code = await waiting.code(within_s=2)

    assert code == 0


@pytest.mark.parametrize("is_reachable", [True, False], ids=["topic", "broker"])
async def test_fail_fast_exits_with_1_and_one_line_instead_of_waiting(
    kafka: Kafka, unique: str, tmp_path: Path, *, is_reachable: bool
) -> None:
    broker = kafka if is_reachable else Kafka(NOWHERE)
    environment = noting(broker, unique, tmp_path / "notes", KAFKA_DRAIN_S="2")
    with service(NOTING, tmp_path, "--fail-fast", environment=environment) as started:
        code = await started.code()
        output = started.output()

    assert code == 1, output
    assert len(complaints(output)) == 1, output
    assert (unique if is_reachable else NOWHERE) in complaints(output)[0]
    assert "Traceback" not in output
