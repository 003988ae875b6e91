"""`ottla doctor`: what keeps a service from working here, and what to do about it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from typing import Annotated, NamedTuple, NoReturn

import typer

from ottla.cli.dlt import INTERRUPTED_EXIT
from ottla.cli.run import load
from ottla.core.diagnosis.findings import (
    Check,
    Finding,
    Verdict,
    as_json,
    counts,
    exit_code,
    in_order,
    ok,
    skipped,
)
from ottla.doctor.examination import Wishes, examine
from ottla.errors import ConfigurationError, SettingsError
from ottla.settings import Settings, load_settings


def doctor(
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODULE:APP]",
            help="where the App is, e.g. billing.app:app; else no topics, rights, groups are looked at",
        ),
    ] = None,
    *,
    is_json: Annotated[bool, typer.Option("--json", help="one JSON object, for machines")] = False,
) -> None:
    """Look at all that a service needs, and say what fails and what to do; changes nothing.

    Settings; each broker's name, connection, certificate and login, and the names that
    brokers advertise; topics, replication, rights and consumer groups of the app; database,
    clock, admin port. Creates no topic, joins no group, writes no record.

    Exit codes: 0 nothing fails (there may be warnings), 78 settings or wiring must be
    edited, 1 anything else fails.
    """
    known = _known(path)
    try:
        # Not closed: a name service that hangs would hold up its end.
        findings = asyncio.Runner().run(_examined(known, progress=not is_json and sys.stderr.isatty()))
    except KeyboardInterrupt:
        typer.echo("doctor: interrupted", err=True)
        _exit(INTERRUPTED_EXIT)
    if is_json:
        print(json.dumps(as_json(findings), indent=2, ensure_ascii=False))
    else:
        for line in table(findings):
            print(line)
    _exit(exit_code(findings))


class _Known(NamedTuple):
    """What is known before anybody outside is asked; settings are None where they are unsound."""

    settings: Settings | None
    wishes: Wishes | None
    findings: list[Finding]


def _known(path: str | None) -> _Known:
    """Settings and wiring, with every problem of both."""
    findings: list[Finding] = []
    app = None
    if path is not None:
        try:
            app = load(path)
        except ConfigurationError as error:
            findings += _failed(Check.WIRING, path, error)
    try:
        settings = load_settings() if app is None else app.settings()
    except SettingsError as error:
        why = "not looked at: it needs settings"
        return _Known(
            None, None, [*findings, *_failed(Check.SETTINGS, "-", error), skipped(Check.CONNECTION, "-", why)]
        )
    findings.append(ok(Check.SETTINGS, "-", "sound"))
    if app is None or path is None:
        return _Known(settings, None, findings)
    try:
        app.check_wiring()
        wishes = Wishes(app.topology(), app.access(), [each.subject for each in app.wanted_schemas()])
    except ConfigurationError as error:
        return _Known(settings, None, [*findings, *_failed(Check.WIRING, path, error)])
    return _Known(settings, wishes, [*findings, ok(Check.WIRING, path, "sound")])


def _failed(check: Check, subject: str, error: ConfigurationError) -> list[Finding]:
    problems = error.problems if isinstance(error, SettingsError) else str(error).splitlines()
    return [Finding(check, subject, Verdict.FAIL, problem) for problem in problems]


async def _examined(known: _Known, *, progress: bool) -> list[Finding]:
    if known.settings is None:
        return in_order(known.findings)
    found = await examine(known.settings, known.wishes, on_progress=_tell if progress else _say_nothing)
    return in_order(_without_praise([*known.findings, *found]))


def _without_praise(findings: list[Finding]) -> list[Finding]:
    """Settings that read well, and fail once they are used, are not sound."""
    has_failed = {each.check for each in findings if each.verdict is Verdict.FAIL}
    return [
        each
        for each in findings
        if not (each.check is Check.SETTINGS and each.verdict is Verdict.OK and Check.SETTINGS in has_failed)
    ]


def table(findings: Sequence[Finding]) -> list[str]:
    """One line a finding, and the counts."""
    rows = [("", "check", "of", "what was seen; what to do")]
    rows += [(each.verdict.value, each.check.value, each.subject, each.text) for each in findings]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]])
        for row in rows
    ]
    closing = " ".join(f"{name}={count}" for name, count in counts(findings).items())
    return [*lines, f"doctor: {closing}"]


def _tell(under_way: Sequence[Check]) -> None:
    told = f"looking at {', '.join(check.value for check in under_way)} …" if under_way else ""
    sys.stderr.write(f"\r\x1b[K{told}")
    sys.stderr.flush()


def _say_nothing(_: Sequence[Check]) -> None: ...


def _exit(code: int) -> NoReturn:
    """End at once: questions that nobody answers hang in threads, and nothing is left to be put in order."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
