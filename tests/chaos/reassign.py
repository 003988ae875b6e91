"""Moves leaders, by Kafka's own protocol: the client has no call for it.

Source: Kafka protocol, AlterPartitionReassignments (45) version 0: request header 2, response header 1.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence

_ALTER_PARTITION_REASSIGNMENTS = 45
_ANSWER_S = 10.0

Replicas = Mapping[tuple[str, int], Sequence[int]]
"""Of each partition, in order: the first is preferred as leader."""


def reassign(address: tuple[str, int], replicas: Replicas) -> None:
    """Ask the cluster for these replicas. Raises OSError when there is no answer or it is no.

    The same brokers in another order move nothing but who is preferred: elect leaders then.
    """
    request = _request(replicas)
    with socket.create_connection(address, timeout=_ANSWER_S) as peer:
        peer.sendall(len(request).to_bytes(4, "big") + request)
        size = int.from_bytes(peer.recv(4, socket.MSG_WAITALL), "big")
        answer = peer.recv(size, socket.MSG_WAITALL)
    # correlation id, no tagged fields, throttle time, then the error of the request as a whole
    error = int.from_bytes(answer[9:11], "big", signed=True)
    if error:
        raise OSError(f"the cluster does not move replicas: error {error}")


def _request(replicas: Replicas) -> bytes:
    topics: dict[str, dict[int, Sequence[int]]] = {}
    for (topic, partition), brokers in replicas.items():
        topics.setdefault(topic, {})[partition] = brokers
    header = _int(_ALTER_PARTITION_REASSIGNMENTS, 2) + _int(0, 2) + _int(1, 4) + _int(-1, 2) + _NO_TAGS
    told = [
        _text(topic)
        + _array(
            _int(partition, 4) + _array(_int(broker, 4) for broker in brokers) + _NO_TAGS
            for partition, brokers in partitions.items()
        )
        + _NO_TAGS
        for topic, partitions in topics.items()
    ]
    return header + _int(int(_ANSWER_S * 1000), 4) + _array(told) + _NO_TAGS


_NO_TAGS = b"\0"


def _int(number: int, size: int) -> bytes:
    return number.to_bytes(size, "big", signed=True)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _text(text: str) -> bytes:
    raw = text.encode()
    return _varint(len(raw) + 1) + raw


def _array(items: Iterable[bytes]) -> bytes:
    told = list(items)
    return _varint(len(told) + 1) + b"".join(told)
