"""`ottla dlt replay` and `discard`: what becomes of dead letters, decided by somebody who has looked."""

from __future__ import annotations

import asyncio
import getpass
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Annotated

import typer

from ottla.cli.dlt import Progress, Topic, until_done
from ottla.cli.letter_filters import Filters
from ottla.cli.letter_view import plain, time_of
from ottla.cli.option_groups import with_option_groups
from ottla.core.letters import Letter, LetterFilter
from ottla.core.replay import ReplayRequest, Stamp, Verdict, Way, judge, judge_discard
from ottla.core.replay_ledger import Entry, State
from ottla.kafka.producer import KafkaProducer
from ottla.kafka.properties import producer_properties
from ottla.replay.sending import Replayer, Tally, Verdicts, discard_all
from ottla.replay.session import Plan, Session, opened
from ottla.settings import Settings, load_settings

_DAY_MS = 86_400_000
_SAID_EACH_S = 1.0
_SAID_ERRORS = 10
_CLOSE_S = 10.0


@dataclass(frozen=True, slots=True)
class Consent:
    """What is asked before anything is written."""

    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done, and do nothing")] = False
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="do not ask; needed where stdin is no terminal")
    ] = False
    limit: Annotated[int | None, typer.Option(min=1, help="no more than so many letters")] = None
    by: Annotated[
        str | None, typer.Option(help="who does it, for headers and ledger (default: user@host)")
    ] = None

    def check(self) -> None:
        """Raise `typer.BadParameter` where nobody could be asked."""
        if not (self.yes or self.dry_run or sys.stdin.isatty()):
            text = (
                "stdin is no terminal where one could be asked; give --yes, or --dry-run to see what it does"
            )
            raise typer.BadParameter(text, param_hint="--yes")

    def who(self) -> str:
        """Who does it."""
        return self.by or _user_at_host()


@dataclass(frozen=True, slots=True)
class Roads:
    """Where letters may go, and which."""

    to: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="send all to this topic, whoever reads it")
    ] = None
    to_all_groups: Annotated[
        bool,
        typer.Option(
            "--to-all-groups", help="where the failing group alone cannot be reached: to the topic itself"
        ),
    ] = False
    again: Annotated[bool, typer.Option("--again", help="also what was replayed or discarded before")] = False
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="also what is older than OTTLA_DEDUP_WINDOW_DAYS: effects may come twice"
        ),
    ] = False
    rate: Annotated[
        float | None, typer.Option(min=0.01, metavar="N", help="no more than so many letters a second")
    ] = None

    def request(self, settings: Settings) -> ReplayRequest:
        """What is asked for, now."""
        return ReplayRequest(
            now_ms=_now_ms(),
            window_ms=round(settings.dedup_window_days * _DAY_MS),
            to=self.to,
            to_all_groups=self.to_all_groups,
            again=self.again,
            force=self.force,
        )


@with_option_groups
def replay(topic: Topic, filters: Filters, roads: Roads, consent: Consent) -> None:
    """Send dead letters to the group that failed, to be handled again.

    No other group gets them. They go to the first retry topic of that group,
    else to its replay topic, TOPIC-GROUP-replay, which is made where it is
    missing: key, value and headers as they are, per key in their order.

    The topic GROUP-replays keeps what became of each. What was sent is not sent
    again, and a replay that was interrupted goes on by the same command.

    Exit codes: 0 done; 1 something was refused, has failed or is left, or the
    cluster does not answer; 2 wrong options; 78 settings must be edited.
    """
    consent.check()
    until_done(_replay(topic, filters.read(), roads, consent))


@with_option_groups
def discard(
    topic: Topic,
    filters: Filters,
    consent: Consent,
    *,
    because: Annotated[str, typer.Option(metavar="TEXT", help="why nothing more is to be done")],
) -> None:
    """Note that somebody has looked at dead letters and gives them up; `replay` then leaves them out.

    Deletes nothing: Kafka's retention does.
    """
    if not because.strip():
        raise typer.BadParameter("is empty; say in a few words why", param_hint="--because")
    consent.check()
    until_done(_discard(topic, filters.read(), consent, because))


async def _replay(topic: str, wanted: LetterFilter, roads: Roads, consent: Consent) -> None:
    settings = load_settings()
    request = roads.request(settings)
    async with opened(settings, topic, wanted) as session:

        def judged(letter: Letter, entry: Entry | None) -> Verdict:
            return judge(letter, entry, session.topics, request)

        plan = await session.plan(judged, consent.limit, Progress().on_read)
        _tell(plan)
        if consent.dry_run:
            counts = f"skipped={plan.skipped.total()} refused={plan.refused.total()} again={plan.again}"
            typer.echo(f"dlt: to-replay={plan.sends.total()} {counts} (dry run)")
            raise typer.Exit(1 if plan.refused else 0)
        tally, is_whole = Tally(), True
        if plan.sends:
            await _agree(session, plan, consent, f"Replay {_letters(plan.sends.total())}?")
            async with _producer(settings) as producer:
                stamps = _Stamps(_replay_id(plan), consent.who())
                replayer = Replayer(producer, stamps.new, per_s=roads.rate)
                verdicts = session.verdicts(judged, consent.limit)
                is_whole = await _until_told(replayer, verdicts, plan.sends.total())
                tally = replayer.tally
    _tell_end(plan, tally, is_whole=is_whole)
    raise typer.Exit(0 if is_whole and not (tally.failed or plan.refused) else 1)


