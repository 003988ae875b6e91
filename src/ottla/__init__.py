"""Ottla: reliable event-driven microservices on Apache Kafka."""

from __future__ import annotations

from ottla.app import App
from ottla.core.backoff import InPlace, Never
from ottla.core.classify import Fatal
from ottla.core.dead_letters import DeadLetterTopic
from ottla.core.guard import Guard
from ottla.core.lanes import Order
from ottla.core.retry_topics import RetryTopics
from ottla.core.start_offsets import Offsets
from ottla.errors import (
    ConfigurationError,
    DeadLetter,
    OttlaError,
    Retry,
    SendFailed,
    Skip,
    Unavailable,
    WiringError,
)
from ottla.records import Headers, Record, SendResult
from ottla.template import KafkaTemplate, Publisher
from ottla.topics import Topic
from ottla.transaction import Transaction

__all__ = [
    # Declaring a service
    "App",
    "Topic",
    "Order",
    "Offsets",
    # What becomes of a record that fails
    "InPlace",
    "RetryTopics",
    "Never",
    "Fatal",
    "DeadLetterTopic",
    "Guard",
    # What a handler takes
    "Record",
    "Headers",
    "Transaction",
    "KafkaTemplate",
    "Publisher",
    "SendResult",
    # What a handler raises
    "Retry",
    "DeadLetter",
    "Skip",
    # What Ottla raises, by what it means; each single exception is in `ottla.errors`
    "OttlaError",
    "ConfigurationError",
    "WiringError",
    "Unavailable",
    "SendFailed",
]


def __getattr__(name: str) -> str:
    """The version, read from the installed distribution only when it is asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("ottla")
    raise AttributeError(f"module 'ottla' has no attribute {name!r}")
