"""`ottla topics plan`, `apply` and `access`: the topics that an app needs, and the cluster."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from ottla.app import App
from ottla.cli.run import load
from ottla.core.topology import AddPartitions, CreateTopic, SetConfig, Step, plan_topics
from ottla.embedded import EmbeddedKafka
from ottla.errors import OttlaError, Unavailable
from ottla.kafka.admin import Failures

CHANGES_EXIT = 2
"""Of `plan`: the cluster differs from what is wanted, so that CI can tell."""

_EMBEDDED_PARTITIONS = 6

_Path = Annotated[str, typer.Argument(metavar="MODULE:APP", help="where the App is, e.g. billing.app:app")]

app = typer.Typer(no_args_is_help=True, help="The topics that an app needs on the cluster.")


@app.command()
def plan(path: _Path) -> None:
    """Print how the cluster's topics differ from those that an app wants; changes nothing.

    Exit codes: 0 they do not, 2 they do, 78 settings or wiring must be edited, 1 the
    cluster does not answer.
    """
    service = load(path)
    steps = asyncio.run(_plan(service))
    for step in steps:
        typer.echo(step)
    verbs = Counter(step.verb for step in steps)
    typer.echo(f"topics: plan {_counts(verbs, 'create', 'alter', 'ok', 'refuse')}")
    raise typer.Exit(CHANGES_EXIT if verbs.total() > verbs["ok"] else 0)


@app.command()
def apply(
    path: _Path,
    *,
    allow_partitions: Annotated[
        bool,
        typer.Option(
            "--allow-partitions", help="add partitions to topics that are there: keys move to others"
        ),
    ] = False,
    replication_factor: Annotated[
        int | None, typer.Option(min=1, max=32_767, help="of new topics (default: the broker's)")
    ] = None,
) -> None:
    """Create and alter the topics that an app wants; deletes nothing, and may be run again at any time.

    Exit codes: 0 done, 1 something failed or the cluster does not answer, 78 settings or
    wiring must be edited. What is refused or left is told, and is no failure.
    """
    service = load(path)
    applied = asyncio.run(
        apply_topics(service, allow_partitions=allow_partitions, replication_factor=replication_factor)
    )
    for step in applied.steps:
        tell(applied, step)
    verbs = Counter(applied.outcome(step) for step in applied.steps)
    # What is not done is counted where there is any, so that "ok" cannot be taken for all.
    left = "".join(f" {verb}={verbs[verb]}" for verb in ("left", "refuse") if verbs[verb])
    typer.echo(f"topics: applied {_counts(verbs, 'create', 'alter', 'ok', 'failed')}{left}")
    raise typer.Exit(1 if verbs["failed"] else 0)


@app.command()
def access(path: _Path) -> None:
    """Print as JSON which topics and groups an app reads and writes, for who grants it rights; asks nobody.

    Exit codes: 0, or 78 when settings or wiring must be edited.
    """
    typer.echo(json.dumps(asdict(load(path).access().listed), indent=2))


@dataclass(frozen=True, slots=True)
class Applied:
    """A plan that was carried out: its steps, which of them were left, and why some have failed."""

    steps: list[Step]
    left: frozenset[Step]
    failed: dict[Step, OttlaError]

    def outcome(self, step: Step) -> str:
        """The word by which a step is told and counted."""
        if step in self.failed:
            return "failed"
        return "left" if step in self.left else step.verb


async def apply_topics(
    service: App, *, allow_partitions: bool = False, replication_factor: int | None = None
) -> Applied:
    """Plan, and do all of it that can be done; a topic that fails holds up no other.

    Raises `ConfigurationError` for settings and wiring, and `Unavailable` when the
    cluster cannot be asked; nothing was changed then.
    """
    steps = await _plan(service)
    admin = service.admin()
    creations = [step for step in steps if isinstance(step, CreateTopic)]
    additions = [step for step in steps if isinstance(step, AddPartitions)]
    settings = [step for step in steps if isinstance(step, SetConfig)]
    left: frozenset[Step] = frozenset() if allow_partitions else frozenset(additions)
    failed = await _failed(creations, admin.create(creations, replication_factor=replication_factor or -1))
    if allow_partitions:
        failed |= await _failed(additions, admin.add_partitions(additions))
    failed |= await _failed(settings, admin.set_configs(settings))
    return Applied(steps, left, failed)


def create_embedded(service: App, kafka: EmbeddedKafka) -> None:
    """The topics of `service` on the embedded broker, which takes them only this way, and without configs."""
    for step in plan_topics(service.topology(), present={}):
        if isinstance(step, CreateTopic):
            kafka.create_topic(step.topic, step.partitions or _EMBEDDED_PARTITIONS)


def tell(applied: Applied, step: Step) -> None:
    """Print what has become of `step`."""
    if (error := applied.failed.get(step)) is not None:
        typer.echo(f"ottla: failed: {step}: {error}", err=True)
    elif step in applied.left:
        typer.echo(f"left{str(step).removeprefix(step.verb)}: --allow-partitions adds them")
    else:
        typer.echo(step)


async def _plan(service: App) -> list[Step]:
    wanted = service.topology()
    return plan_topics(wanted, await service.admin().describe(wanted))


async def _failed(
    steps: Sequence[CreateTopic | AddPartitions | SetConfig], change: Awaitable[Failures]
) -> dict[Step, OttlaError]:
    """Which of `steps` have failed; when nobody answers, all of them: none is known to be done."""
    try:
        failures = await change
    except Unavailable as error:
        return dict.fromkeys(steps, error)
    return {step: failures[step.topic] for step in steps if step.topic in failures}


def _counts(verbs: Counter[str], *names: str) -> str:
    return " ".join(f"{name}={verbs[name]}" for name in names)
