"""The names of the topics that a listener needs beside its own."""

from __future__ import annotations

import enum


class Naming(enum.Enum):
    """Who shares dead-letter topics.

    PER_GROUP keeps the failures of two groups on one topic apart. SPRING is what
    Spring Kafka 3.3 and later writes, for a topic shared with Java services.
    """

    PER_GROUP = "per-group"
    SPRING = "spring"


def dead_letter_topic(topic: str, group: str, naming: Naming) -> str:
    """Where `group` puts records of `topic` that it has given up.

    Source: Spring Kafka `DeadLetterPublishingRecoverer` (suffix `-dlt` since 3.3).
    """
    return f"{topic}-dlt" if naming is Naming.SPRING else f"{topic}-{group}-dlt"
