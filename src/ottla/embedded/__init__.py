"""Kafka and PostgreSQL from pip alone, for newcomers, `ottla dev`, the demo and tests. Not for production.

What starts here ends with the process that started it, however that ends: a clean
stop, an exception, Ctrl-C, SIGTERM or SIGKILL. Folders are removed with it.
"""

from __future__ import annotations

from ottla.embedded.kafka import EmbeddedKafka, RecordsDropped
from ottla.embedded.postgres import EmbeddedPostgres

__all__ = ["EmbeddedKafka", "EmbeddedPostgres", "RecordsDropped"]
