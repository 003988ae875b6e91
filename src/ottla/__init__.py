"""Ottla: reliable event-driven microservices on Apache Kafka."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """The version, read from the installed distribution only when it is asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("ottla")
    raise AttributeError(f"module 'ottla' has no attribute {name!r}")
