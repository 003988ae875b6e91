"""The command `ottla`. What only an edit cures ends as one line per problem on stderr, and 78."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from ottla.cli.config import config
from ottla.cli.db import app as db
from ottla.cli.dev import dev
from ottla.cli.dlt import list_letters, show
from ottla.cli.doctor import doctor
from ottla.cli.replay import discard, replay
from ottla.cli.run import CONFIGURATION_EXIT, run
from ottla.cli.schemas import app as schemas
from ottla.cli.topics import app as topics
from ottla.errors import ConfigurationError, OttlaError, SettingsError

app = typer.Typer(
    name="ottla",
    help="Reliable event-driven microservices on Apache Kafka.",
    no_args_is_help=True,
    add_completion=False,
    # A traceback is for errors of ours, and then without the variables, which may hold secrets.
    pretty_exceptions_show_locals=False,
)
app.command()(run)
app.command()(dev)
app.command()(config)
app.command()(doctor)
dlt = typer.Typer(no_args_is_help=True)
dlt.command("list")(list_letters)
dlt.command()(show)
dlt.command()(replay)
dlt.command()(discard)
app.add_typer(dlt, name="dlt", help="Dead letters: look at them, replay them, give them up.")
app.add_typer(db, name="db", help="The tables of inbox and outbox in PostgreSQL.")
app.add_typer(schemas, name="schemas", help="The schemas of an app's topics in the schema registry.")
app.add_typer(topics, name="topics", help="The topics that an app needs on the cluster.")


def _print_version(*, wanted: bool) -> None:
    if wanted:
        print(f"ottla {version('ottla')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=lambda wanted: _print_version(wanted=wanted), is_eager=True)
    ] = False,
) -> None:
    """Reliable event-driven microservices on Apache Kafka."""


def main() -> None:
    """Run the command; errors of the user's making are lines, not tracebacks."""
    try:
        app()
    except SettingsError as error:
        _fail(CONFIGURATION_EXIT, *error.problems)
    except ConfigurationError as error:
        _fail(CONFIGURATION_EXIT, *str(error).splitlines())
    except OttlaError as error:
        _fail(1, str(error))


def _fail(code: int, *problems: str) -> None:
    for problem in problems:
        typer.echo(f"ottla: {problem}", err=True)
    sys.exit(code)
