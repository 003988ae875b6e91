"""A TCP proxy in front of a server: loses an answer, is slow, is cut, or falls silent, as networks do."""

from __future__ import annotations

import socket
import threading
import time
from types import TracebackType
from typing import Self


class TcpProxy:
    """Listens on `port` of 127.0.0.1 and passes bytes to and from `target`, until told otherwise."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.lost_an_answer = threading.Event()
        self._lose_answer_to: bytes | None = None
        self._may_pass = threading.Event()
        self._may_pass.set()
        self._delay_s = 0.0
        self._is_cut = False
        self._sockets: set[socket.socket] = set()
        self._cut: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._may_pass.set()
        for each in (self._listener, *tuple(self._sockets)):
            _shut(each)
            each.close()

    def lose_the_answer_to(self, request: bytes) -> None:
        """Pass the next request that contains `request`, and cut the connection when its answer comes."""
        self._lose_answer_to = request

    def fall_silent(self) -> None:
        """Pass nothing more, in either direction, and keep every connection open."""
        self._may_pass.clear()

    def speak_again(self) -> None:
        """The end of `fall_silent`; what was held back passes first."""
        self._may_pass.set()

    def be_slow(self, delay_s: float) -> None:
        """Pass everything so much later, in either direction."""
        self._delay_s = delay_s

    def cut(self) -> None:
        """End every connection, and refuse new ones."""
        self._is_cut = True
        self._hang_up()

    def heal(self) -> None:
        """Be as at the beginning. Connections on which nobody answered are ended: their peers may be gone."""
        was_silent = not self._may_pass.is_set()
        self._delay_s, self._is_cut = 0.0, False
        if was_silent:
            self._hang_up()
        self._may_pass.set()

    def _hang_up(self) -> None:
        for each in tuple(self._sockets):
            _shut(each)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._is_cut:
                    raise ConnectionRefusedError
                server = socket.create_connection(self._target)
            except OSError:  # the server is away: its clients see that
                client.close()
                continue
            for each in (client, server):  # as those do whom it stands between: else answers wait 40 ms
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets |= {client, server}
            threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        requests = threading.Thread(target=self._requests, args=(client, server), daemon=True)
        requests.start()
        self._answers(server, client)
        requests.join()
        for each in (client, server):
            self._sockets.discard(each)
            self._cut.discard(each)
            each.close()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while request := client.recv(65536):
                self._hold_back()
                if self._lose_answer_to is not None and self._lose_answer_to in request:
                    self._lose_answer_to = None
                    self._cut.add(server)  # before its answer can come
                server.sendall(request)
        except OSError:
            pass
        _shut(server)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        try:
            while answer := server.recv(65536):
                self._hold_back()
                if server in self._cut:
                    self.lost_an_answer.set()
                    break
                client.sendall(answer)
        except OSError:
            pass
        _shut(client)

    def _hold_back(self) -> None:
        self._may_pass.wait()
        if self._delay_s:
            time.sleep(self._delay_s)


def _shut(each: socket.socket) -> None:
    try:
        each.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
