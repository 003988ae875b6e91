"""`ottla dlt list` and `show`: dead letters, Ottla's and Spring Kafka's, looked at. They change nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from enum import Enum
from typing import Annotated, Any

import typer

from ottla.cli.framed_values import FramedValues
from ottla.cli.letter_filters import Filters
from ottla.cli.letter_view import HEADING, json_of, line_of, row, whole
from ottla.cli.option_groups import with_option_groups
from ottla.core.letters import LetterFilter
from ottla.registry import registry_of
from ottla.replay.session import opened
from ottla.settings import load_settings

INTERRUPTED_EXIT = 130
"""As shells have it for SIGINT."""

_SAID_EACH_S = 1.0
_SHOWN = 10

Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="the dead-letter topic, e.g. orders-billing-dlt")]


class Format(Enum):
    """How letters are listed."""

    TABLE = "table"
    JSON = "json"


@with_option_groups
def list_letters(
    topic: Topic,
    filters: Filters,
    *,
    output: Annotated[
        Format, typer.Option("--format", help="table, or a line of JSON each, without the count")
    ] = Format.TABLE,
    limit: Annotated[int | None, typer.Option(min=1, help="no more than so many")] = None,
) -> None:
    """List dead letters: where each lies, where it comes from, why, and whether it was replayed.

    Reads what is there when it begins, partition by partition, in no
    consumer group. All filters that are given must hold.
    """
    until_done(_list(topic, filters.read(), output, limit))


@with_option_groups
def show(
    topic: Topic,
    filters: Filters,
    *,
    partition_and_offset: Annotated[
        tuple[int, int] | None, typer.Argument(metavar="[PARTITION OFFSET]", help="of one letter")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="headers, key and value as hexadecimal digits")] = False,
    limit: Annotated[int, typer.Option(min=1, help="no more than so many")] = _SHOWN,
) -> None:
    """Show dead letters whole: what failed and why, all headers decoded, the value as JSON or text.

    A value with a schema is decoded where SCHEMA_REGISTRY_URL is set.

    One by its partition and offset, or those that the filters choose.
    """
    wanted = filters.read()
    if partition_and_offset is not None:
        partition, offset = partition_and_offset
        wanted = LetterFilter(partition=partition, from_offset=offset, to_offset=offset)
    until_done(_show(topic, wanted, raw=raw, limit=limit))


class Progress:
    """Says on stderr, once a second, how far a reading is that takes longer."""

    def __init__(self) -> None:
        self.read = 0
        self._said_at = time.monotonic()

    def on_read(self, count: int) -> None:
        """`count` more records were read."""
        self.read += count
        if time.monotonic() - self._said_at > _SAID_EACH_S:
            self._said_at = time.monotonic()
            typer.echo(f"dlt: {self.read} records read", err=True)


def until_done(work: Coroutine[Any, Any, None]) -> None:
    """Run `work`; Ctrl-C ends it in a line."""
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        typer.echo("dlt: interrupted", err=True)
        raise typer.Exit(INTERRUPTED_EXIT) from None


async def _list(topic: str, wanted: LetterFilter, output: Format, limit: int | None) -> None:
    progress, listed = Progress(), 0
    async with opened(load_settings(), topic, wanted) as session:
        if output is Format.TABLE:
            typer.echo(row(HEADING))
        async for letter in session.box.letters(progress.on_read):
            entry = await session.ledgers.entry(letter)
            typer.echo(line_of(letter, entry) if output is Format.TABLE else json_of(letter, entry))
            listed += 1
            if listed == limit:
                break
    # A program that reads the lines wants letters alone.
    typer.echo(f"dlt: listed={listed}", err=output is Format.JSON)


async def _show(topic: str, wanted: LetterFilter, *, raw: bool, limit: int) -> None:
    progress, shown = Progress(), 0
    settings = load_settings()
    values = FramedValues(None if raw else registry_of(settings))
    async with opened(settings, topic, wanted) as session:
        async for letter in session.box.letters(progress.on_read):
            framed = await asyncio.to_thread(values.read, letter)
            for line in whole(letter, await session.ledgers.entry(letter), raw=raw, framed=framed):
                typer.echo(line)
            typer.echo()
            shown += 1
            if shown == limit:
                break
    typer.echo(f"dlt: shown={shown}", err=True)
    raise typer.Exit(0 if shown else 1)
