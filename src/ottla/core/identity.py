"""Which event a record carries, and whether two records carry the same content.

An event id is, in this order: our header, the CloudEvents id, or where the record
stands. The timestamp belongs to the coordinates, because offsets begin again at 0
when a topic is made anew under the same name.
"""

from __future__ import annotations

import hashlib

from ottla.records import Headers

EVENT_ID_HEADER = "ottla-event-id"
"""The header that every send of ours carries."""


def event_id(headers: Headers, topic: str, partition: int, offset: int, timestamp_ms: int | None) -> str:
    """The id under which a record's effects take place once.

    CloudEvents ids are unique only within their source, so the source is part of it.

    Source: CloudEvents 1.0.2 "id", "source"; Kafka protocol binding, `ce_` headers.
    """
    if ours := headers.text(EVENT_ID_HEADER):
        return ours
    if cloud_event := headers.text("ce_id"):
        source = headers.text("ce_source")
        return f"{source}#{cloud_event}" if source else cloud_event
    return f"{topic}-{partition}-{offset}@{timestamp_ms if timestamp_ms is not None else 'none'}"


def content_digest(key: bytes | None, value: bytes | None) -> bytes:
    """32 bytes that differ when key or value differ; null and empty differ as well."""
    digest = hashlib.sha256()
    for part in (key, value):
        digest.update(b"-" if part is None else b"%d:%b" % (len(part), part))
    return digest.digest()
