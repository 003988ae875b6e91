"""What librdkafka's error codes mean to us, with the cure in the message."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException

from ottla.errors import (
    AuthenticationFailed,
    BrokerUnavailable,
    FatalClientError,
    NotAuthorized,
    ProducerClosed,
    RecordTooLarge,
    SendFailed,
    SendRefused,
    SendTimedOut,
    SettingsError,
    TopicMissing,
    Unavailable,
)

# Errors of the client itself begin with an underscore in confluent-kafka, and are public all the same.
# ruff: noqa: SLF001

UNAUTHORIZED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
AUTHENTICATION = (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._SSL)
_UNKNOWN_TOPIC = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
}
# A fatal error comes without the code of its reason, only with librdkafka's words for it.
_FENCED = ("group.instance.id", "instance ID is still used")
_UNREACHABLE = {KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE}

_SHOWN_KEY = 100

_SEND: dict[int, tuple[type[SendFailed], str]] = {
    **dict.fromkeys(
        (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_MSG_SIZE),
        (RecordTooLarge, "raise the topic's max.message.bytes, or send a reference to the content"),
    ),
    **dict.fromkeys(
        (KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT, KafkaError._TIMED_OUT_QUEUE),
        (SendTimedOut, "it may still have been written; check brokers and network, then send it again"),
    ),
    **dict.fromkeys(
        (KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION),
        (SendRefused, "create the topic with that many partitions, or name the right one in TOPICS__<NAME>"),
    ),
    **dict.fromkeys(
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED),
        (SendRefused, "grant this user WRITE and DESCRIBE on the topic"),
    ),
    **dict.fromkeys(
        (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._DESTROY),
        (ProducerClosed, "the app stopped before the acknowledgement; it may still have been written"),
    ),
    # No operator cures these: the record itself is at fault.
    **dict.fromkeys(
        (
            KafkaError.INVALID_RECORD,
            KafkaError.INVALID_TIMESTAMP,
            KafkaError.INVALID_MSG,
            KafkaError._BAD_MSG,
        ),
        (SendFailed, "a compacted topic wants a key, and timestamps must lie within the topic's bounds"),
    ),
}


def send_failure(error: KafkaError, topic: str, key: bytes | None, last_error: str = "") -> SendFailed:
    """The exception for a record that was not acknowledged; `last_error` is the client's latest trouble."""
    kind, cure = _SEND.get(error.code(), (SendRefused, "see the broker's log and the topic's policy"))
    trouble = f" (the client's last trouble: {last_error})" if kind is SendTimedOut and last_error else ""
    return kind(f"{record_name(topic, key)}: {error.str()}{trouble}; {cure}", topic=topic, key=key)


def fatal(name: str, error: KafkaError) -> FatalClientError:
    """What ends the process; of a name of a static member that another one has, with the cure."""
    said, cure = error.str(), ""
    if any(words in said for words in _FENCED):
        cure = "; another process has the same KAFKA_GROUP_INSTANCE_ID: give each one of its own"
    return FatalClientError(f"{name}: the Kafka client cannot go on: {said}{cure}")


def is_fatal(error: KafkaError) -> bool:
    """Whether the client cannot go on. Its callback is told by a code of its own, not by the error's flag."""
    return error.fatal() or error.code() == KafkaError._FATAL


def unavailable(error: KafkaError, topics: Sequence[str]) -> Unavailable | None:
    """What keeps a consumer of `topics` from its records; None for what librdkafka mends by itself."""
    code, text, names = error.code(), error.str(), ", ".join(topics)
    if code in AUTHENTICATION:
        return AuthenticationFailed(
            f"{text}; check KAFKA_SECURITY and the user, password or certificates that go with it"
        )
    if code in UNAUTHORIZED:
        return NotAuthorized(f"{text}; grant READ on topic {names} and on the group")
    if code in _UNKNOWN_TOPIC:
        return TopicMissing(f"{text}; create topic {names}")
    if code in _UNREACHABLE:
        return BrokerUnavailable(f"{text}; check KAFKA_BOOTSTRAP_SERVERS and the brokers")
    return None


def record_name(topic: str, key: bytes | None) -> str:
    """How messages name a record that has no offset yet."""
    shown = repr(key) if key is None or len(key) <= _SHOWN_KEY else f"{key[:_SHOWN_KEY]!r}…"
    return f"topic {topic!r}, key {shown}"


def settings_error(error: KafkaException, client: str) -> SettingsError:
    """The error for a client that librdkafka would not make."""
    reason = error.args[0].str()
    return SettingsError(
        (f"librdkafka refuses the {client}'s properties: {reason}; mend KAFKA_* or [kafka.{client}] in TOML",)
    )
