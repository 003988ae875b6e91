"""A broker's address while its cluster wakes up: the first metadata names no brokers, and one answer is lost.

librdkafka 2.16 asks for its topics through the connection that it began with, and gives
that connection up as soon as another one names the brokers: the question is lost then,
and nobody asks it again before `topic.metadata.refresh.interval.ms`, five minutes. A
real cluster brings the moment about when its only broker was frozen for a while, about
once in twenty times; this proxy does each time.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

_METADATA, _FIND_COORDINATOR = 3, 10
_FIRST_FLEXIBLE, _WITH_ERROR_CODE = 9, 13


class WakingBroker:
    """Listens on `port` of 127.0.0.1. A connection that asks for a group's coordinator is a consumer's."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.has_lost_a_question = threading.Event()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        """One request after the other: pass it, and its answer."""
        asked: set[int] = set()
        is_lost = False
        try:
            while request := _frame(client):
                kind = int.from_bytes(request[:2], "big")
                if kind == _METADATA and kind not in asked:
                    client.sendall(_framed(_no_brokers(request)))
                elif kind == _METADATA and _FIND_COORDINATOR in asked and not is_lost:
                    is_lost = True
                    self.has_lost_a_question.set()
                else:
                    server.sendall(_framed(request))
                    client.sendall(_framed(_frame(server)))
                asked.add(kind)
        except OSError:
            pass


def _frame(peer: socket.socket) -> bytes:
    size = peer.recv(4, socket.MSG_WAITALL)
    return peer.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL) if size else b""


def _framed(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


def _no_brokers(request: bytes) -> bytes:
    """A Metadata response that knows neither brokers nor topics, as a fenced broker gives it.

    Source: Kafka protocol, MetadataResponse 9 to 13: throttle time, brokers, cluster id,
    controller id, topics, from 13 an error code, tagged fields.
    """
    version = int.from_bytes(request[2:4], "big")
    assert version >= _FIRST_FLEXIBLE, f"Metadata {version} is older than this proxy knows"
    error = b"\0\0" if version >= _WITH_ERROR_CODE else b""
    return request[4:8] + b"\0" + b"\0\0\0\0" + b"\1" + b"\0" + b"\xff\xff\xff\xff" + b"\1" + error + b"\0"
