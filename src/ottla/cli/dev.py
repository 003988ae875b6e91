"""`ottla dev module:app`: a service on an embedded stack, for a first look and for development."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import ExitStack
from typing import Annotated

import typer

from ottla.app import App
from ottla.cli.run import end, load, serve
from ottla.cli.topics import apply_topics, create_embedded, tell
from ottla.core.topology import TopicInOrder
from ottla.embedded import EmbeddedKafka, EmbeddedPostgres
from ottla.errors import Unavailable


def dev(
    app: Annotated[str, typer.Argument(metavar="MODULE:APP", help="where the App is, e.g. billing.app:app")],
    *,
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR")] = "INFO",
) -> None:
    """Run an app on an embedded broker and PostgreSQL, which end and are removed with it.

    What KAFKA_BOOTSTRAP_SERVERS or DATABASE_URL name is used instead; topics are
    created and altered there as by `ottla topics apply`. The embedded broker is
    librdkafka's mock cluster: it keeps about 5 MB a partition and no transactions, so it
    proves nothing about Kafka.
    """
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with ExitStack() as stack:
        result = _serve_on_stack(app, stack)
    end(result)


def _serve_on_stack(path: str, stack: ExitStack) -> tuple[int, bool]:
    os.environ.setdefault("KAFKA_SESSION_TIMEOUT_S", "6")
    kafka = None
    if "KAFKA_BOOTSTRAP_SERVERS" not in os.environ:
        kafka = stack.enter_context(EmbeddedKafka())
        os.environ["KAFKA_BOOTSTRAP_SERVERS"] = kafka.bootstrap_servers
    if "DATABASE_URL" not in os.environ:
        from ottla.postgres.migrations import upgrade

        postgres = stack.enter_context(EmbeddedPostgres())
        os.environ["DATABASE_URL"] = postgres.url
        upgrade(postgres.url)
    service = load(path)
    if kafka is None:
        _apply_topics(service)
    else:
        create_embedded(service, kafka)
    typer.echo(f"ottla dev: KAFKA_BOOTSTRAP_SERVERS={os.environ['KAFKA_BOOTSTRAP_SERVERS']}", err=True)
    typer.echo(f"ottla dev: DATABASE_URL={os.environ['DATABASE_URL']}", err=True)
    return serve(path, fail_fast=True)


def _apply_topics(service: App) -> None:
    """What could not be done is told, and does not end it: the service may do without."""
    try:
        applied = asyncio.run(apply_topics(service))
    except Unavailable as error:
        typer.echo(f"ottla: topics were not applied: {error}", err=True)
        return
    for step in applied.steps:
        if not isinstance(step, TopicInOrder):
            tell(applied, step)
