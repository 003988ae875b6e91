"""What stands around the brokers: who AWS knows, an ECS credentials endpoint, an OIDC provider."""

from __future__ import annotations

import json
import secrets
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import RSAKey

ISSUER, AUDIENCE = "https://issuer.invalid", "kafka"


class Identity(NamedTuple):
    """Credentials of AWS, and the principal that they stand for."""

    access_key: str
    secret_key: str
    principal: str
    session_token: str = ""


class Outside:
    """Answers brokers and clients, and keeps what they asked for.

    `found` looks for access keys beyond those of `known`: what STS has handed out.
    """

    def __init__(self) -> None:
        self.known: dict[str, Identity] = {}
        self.found: Callable[[str], Identity | None] = lambda _: None
        self.dates: dict[str, set[str]] = {}
        """By access key, when the tokens were signed that brokers have looked at."""
        self.task_role = Identity("", "", "")
        self.authorization = f"Basic {secrets.token_hex(16)}"
        """What the credentials endpoint wants to be shown."""
        self.clients: dict[str, str] = {}
        """Of the OIDC provider: id to secret."""
        self.issued: list[str] = []
        self._key = RSAKey.generate_key(2048, {"kid": "test", "use": "sig", "alg": "RS256"})
        self.url = ""

    def get(self, path: str, authorization: str) -> tuple[int, str]:
        match path.strip("/").split("/"):
            case ["identity", access_key, date]:
                identity = self.known.get(access_key) or self.found(access_key)
                if identity is None:
                    return 404, ""
                self.dates.setdefault(access_key, set()).add(date)
                return 200, f"{identity.secret_key}\n{identity.session_token}\n{identity.principal}"
            case ["task-role"] if authorization == self.authorization:
                role = self.task_role
                expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
                told = {
                    "AccessKeyId": role.access_key,
                    "SecretAccessKey": role.secret_key,
                    "Token": role.session_token,
                    "Expiration": expires,
                }
                return 200, json.dumps(told)
            case ["task-role"]:
                return 401, "no such task"
            case ["jwks"]:
                return 200, json.dumps({"keys": [self._key.as_dict(private=False)]})
        return 404, ""

    def post(self, path: str, authorization: str, body: str) -> tuple[int, str]:
        client, _, secret = b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        asked = parse_qs(body)
        if path != "/token" or asked.get("grant_type") != ["client_credentials"]:
            return 404, ""
        if not secret or self.clients.get(client) != secret:
            return 401, json.dumps({"error": "invalid_client"})
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": client, "iat": now, "exp": now + 300}
        token = jwt.encode({"alg": "RS256", "kid": "test"}, claims, self._key)
        self.issued.append(token)
        return 200, json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": 300})


@contextmanager
def outside() -> Iterator[Outside]:
    """One on a port of its own, for the block."""
    world = Outside()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(*world.get(self.path, self.headers.get("Authorization", "")))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            self._answer(*world.post(self.path, self.headers.get("Authorization", ""), body))

        def _answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with serving(Handler) as port:
        world.url = f"http://127.0.0.1:{port}"
        yield world


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """An HTTP server on loopback for the block; its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
