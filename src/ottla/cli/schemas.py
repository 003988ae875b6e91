"""`ottla schemas plan` and `register`: the schemas of an app's topics, and the schema registry."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

from ottla.app import App
from ottla.cli.run import load
from ottla.core.schemas import RefuseSchema, RegisterSchema, SchemaStep, plan_schema
from ottla.errors import SchemaRefused

CHANGES_EXIT = 2
"""Of `plan`: something is to be registered, so that CI can tell."""

_VERBS = ("register", "ok", "refuse")

_Path = Annotated[str, typer.Argument(metavar="MODULE:APP", help="where the App is, e.g. billing.app:app")]

app = typer.Typer(no_args_is_help=True, help="The schemas of an app's topics in the schema registry.")


@app.command()
def plan(path: _Path) -> None:
    """Print which schemas of an app are not registered, and what the registry says of them; changes nothing.

    Exit codes: 0 all are registered, 2 some are not, 1 the registry would refuse one or
    does not answer, 78 settings or wiring must be edited.
    """
    steps = _plan(load(path))
    for step in steps:
        typer.echo(step)
    verbs = Counter(step.verb for step in steps)
    typer.echo(f"schemas: plan {_counts(verbs)}")
    if verbs["refuse"]:
        raise typer.Exit(1)
    raise typer.Exit(CHANGES_EXIT if verbs["register"] else 0)


@app.command()
def register(path: _Path) -> None:
    """Register the schemas of an app's topics; may be run again at any time.

    Neither versions nor compatibility settings are changed or deleted, and one schema
    that is refused holds up no other.

    Exit codes: 0 all are registered, 1 the registry refuses one or does not answer,
    78 settings or wiring must be edited.
    """
    service = load(path)
    verbs: Counter[str] = Counter()
    steps = _plan(service)
    registry = service.schema_registry() if steps else None
    for step in steps:
        verb, line = step.verb, str(step)
        if isinstance(step, RegisterSchema) and registry is not None:
            try:
                line = f"{line}: id {registry.register(step.wanted)}"
            except SchemaRefused as error:  # somebody was quicker, or it is invalid
                verb, line = "refuse", f"refuse {step.subject}: {error}"
        typer.echo(line, err=verb == RefuseSchema.verb)
        verbs[verb] += 1
    if registry is not None:
        registry.close()
    typer.echo(f"schemas: registered {_counts(verbs)}")
    raise typer.Exit(1 if verbs["refuse"] else 0)


def _plan(service: App) -> list[SchemaStep]:
    """Raises `ConfigurationError` for settings and wiring, `Unavailable` when there is no answer."""
    wanted = service.wanted_schemas()
    if not wanted:  # a service whose topics are JSON needs no registry
        typer.echo("ottla: no topic of this app has a schema, or SCHEMA_REGISTRY_URL is not set", err=True)
        return []
    registry = service.schema_registry()
    try:
        return [plan_schema(each, registry.state(each)) for each in wanted]
    finally:
        registry.close()


def _counts(verbs: Counter[str]) -> str:
    return " ".join(f"{verb}={verbs[verb]}" for verb in _VERBS)
