"""A broker's address while its cluster wakes up: the first metadata names no brokers, and one answer is lost.

librdkafka 2.16 asks for its topics through the connection that it began with, and gives
that connection up as soon as another one names the brokers: the question is lost then,
and nobody asks it again before `topic.metadata.refresh.interval.ms`, five minutes. A
real cluster brings the moment about when its only broker was frozen for a while, about
once in twenty times; this proxy does each time.
"""

from __future__ import annotations

import socket
import threading

from tests.support.tcp_proxy import TcpProxy

_METADATA, _FIND_COORDINATOR = 3, 10
_FIRST_FLEXIBLE, _WITH_ERROR_CODE = 9, 13


class WakingBroker(TcpProxy):
    """The proxy in front of a broker. A connection that asks for a group's coordinator is a consumer's."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.has_lost_a_question = threading.Event()
        super().__init__(target)

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        threading.Thread(target=self._in_turn, args=(client, server), daemon=True).start()

    def _in_turn(self, client: socket.socket, server: socket.socket) -> None:
        """One request after the other: pass it, and its answer."""
        asked: set[int] = set()
        is_lost = False
        try:
            while request := frame(client):
                kind = int.from_bytes(request[:2], "big")
                if kind == _METADATA and kind not in asked:
                    client.sendall(framed(_no_brokers(request)))
                elif kind == _METADATA and _FIND_COORDINATOR in asked and not is_lost:
                    is_lost = True
                    self.has_lost_a_question.set()
                else:
                    server.sendall(framed(request))
                    client.sendall(framed(frame(server)))
                asked.add(kind)
        except OSError:
            pass


def frame(peer: socket.socket) -> bytes:
    size = peer.recv(4, socket.MSG_WAITALL)
    return peer.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL) if size else b""


def framed(message: bytes) -> bytes:
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