async def _discard(topic: str, wanted: LetterFilter, consent: Consent, because: str) -> None:
    settings = load_settings()
    async with opened(settings, topic, wanted) as session:

        def judged(_: Letter, entry: Entry | None) -> Verdict:
            return judge_discard(entry)

        plan = await session.plan(judged, consent.limit, Progress().on_read)
        _tell(plan)
        tally = Tally()
        if consent.dry_run:
            typer.echo(f"dlt: to-discard={plan.discards} skipped={plan.skipped.total()} (dry run)")
            return
        if plan.discards:
            await _agree(session, plan, consent, f"Discard {_letters(plan.discards)}?")
            async with _producer(settings) as producer:
                entry = Entry(State.DISCARDED, consent.who(), _now(), why=because)
                tally = await discard_all(producer, session.verdicts(judged, consent.limit), lambda: entry)
    typer.echo(f"dlt: discarded={tally.done} skipped={plan.skipped.total()}")


def _tell(plan: Plan) -> None:
    """What is going to become of the letters, and why of some nothing."""
    for (group, target), count in sorted(plan.sends.items(), key=lambda item: item[0][1].topic):
        whose = "of no group that is told" if group is None else f"of group {plain(group)}"
        typer.echo(f"replay {_letters(count)} {whose} to {target.topic}")
    for replay_id, count in plan.interrupted.items():
        said = f"continue replay {plain(replay_id)}: {_letters(count)} it was sending may come twice"
        typer.echo(said)
    for state, count in plan.skipped.items():
        typer.echo(f"skip {_letters(count)}: {'replayed' if state is State.SENT else 'discarded'} before")
    for why, count in plan.refused.items():
        typer.echo(f"refuse {_letters(count)}, the first {plan.first_refused[why]}: {plain(why)}", err=True)


def _tell_end(plan: Plan, tally: Tally, *, is_whole: bool) -> None:
    """What has become of the letters, in the last line by their numbers."""
    for error in islice(tally.errors, _SAID_ERRORS):
        typer.echo(f"ottla: failed: {error}", err=True)
    if len(tally.errors) > _SAID_ERRORS:
        typer.echo(f"ottla: failed: {len(tally.errors) - _SAID_ERRORS} more", err=True)
    if not is_whole:
        left = plan.sends.total() - tally.done
        typer.echo(f"dlt: stopped with {_letters(left)} left; the same command goes on there", err=True)
    counts = f"replayed={tally.done} skipped={plan.skipped.total()} refused={plan.refused.total()}"
    typer.echo(f"dlt: {counts} failed={tally.failed} again={tally.again}")


async def _agree(session: Session, plan: Plan, consent: Consent, question: str) -> None:
    """Say what else it takes, ask, and make the topics that are missing."""
    missing = session.missing(plan)
    for step in missing:
        typer.echo(step)
    for target in plan.targets(Way.MAIN):
        groups = await session.admin.groups_reading(target.topic)
        named = ", ".join(map(plain, groups)) or "no group that this user may see"
        typer.echo(f"{target.topic} is read by {named}: each of them gets these letters")
    if not consent.yes:
        typer.confirm(question, abort=True)
    await session.create(missing)


async def _until_told(replayer: Replayer, verdicts: Verdicts, total: int) -> bool:
    """Send until all is sent, something must be cured, or SIGINT or SIGTERM; whether it was all.

    A first signal begins nothing more and waits for what is under way; a second one ends the process.
    """
    loop = asyncio.get_running_loop()
    begin = asyncio.ensure_future(replayer.begin_all(verdicts))
    telling = asyncio.ensure_future(_tell_progress(replayer.tally, total))

    def stop(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)
        begin.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        await asyncio.wait([begin])
        await replayer.drain()
    finally:
        telling.cancel()
    if begin.cancelled():
        return False
    begin.result()
    return replayer.stopped is None


async def _tell_progress(tally: Tally, total: int) -> None:
    while True:
        await asyncio.sleep(_SAID_EACH_S)
        typer.echo(f"dlt: replayed={tally.done} failed={tally.failed} of {total}", err=True)


@asynccontextmanager
async def _producer(settings: Settings) -> AsyncIterator[KafkaProducer]:
    producer = KafkaProducer(producer_properties(settings), name="replay")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.close(_CLOSE_S)


class _Stamps:
    """Says of each letter which replay it is, by whom, and when."""

    def __init__(self, replay_id: str, by: str) -> None:
        self._replay_id = replay_id
        self._by = by

    def new(self) -> Stamp:
        now_ms = _now_ms()
        return Stamp(self._replay_id, self._by, time_of(now_ms) or "", now_ms)


def _replay_id(plan: Plan) -> str:
    """That of the replay that was interrupted, so that all of it has one; else a new one."""
    return next((name for name, _ in plan.interrupted.most_common(1)), None) or str(uuid.uuid4())


def _user_at_host() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _letters(count: int) -> str:
    return f"{count} dead letter{'' if count == 1 else 's'}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _now() -> str:
    return time_of(_now_ms()) or ""
