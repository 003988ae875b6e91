"""AWS's Security Token Service as moto plays it, on loopback; brokers may look up whom it has let in."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.security.outside import Identity
from tests.security.world import ACCOUNT, World


@contextmanager
def sts(world: World, port: int = 0) -> Iterator[str]:
    """Its URL; it ends with the block."""
    from moto.server import ThreadedMotoServer
    from moto.sts.models import sts_backends

    def found(access_key: str) -> Identity | None:
        roles = [role for backend in sts_backends[ACCOUNT].values() for role in backend.assumed_roles]
        for role in roles:
            if role.access_key_id == access_key:
                for each in (role.secret_access_key, role.session_token):
                    world.secret(each)
                return Identity(access_key, role.secret_access_key, role.role_arn, role.session_token)
        return None

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line per request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    world.outside.found = found
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


@contextmanager
def silent() -> Iterator[tuple[str, int]]:
    """Takes connections and never answers; its URL and port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        yield f"http://127.0.0.1:{port}", port
