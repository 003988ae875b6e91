"""What librdkafka's error codes mean to us, with the cure in the message."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

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
from ottla.kafka.msk_iam import MskTokens

C = TypeVar("C")

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
        (SendRefused, "grant this user WRITE and DESCRIBE on the topic (MSK also WriteDataIdempotently)"),
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


def unavailable(
    error: KafkaError, topics: Sequence[str], properties: Mapping[str, Any]
) -> Unavailable | None:
    """What keeps a consumer of `topics` from its records; None for what librdkafka mends by itself."""
    code, text, names = error.code(), error.str(), ", ".join(topics)
    if is_refusal(error):
        return authentication_failed(error, properties)
    if code in UNAUTHORIZED:
        return NotAuthorized(f"{text}; grant READ on topic {names} and on the group")
    if code in _UNKNOWN_TOPIC:
        return TopicMissing(f"{text}; create topic {names}")
    if code in _UNREACHABLE:
        return BrokerUnavailable(f"{text}; check KAFKA_BOOTSTRAP_SERVERS and the brokers")
    return None


def is_refusal(error: KafkaError) -> bool:
    """Whether brokers do not take us, or we them.

    Those that refuse our certificate say it behind the handshake: to librdkafka that is a lost connection.
    """
    return error.code() in AUTHENTICATION or (
        error.code() == KafkaError._TRANSPORT and _TLS_ALERT in error.str()
    )


def authentication_failed(error: KafkaError, properties: Mapping[str, Any]) -> AuthenticationFailed:
    """The exception for a refusal, with what to look at."""
    tokens = properties.get("oauth_cb")
    if isinstance(tokens, MskTokens) and (trouble := tokens.trouble()):
        return AuthenticationFailed(trouble)  # that brokers refuse what is no token is no news
    is_tls = error.code() == KafkaError._SSL or _TLS_ALERT in error.str()
    return AuthenticationFailed(f"{error.str()}; {_TLS if is_tls else _cure(properties)}")


_TLS_ALERT = "ssl/tls alert"


_TLS = (
    "check KAFKA_SECURITY, that KAFKA_CA_FILE has the authority that signed the brokers' certificates, that "
    "these hold for the names in KAFKA_BOOTSTRAP_SERVERS; for mtls KAFKA_CERTIFICATE_FILE and KAFKA_KEY_FILE"
)


def _cure(properties: Mapping[str, Any]) -> str:
    tokens = properties.get("oauth_cb")
    if isinstance(tokens, MskTokens):
        return tokens.cure()
    if properties.get("sasl.oauthbearer.method") == "oidc":
        return (
            "check KAFKA_SECURITY, KAFKA_OAUTH_TOKEN_URL, KAFKA_OAUTH_CLIENT_ID, KAFKA_OAUTH_CLIENT_SECRET, "
            "KAFKA_OAUTH_SCOPE, and whether the brokers take tokens from there"
        )
    if "sasl.mechanisms" in properties:
        return "check KAFKA_SECURITY, KAFKA_USERNAME, KAFKA_PASSWORD and KAFKA_SCRAM_MECHANISM"
    return _TLS


def record_name(topic: str, key: bytes | None) -> str:
    """How messages name a record that has no offset yet."""
    shown = repr(key) if key is None or len(key) <= _SHOWN_KEY else f"{key[:_SHOWN_KEY]!r}…"
    return f"topic {topic!r}, key {shown}"


def made(make: Callable[[], C], name: str) -> C:
    """A client. With a callback for tokens that takes a second: not for the event loop.

    Raises:
        SettingsError: librdkafka refuses a property.
    """
    while True:
        try:
            return make()
        except KafkaException as error:
            reason = error.args[0]
            if reason.code() == KafkaError.SASL_AUTHENTICATION_FAILED:
                continue  # the thread that asks for tokens had no turn within 10 s: the machine is busy
            text = f"librdkafka refuses the {name}'s properties: {reason.str()}"
            raise SettingsError((f"{text}; mend KAFKA_* or [kafka.{name}] in TOML",)) from error
