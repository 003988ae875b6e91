"""The HTTP server of one service, on threads of its own: it answers although the event loop is busy.

Rules of this file:

- Nothing that a client sends comes back to it, or into a log.
- No client can keep a thread: each connection has one request and an end.
- The library's `HTTPServer` is not taken, because it asks the name service for our own name
  when it opens its port, and on the event loop that would be a wait without a bound.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

from ottla.admin.answers import Answer, Probes, answers
from ottla.errors import SettingsError

_log = logging.getLogger("ottla.admin")

_REQUEST_S = 5.0
"""How long a connection may take from its first byte to its last."""
_LOOK_S = 0.25
"""How often connections are looked after."""


class AdminEndpoint:
    """Answers /livez, /readyz and /metrics on `host` and `port` (0: a free one), from `open` to `close`."""

    def __init__(self, name: str, host: str, port: int, probes: Probes) -> None:
        self._name = name
        self._host = host
        self._port = port
        self._probes = probes
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """The port that is open."""
        assert self._server is not None  # noqa: S101  (asked only in between)
        return int(self._server.server_address[1])

    def open(self) -> None:
        """Open the port and answer.

        Raises:
            SettingsError: it cannot be had.
        """
        try:
            self._server = _Server(self._host, self._port, self._probes)
        except OSError as error:
            raise SettingsError((_refused(self._host, self._port, error),)) from error
        threading.Thread(
            target=self._server.serve_forever, args=(_LOOK_S,), name=f"admin-{self._name}", daemon=True
        ).start()
        _log.info(
            "%s: /livez, /readyz and /metrics are answered on %s port %d", self._name, self._host, self.port
        )

    def close(self) -> None:
        """Close the port; returns within milliseconds. May be called twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()


def _refused(host: str, port: int, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            what = (
                f"{port} is taken on {host}; set it to a free port, to 0 for any, or unset it "
                "(every process and every app needs one of its own)"
            )
        case errno.EACCES:
            what = f"{port} may not be opened by this user; set it to 1024 or above"
        case _:
            return (
                f"OTTLA_ADMIN_HOST (in TOML admin_host): {host!r} is no address of this machine "
                f"({error.strerror}); set it to 127.0.0.1, or to 0.0.0.0 for all addresses"
            )
    return f"OTTLA_ADMIN_PORT (in TOML admin_port): {what}"


class _Server(ThreadingTCPServer):
    allow_reuse_address = True  # what is left of the connections of a former process is in nobody's way
    daemon_threads = True
    request_queue_size = 16

    def __init__(self, host: str, port: int, probes: Probes) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.answers = answers(probes)
        self._ends: dict[Any, float] = {}
        super().__init__((host, port), _Request)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._ends[request] = time.monotonic() + _REQUEST_S
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._ends.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End connections whose time is over: a time-out of the socket begins anew with every byte."""
        now = time.monotonic()
        for request, end in list(self._ends.items()):
            if now > end:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  (the library's)
        """A client that has gone is no news; anything else is a fault of ours."""
        if not isinstance(sys.exception(), OSError):
            _log.exception("a request could not be answered")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for connections
        self.shutdown()
        self.server_close()


class _Request(BaseHTTPRequestHandler):
    timeout = _REQUEST_S
    server: _Server
    server_version = "ottla"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        ask = self.server.answers.get(path)
        if ask is None:
            paths = ", ".join(self.server.answers)
            self._answer(Answer(HTTPStatus.NOT_FOUND, f"there are {paths}\n".encode()))
        else:
            self._answer(ask())

    do_HEAD = do_GET  # noqa: N815  (the library's name)

    def _answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def send_error(
        self,
        code: int,
        message: str | None = None,  # noqa: ARG002  (the library's)
        explain: str | None = None,  # noqa: ARG002  (the library's)
    ) -> None:
        """As the library, which calls a method that it does not find 501 and quotes what it was sent."""
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
        self.close_connection = True
        self._answer(Answer(status, f"{status.phrase}\n".encode()))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the library's name)
        """Nothing: probes come every few seconds."""
