"""The broker process of `EmbeddedKafka`: librdkafka's mock cluster, served until the input ends.

Run by path, so that it imports nothing of Ottla, it prints the bootstrap address, then
reads lines `partitions topic` and answers each with `ok` or what went wrong.

The mock is reached through ctypes in the library that confluent-kafka ships: the
client's own switch, `test.mock.num.brokers`, gives every topic four partitions and
takes no other number, and makes the first member of a group wait for 3 s.
"""

from __future__ import annotations

import ctypes
import signal
import sys

import confluent_kafka
from confluent_kafka import cimpl

_PRODUCER = 0


class MockCluster:
    """One broker on a free port of 127.0.0.1, alive as long as this process."""

    def __init__(self, group_wait_ms: int) -> None:
        library = ctypes.CDLL(cimpl.__file__)
        library.rd_kafka_new.restype = ctypes.c_void_p
        library.rd_kafka_new.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
        library.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
        library.rd_kafka_mock_cluster_new.argtypes = [ctypes.c_void_p, ctypes.c_int]
        library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        library.rd_kafka_mock_cluster_bootstraps.argtypes = [ctypes.c_void_p]
        library.rd_kafka_mock_group_initial_rebalance_delay_ms.restype = None
        library.rd_kafka_mock_group_initial_rebalance_delay_ms.argtypes = [ctypes.c_void_p, ctypes.c_int32]
        library.rd_kafka_mock_topic_create.argtypes = [
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_int,
        ]
        self._library = library
        error = ctypes.create_string_buffer(512)
        client = library.rd_kafka_new(_PRODUCER, _quiet_configuration(library), error, len(error))
        if not client:
            raise RuntimeError(f"librdkafka: {error.value.decode()}")
        self._cluster = library.rd_kafka_mock_cluster_new(client, 1)
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, group_wait_ms)

    def bootstrap_servers(self) -> str:
        address: bytes = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        return address.decode()

    def create_topic(self, name: str, partitions: int) -> str:
        """Create the topic; `ok`, or what librdkafka says."""
        code: int = self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1)
        return "ok" if code == 0 else confluent_kafka.KafkaError(code).str()


def _quiet_configuration(library: ctypes.CDLL) -> int:
    """A configuration that logs errors only: the client behind the mock has no servers and warns of it."""
    library.rd_kafka_conf_new.restype = ctypes.c_void_p
    library.rd_kafka_conf_set.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
    ]
    configuration: int = library.rd_kafka_conf_new()
    library.rd_kafka_conf_set(configuration, b"log_level", b"3", None, 0)
    return configuration


def main() -> None:
    """Serve until the input ends: the owner has stopped, or died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cluster = MockCluster(group_wait_ms=int(sys.argv[1]))
    print(cluster.bootstrap_servers(), flush=True)
    for line in sys.stdin:
        partitions, name = line.rstrip("\n").split(" ", 1)
        print(cluster.create_topic(name, int(partitions)), flush=True)


if __name__ == "__main__":
    main()
