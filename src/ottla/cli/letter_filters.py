"""The options by which dead letters are chosen, read; what is no filter is said with what would be one."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

import typer

from ottla.core.decide import Reason
from ottla.core.letters import LetterFilter

_EXAMPLE = "2026-08-22T14:30:00Z"


@dataclass(frozen=True, slots=True)
class Filters:
    """As they were written. All that are given must hold."""

    group: Annotated[str | None, typer.Option(help="the consumer group that gave it up")] = None
    exception: Annotated[
        str | None,
        typer.Option(metavar="CLASS", help="class of exception or cause, whole or the last part: ValueError"),
    ] = None
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="why it was given up, or a part of that: exhausted")
    ] = None
    key: Annotated[str | None, typer.Option(help="the record's key as text, or 0x… as it is listed")] = None
    header: Annotated[
        list[str],
        typer.Option(metavar="NAME=VALUE", help="a header's last value, decoded; may be given several times"),
    ] = field(default_factory=list)
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help=f"given up at that time or later, ISO 8601: {_EXAMPLE}")
    ] = None
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="given up before; without an offset times are in UTC")
    ] = None
    partition: Annotated[int | None, typer.Option(min=0, help="of the dead-letter topic")] = None
    from_offset: Annotated[int | None, typer.Option(min=0, help="lowest offset there")] = None
    to_offset: Annotated[int | None, typer.Option(min=0, help="highest offset there")] = None

    def read(self) -> LetterFilter:
        """The filter. Raises `typer.BadParameter` for the first option that is none."""
        since_ms, until_ms = _time("--since", self.since), _time("--until", self.until)
        if since_ms is not None and until_ms is not None and since_ms >= until_ms:
            raise _bad("--until", f"{self.until!r} is not after --since {self.since!r}; give a later time")
        if None not in {self.from_offset, self.to_offset} and (self.from_offset or 0) > (self.to_offset or 0):
            text = f"{self.to_offset} is below --from-offset {self.from_offset}; both ends count"
            raise _bad("--to-offset", f"{text}, so give one offset twice for one letter")
        return LetterFilter(
            group=_some("--group", self.group),
            exception=_some("--exception", self.exception),
            key=self.key,
            headers=tuple(_header(each) for each in self.header),
            since_ms=since_ms,
            until_ms=until_ms,
            partition=self.partition,
            from_offset=self.from_offset,
            to_offset=self.to_offset,
            reason=_reason(self.reason),
        )


def _some(option: str, text: str | None) -> str | None:
    if text is not None and not text.strip():
        raise _bad(option, f"{text!r} is empty and would match nothing; name one, or leave it out")
    return text


def _time(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        cure = f"write ISO 8601, such as {_EXAMPLE} or 2026-08-22"
        raise _bad(option, f"{text!r} is no time; {cure}") from error
    return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise _bad("--header", f"{text!r} is not NAME=VALUE; write for example --header tenant=acme")
    return name, value


def _reason(text: str | None) -> str | None:
    if text is None:
        return None
    if not text.strip() or not any(text.lower() in reason.value for reason in Reason):
        there = "; ".join(reason.value for reason in Reason)
        raise _bad("--reason", f"{text!r} is part of no reason; the reasons are: {there}")
    return text


def _bad(option: str, text: str) -> typer.BadParameter:
    return typer.BadParameter(text, param_hint=option)
