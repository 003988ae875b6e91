"""How the doctor goes through its steps: side by side, each within its bound, and none that has no point."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ottla.core.diagnosis.findings import Check, Finding, fail, ok, skipped
from ottla.doctor.examination import STEPS, Case, Step, examine
from ottla.settings import load_settings

SETTINGS = load_settings(environ={"KAFKA_BOOTSTRAP_SERVERS": "localhost:1", "OTTLA_CONFIG": "/dev/null"})


async def well(_: Case) -> list[Finding]:
    return [ok(Check.CONNECTION, "a", "answers")]


async def ill(_: Case) -> list[Finding]:
    return [fail(Check.CONNECTION, "b", "is silent", "see why")]


async def endless(_: Case) -> list[Finding]:
    await asyncio.Event().wait()
    raise AssertionError


async def port(_: Case) -> list[Finding]:
    return [ok(Check.ADMIN_PORT, "c", "free")]


async def test_a_step_without_an_end_fails_at_its_bound_and_holds_up_only_those_that_need_it() -> None:
    heard: list[Sequence[Check]] = []

    found = await examine(
        SETTINGS,
        None,
        steps=(
            Step(Check.CONNECTION, endless, limit_s=0.1),
            Step(Check.LOGIN, well, needs=(Check.CONNECTION,), after=(Check.CONNECTION,)),
            Step(Check.ADMIN_PORT, port),
        ),
        on_progress=heard.append,
    )

    assert found == [
        fail(
            Check.CONNECTION,
            "-",
            "no end of it in 0.1 s",
            "try again; see what hangs: network, or the server's log",
        ),
        skipped(Check.LOGIN, "-", "not looked at: it needs connection"),
        ok(Check.ADMIN_PORT, "c", "free"),
    ]
    assert heard == [
        [Check.CONNECTION, Check.LOGIN, Check.ADMIN_PORT],
        [Check.CONNECTION, Check.LOGIN],
        [Check.LOGIN],
        [],
    ]


async def test_a_step_waits_for_those_before_it_and_is_made_when_one_of_two_is_well() -> None:
    async def both(case: Case) -> list[Finding]:
        return [*await ill(case), *await well(case)]

    async def login(_: Case) -> list[Finding]:
        return [ok(Check.LOGIN, "a", "in")]

    found = await examine(
        SETTINGS,
        None,
        steps=(
            Step(Check.LOGIN, login, needs=(Check.CONNECTION,), after=(Check.CONNECTION,)),
            Step(Check.CONNECTION, both),
        ),
    )

    assert [finding.said for finding in found] == ["is silent", "answers", "in"]


def test_every_step_waits_only_for_steps_that_there_are_and_never_in_a_circle() -> None:
    ended: set[Check] = set()
    for step in STEPS:
        assert set(step.after) <= ended
        ended.add(step.check)

    assert len(ended) == len(STEPS)


async def test_all_steps_together_have_a_bound() -> None:
    found = await examine(
        SETTINGS,
        None,
        steps=(
            Step(Check.CONNECTION, endless, limit_s=60),
            Step(Check.LOGIN, endless, after=(Check.CONNECTION,)),
        ),
        bound_s=0.02,
    )

    assert [(finding.check, finding.said) for finding in found] == [
        (Check.CONNECTION, "no end of it in 0.0 s"),
        (Check.LOGIN, "no end of it in 0.0 s"),
    ]
