"""A broker's address on which a heartbeat's answer gets lost: one that tells a member its new assignment.

Source: Kafka protocol, ConsumerGroupHeartbeat (KIP-848): an answer has an assignment only when it is new.
"""

from __future__ import annotations

import socket
import threading

from tests.support.tcp_proxy import TcpProxy
from tests.support.waking_broker import frame, framed

_HEARTBEAT = 68


class HeartbeatLost(TcpProxy):
    """The proxy in front of a broker that advertises the proxy's port."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.is_lost = threading.Event()
        self._members: set[socket.socket] = set()
        self._victims: set[socket.socket] = set()
        super().__init__(target)

    def lose_the_next_assignment(self) -> None:
        """Of those that are members by now."""
        self._victims = set(self._members)

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        threading.Thread(target=self._in_turn, args=(client, server), daemon=True).start()

    def _in_turn(self, client: socket.socket, server: socket.socket) -> None:
        """One request after the other: pass it, and its answer."""
        usual = 0
        try:
            while request := frame(client):
                server.sendall(framed(request))
                answer = frame(server)
                if int.from_bytes(request[:2], "big") == _HEARTBEAT:
                    self._members.add(client)
                    size = len(answer)
                    has_assignment, usual = 0 < usual < size, min(usual or size, size)
                    if has_assignment and client in self._victims and not self.is_lost.is_set():
                        self.is_lost.set()
                        continue  # the client gives the connection up when its time is over
                client.sendall(framed(answer))
        except OSError:
            pass
        for each in (client, server):
            each.close()
