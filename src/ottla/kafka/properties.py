"""Settings as librdkafka properties. Pure; what the user wrote raw stands last and wins.

Give a client `logger=CLIENT_LOGGER` beside them: librdkafka otherwise writes to stderr.
"""

from __future__ import annotations

import logging
import time

from ottla.kafka.security import Properties, security_properties
from ottla.settings.model import KafkaSettings, RawProperties, Settings

_SAID_AGAIN_AFTER_S = 60.0


class _Repeated(logging.Filter):
    """Lets the same complaint through once a minute: librdkafka makes it at every attempt to connect."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        complaint = record.getMessage().partition(" (after ")[0]
        said, now = self._said.get(complaint), time.monotonic()
        if said is not None and now - said < _SAID_AGAIN_AFTER_S:
            return False
        self._said = {old: at for old, at in self._said.items() if now - at < _SAID_AGAIN_AFTER_S}
        self._said[complaint] = now
        return True


CLIENT_LOGGER = logging.getLogger("ottla.librdkafka")
"""Where librdkafka's own lines go."""
CLIENT_LOGGER.addFilter(_Repeated())

READER_GROUP = "ottla-reader"
"""The name that readers give to librdkafka; it is on no cluster."""

STANDS_S = 20.0
"""How much longer than its longest wait the poll thread may stand: four questions to the broker, or a machine
that is busy with others."""

_LARGEST_REQUEST = 104_857_600
"""Kafka's `socket.request.max.bytes`: no broker takes more as delivered."""


def client_properties(settings: Settings) -> Properties:
    """What every client has."""
    return _client(settings.kafka) | _written(settings.kafka.client)


def consumer_properties(settings: Settings, group: str) -> Properties:
    """A consumer of `group` that neither commits nor resets offsets by itself."""
    kafka = settings.kafka
    properties = _client(kafka) | {
        "group.id": group,
        "group.protocol": kafka.group_protocol,
        "max.poll.interval.ms": _ms(_poll_interval_s(kafka)),
        "enable.auto.commit": "false",
        "enable.auto.offset.store": "false",
        "auto.offset.reset": "error",
        "enable.partition.eof": "false",
        "isolation.level": "read_committed",
        # Counts in the memory bound: what librdkafka prefetches lies there beside our buffer.
        "queued.max.messages.kbytes": "32768",
        # A partition that is resumed waits for the fetch under way to end: 0.5 to 1 s at librdkafka's 500 ms.
        "fetch.wait.max.ms": "100",
    }
    if kafka.group_protocol == "classic":  # KIP-848 has these on the broker and refuses them here
        properties["session.timeout.ms"] = _ms(kafka.session_timeout_s)
        # Heartbeats must fit several times into the session: librdkafka's 3 s do from 9 s on.
        properties["heartbeat.interval.ms"] = _ms(min(3.0, kafka.session_timeout_s / 3))
        properties["partition.assignment.strategy"] = kafka.assignor
    return properties | _written(kafka.client) | _written(kafka.consumer)


def static_membership(kafka: KafkaSettings, listener: str) -> Properties:
    """The name that a member keeps over restarts, where the process has one; `listener` is `<group>/<topic>`.

    One for each listener: they may be in one group, where a second member of a name fences the first.
    """
    if kafka.group_instance_id is None:
        return {}
    return {"group.instance.id": f"{kafka.group_instance_id}-{listener.rpartition('/')[2]}"}


def reader_properties(settings: Settings) -> Properties:
    """A consumer that is assigned its partitions and commits nothing: no group comes to be by it.

    librdkafka wants a group's name all the same. Raw properties of consumers concern groups
    for the most part, and how much is fetched; they hold here too.
    """
    return consumer_properties(settings, READER_GROUP) | {
        "group.protocol": "classic",  # KIP-848 refuses what is classic's, and there is no group to agree with
        "auto.offset.reset": "earliest",  # what retention removes meanwhile is not there to be read
        "enable.partition.eof": "true",
    }


def producer_properties(settings: Settings) -> Properties:
    """A producer whose acknowledgement means every in-sync replica, in order, once."""
    kafka = settings.kafka
    properties = _client(kafka) | {
        "acks": "all",
        "enable.idempotence": "true",
        "partitioner": "murmur2_random",
        "delivery.timeout.ms": "120000",
        "linger.ms": "5",
        # How long a topic may be missing before a send says so: librdkafka's 30 s would be the silence
        # before each complaint that a dead-letter topic is not there.
        "topic.metadata.propagation.max.ms": "5000",
        # The topic's max.message.bytes decides, not the client: what could be read can be dead-lettered.
        "message.max.bytes": str(_LARGEST_REQUEST),
    }
    return properties | _written(kafka.client) | _written(kafka.producer)


def _poll_interval_s(kafka: KafkaSettings) -> float:
    """With KIP-848 as short as the liveness probe allows.

    It is how long brokers wait for a member to give partitions up, too. A member whose
    heartbeat's answer came too late never hears that it is to: the broker tells it once, and
    librdkafka 2.16 does not ask again. Until then nobody reads those partitions, nor any that
    wait for them. Seen with a broker that stood still for seven seconds.
    """
    if kafka.group_protocol == "classic":
        return kafka.max_poll_interval_s
    return min(kafka.max_poll_interval_s, kafka.drain_s + STANDS_S)


def _client(kafka: KafkaSettings) -> Properties:
    return {
        "bootstrap.servers": kafka.bootstrap_servers,
        "client.id": kafka.group_id or "ottla",
        "socket.keepalive.enable": "true",
        **security_properties(kafka),
    }


def _written(raw: RawProperties) -> dict[str, str]:
    """Raw properties as librdkafka reads them."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in raw.items()
    }


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))
