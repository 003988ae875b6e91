"""`ottla doctor` ends within its bound whoever does not answer, and says at which step it got no further.

Names, connections, certificates: librdkafka reports all of them as "Broker transport failure".
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from ottla.doctor.registry import examine_registry
from ottla.embedded.guarded import free_port
from ottla.settings import Settings
from tests.support.apps import settings_for
from tests.support.certificates import Authority, server_with
from tests.support.doctor import WISHING, Diagnosis, doctor, doctor_started, told_by
from tests.support.kafka_server import Kafka

WITHIN_S = 20.0


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never says a word, as a frozen broker does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def over_tls(port: int, ca_file: Path, *, host: str = "localhost") -> Diagnosis:
    return doctor(KAFKA_BOOTSTRAP_SERVERS=f"{host}:{port}", KAFKA_SECURITY="tls", KAFKA_CA_FILE=str(ca_file))


def test_every_problem_of_the_settings_is_told_and_nobody_is_asked() -> None:
    found = doctor(WISHING, KAFKA_BOOTSTRAP_SERVERS="kafka:9092", KAFKA_DRAIN_S="soon")

    assert found.code == 78
    assert found.ill() == ["settings -", "settings -"]
    told = " ".join(said for _, said in found.of("settings"))
    assert "KAFKA_DRAIN_S" in told
    assert "KAFKA_SECURITY (in TOML kafka.security): not set, and kafka is another machine" in told
    assert found.of("connection") == [("skipped", "not looked at: it needs settings")]


def test_a_module_that_is_not_there_holds_up_nothing_else() -> None:
    found = doctor("no.such.module:app", KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")

    assert found.code == 78
    assert "no module 'no.such.module'" in found.of("wiring")[0][1]
    assert "nobody listens there" in found.of("connection")[0][1]


def test_a_name_that_does_not_resolve_and_a_port_where_nobody_listens_are_told_each_with_its_cure() -> None:
    nobody = f"127.0.0.1:{free_port()}"

    found = doctor(
        WISHING,
        KAFKA_BOOTSTRAP_SERVERS=f"{nobody},no-such-host.invalid:9092",
        KAFKA_SECURITY="plaintext",
        DATABASE_URL=f"postgresql://u:s3cret@{nobody}/shop",
    )

    assert found.code == 1
    assert found.ill() == [
        "name no-such-host.invalid:9092",
        f"connection {nobody}",
        f"database {nobody}/shop",
    ]
    assert "mend the name in KAFKA_BOOTSTRAP_SERVERS" in found.of("name", "no-such-host.invalid:9092")[0][1]
    assert found.of("connection")[0][1] == (
        "127.0.0.1: connection refused; nobody listens there: start Kafka, or mend the port"
    )
    assert "check DATABASE_URL" in found.of("database")[0][1]
    assert found.of("login") == [("skipped", "not looked at: it needs connection")]
    assert "s3cret" not in str(found)


def test_servers_that_are_frozen_cost_no_more_than_the_bound() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)
        port = listening.getsockname()[1]
        frozen = f"127.0.0.1:{port}"
        process = doctor_started(
            "--json",
            WISHING,
            KAFKA_BOOTSTRAP_SERVERS=frozen,
            DATABASE_URL=f"postgresql://{frozen}/shop",
            OTTLA_ADMIN_PORT=str(port),
        )
        asked, _ = listening.accept()  # the start of the interpreter is not the doctor's
        begun = time.monotonic()
        found = told_by(process)
        took_s = time.monotonic() - begun
        asked.close()

    assert found.code == 1
    assert found.ill() == [f"login {frozen}", f"database {frozen}/shop", f"admin port {frozen}"]
    assert found.of("connection")[0][0] == "ok"
    assert "no answer that Kafka gives" in found.of("login")[0][1]
    assert "Address already in use" in found.of("admin port")[0][1]
    assert took_s < WITHIN_S


def test_ctrl_c_ends_it_at_once_in_a_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)
        process = doctor_started(KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{listening.getsockname()[1]}")
        asked, _ = listening.accept()
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        out, err = process.communicate(timeout=60)
        took_s = time.monotonic() - begun
        asked.close()

    assert (process.returncode, out, err) == (130, "", "doctor: interrupted\n")
    assert took_s < 2


def test_a_certificate_is_verified_by_the_authority_that_is_named(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")

    with server_with(ours.sign("localhost", "localhost")) as port:
        found = over_tls(port, ours.file)

    assert found.of("certificate") == [("ok", f"localhost, verified by KAFKA_CA_FILE={ours.file}")]


def test_a_certificate_of_another_authority_is_told(tmp_path: Path) -> None:
    ours, another = Authority(tmp_path, "ours"), Authority(tmp_path, "another")

    with server_with(another.sign("localhost", "localhost")) as port:
        found = over_tls(port, ours.file)

    assert found.code == 1
    assert "signed by an authority that is not in KAFKA_CA_FILE" in found.of("certificate")[0][1]
    assert found.of("login") == [("skipped", "not looked at: it needs certificate")]


def test_a_certificate_that_has_expired_is_told(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")

    with server_with(ours.sign("localhost", "localhost", lasts=timedelta(hours=-1))) as port:
        found = over_tls(port, ours.file)

    assert found.of("certificate")[0][1].startswith("the certificate has expired; renew it")


def test_a_certificate_for_another_name_is_told_with_the_names_that_it_is_for(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")

    with server_with(ours.sign("kafka.internal", "kafka.internal")) as port:
        found = over_tls(port, ours.file)

    assert "not for the name 'localhost': it is for kafka.internal" in found.of("certificate")[0][1]


def test_a_file_of_authorities_that_holds_none_must_be_edited(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate\n")

    found = over_tls(free_port(), file)

    assert found.code == 78
    assert "PEM files that belong together" in found.of("settings")[0][1]


def test_a_property_that_the_client_refuses_must_be_edited(silent: str, tmp_path: Path) -> None:
    file = tmp_path / "ottla.toml"
    file.write_text('[kafka.client]\n"no.such.property" = 1\n')

    found = doctor(WISHING, KAFKA_BOOTSTRAP_SERVERS=silent, OTTLA_CONFIG=str(file))

    assert found.code == 78
    assert found.ill() == ["settings librdkafka"]
    assert "no.such.property" in found.of("settings")[0][1]
    assert [found.of(check)[0][0] for check in ("login", "advertised", "topic", "group")] == ["skipped"] * 4


class _Registry(BaseHTTPRequestHandler):
    """Answers what Confluent's registry does, with the clock of another day."""

    def do_GET(self) -> None:
        is_known = self.headers["Authorization"] == "Basic dXNlcjpzM2NyZXQ="
        self.send_response((200 if self.path == "/v7/subjects" else 404) if is_known else 401)
        self.end_headers()
        self.wfile.write(b'["orders-value"]')

    def date_time_string(self, timestamp: float | None = None) -> str:
        return "Thu, 01 Jan 2026 00:00:00 GMT"

    def log_message(self, format: str, *arguments: object) -> None: ...  # noqa: A002  (its name in the library)


def registry_at(url: str | None) -> Settings:
    given = {} if url is None else {"SCHEMA_REGISTRY_URL": url}
    return settings_for(Kafka("localhost:9092"), **given)


def test_a_registry_is_asked_for_its_subjects_and_its_clock_is_looked_at() -> None:
    with HTTPServer(("127.0.0.1", 0), _Registry) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        at = f"127.0.0.1:{server.server_address[1]}"
        right, wrong = (
            examine_registry(registry_at(f"http://user:s3cret@{at}{path}"), ["orders-value", "bills-value"])
            for path in ("/v7/", "/v9")
        )
        refused = examine_registry(registry_at(f"http://{at}/v7"))
        server.shutdown()
        thread.join()
    gone = examine_registry(registry_at(f"http://{at}"))

    assert [(each.subject, each.verdict.value) for each in right] == [
        (f"http://{at}/v7/", "ok"),
        ("bills-value", "FAIL"),
        ("the registry", "warn"),
    ]
    assert examine_registry(registry_at(None)) == []
    assert "no schema registry there (HTTP 404" in wrong[0].said
    assert "refuses us (HTTP 401)" in refused[0].said
    assert "Connection refused" in gone[0].said
    assert "s3cret" not in str([*right, *wrong, *gone])
