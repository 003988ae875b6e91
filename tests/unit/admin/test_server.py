"""The endpoint over real HTTP, in front of a service that tells what a test wants."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator, Sequence

import pytest

from ottla.admin import AdminEndpoint, Probes, server
from ottla.core.figures import ServiceFigures
from ottla.core.liveness import Pulse
from ottla.errors import SettingsError
from tests.support.http import ask

PATHS = ["/livez", "/readyz", "/metrics"]


class Told:
    """What the service tells."""

    def __init__(self) -> None:
        self.pulses: Sequence[Pulse] = [Pulse("billing/orders", 0.1, 45)]
        self.unready: dict[str, str] = {}
        self.figures = ServiceFigures(is_ready=True)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def endpoint(told: Told) -> Iterator[AdminEndpoint]:
    probes = Probes(lambda: told.pulses, lambda: told.unready, lambda: told.figures)
    endpoint = AdminEndpoint("billing", "127.0.0.1", 0, probes)
    endpoint.open()
    yield endpoint
    endpoint.close()


def raw(port: int, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(sent)
        received = b""
        while part := connection.recv(65_536):
            received += part
        return received


def test_a_service_that_is_well_is_alive_and_ready(endpoint: AdminEndpoint) -> None:
    livez, readyz = ask(endpoint.port, "/livez"), ask(endpoint.port, "/readyz")

    assert (livez.status, livez.body) == (200, "ok\n")
    assert (readyz.status, readyz.json()) == (200, {"ready": True, "reasons": {}})
    assert readyz.headers["Content-Type"] == "application/json"


def test_a_poll_loop_that_stands_is_named_with_its_age(endpoint: AdminEndpoint, told: Told) -> None:
    told.pulses = [Pulse("billing/orders", 61.25, 45), Pulse("billing/refunds", 1, 45)]

    livez = ask(endpoint.port, "/livez")

    assert livez.status == 503
    assert livez.body == "billing/orders: its poll loop last turned 61.2 s ago, which is more than 45 s\n"


def test_what_keeps_it_from_being_ready_is_told_and_leaves_it_alive(
    endpoint: AdminEndpoint, told: Told
) -> None:
    told.unready = {"billing outbox": "PostgreSQL antwortet nicht: »aus«"}

    readyz, livez = ask(endpoint.port, "/readyz"), ask(endpoint.port, "/livez")

    assert readyz.status == 503
    assert readyz.json() == {"ready": False, "reasons": told.unready}
    assert livez.status == 200


def test_metrics_without_the_extra_say_what_to_install(
    endpoint: AdminEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    metrics = ask(endpoint.port, "/metrics")

    assert (metrics.status, metrics.body) == (501, "install ottla[metrics]\n")


@pytest.mark.parametrize("path", PATHS)
def test_head_answers_as_get_does_but_for_the_body(endpoint: AdminEndpoint, path: str) -> None:
    get, head = ask(endpoint.port, path), ask(endpoint.port, path, "HEAD")

    assert head.body == ""
    assert (head.status, head.headers["Content-Length"]) == (get.status, str(len(get.body)))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "NONSENSE"])
def test_other_methods_are_not_allowed(endpoint: AdminEndpoint, method: str) -> None:
    reply = ask(endpoint.port, "/livez", method)

    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/livez/", "/healthz", "/../livez"])
def test_another_path_is_told_which_there_are(endpoint: AdminEndpoint, path: str) -> None:
    reply = ask(endpoint.port, path)

    assert (reply.status, reply.body) == (404, "there are /livez, /readyz, /metrics\n")


def test_a_query_changes_nothing(endpoint: AdminEndpoint) -> None:
    assert ask(endpoint.port, "/livez?verbose=1").status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /livez hunter2 HTTP/1.1\r\n\r\n",
        b"hunter2\r\n\r\n",
        b"GET /hunter2 HTTP/1.1\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nContent-Length: 7\r\n\r\nhunter2",
        b"GET /livez HTTP/1.1\r\n" + b"X: hunter2\r\n" * 200 + b"\r\n",
        b"GET /" + b"hunter2" * 10_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=["syntax", "no request", "path", "body", "headers", "long"],
)
def test_nothing_that_is_sent_comes_back_or_is_logged(
    endpoint: AdminEndpoint, sent: bytes, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        received = raw(endpoint.port, sent)
    except ConnectionResetError:  # it did not read all that was sent
        received = b""

    assert b"hunter2" not in received
    assert b" 200 " not in received
    assert "hunter2" not in caplog.text + "".join(capfd.readouterr())
    assert b"Python" not in received


def test_a_client_that_says_nothing_or_a_little_at_a_time_is_ended_and_keeps_nobody_waiting(
    endpoint: AdminEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_REQUEST_S", 0.5)
    slow = [socket.create_connection(("127.0.0.1", endpoint.port), timeout=5) for _ in range(40)]
    for connection in slow:
        connection.sendall(b"GET /")

    status = ask(endpoint.port, "/livez").status
    ends = [connection.recv(1_000) for connection in slow]
    for connection in slow:
        connection.close()

    assert status == 200
    assert ends == [b""] * 40


def test_an_answer_that_fails_is_a_fault_that_is_logged_and_ends_no_other(
    told: Told, endpoint: AdminEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    told.pulses = [None]  # type: ignore[list-item]

    received = raw(endpoint.port, b"GET /livez HTTP/1.1\r\n\r\n")

    assert received == b""
    assert "a request could not be answered" in caplog.text
    assert ask(endpoint.port, "/metrics").status == 200


def test_a_port_that_is_taken_is_an_error_that_names_the_setting(endpoint: AdminEndpoint) -> None:
    other = AdminEndpoint("refunds", "127.0.0.1", endpoint.port, endpoint._probes)

    with pytest.raises(SettingsError) as caught:
        other.open()

    (problem,) = caught.value.problems
    assert problem.startswith(
        f"OTTLA_ADMIN_PORT (in TOML admin_port): {endpoint.port} is taken on 127.0.0.1; set it to a free port"
    )


def test_an_address_of_another_machine_is_an_error_that_names_its_setting(endpoint: AdminEndpoint) -> None:
    other = AdminEndpoint("refunds", "192.0.2.1", 0, endpoint._probes)

    with pytest.raises(SettingsError, match=r"OTTLA_ADMIN_HOST \(in TOML admin_host\): '192.0.2.1'"):
        other.open()


def test_once_closed_the_port_is_free_at_once(endpoint: AdminEndpoint) -> None:
    port = endpoint.port
    other = AdminEndpoint("refunds", "127.0.0.1", port, endpoint._probes)

    endpoint.close()
    endpoint.close()
    other.open()
    status = ask(port, "/livez").status
    other.close()

    assert status == 200
    with pytest.raises(ConnectionRefusedError):
        ask(port, "/livez")


def test_it_listens_on_ipv6_as_well(told: Told) -> None:
    probes = Probes(lambda: told.pulses, lambda: told.unready, lambda: told.figures)
    endpoint = AdminEndpoint("billing", "::1", 0, probes)
    try:
        endpoint.open()
    except SettingsError:
        pytest.skip("this machine has no IPv6")

    with socket.create_connection(("::1", endpoint.port), timeout=5) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
        received = connection.recv(1_000)
    endpoint.close()

    assert received.startswith(b"HTTP/1.0 200 OK")
