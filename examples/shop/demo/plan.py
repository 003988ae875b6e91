"""What the demo is asked to do, by its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from examples.shop.demo.mutants import MUTANTS
from examples.shop.purchases import SAMPLE, read_purchases

SENT_TWICE = 50
UNDECODABLE = 3

_DEFAULT_ORDERS = 1000
_FEWEST_ORDERS = 10
_SHORTEST_S = 5.0
_FASTEST = 350.0


class BadPlan(Exception):
    """The environment asks for what the demo cannot do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run of the demo."""

    data: Path
    orders: int
    is_real_kafka: bool
    mutant: str | None
    is_kept: bool = False
    """Whether the shop stays up after the verdict, until Ctrl-C."""

    @property
    def sent_twice(self) -> int:
        """How many events come a second time: none where that would heal the loss that is to be seen."""
        return 0 if self.mutant == "commit-first" else SENT_TWICE

    @property
    def rate(self) -> float:
        """Orders a second, at most: slow enough that orders still come after a process was killed."""
        return min(_FASTEST, (self.orders + self.sent_twice) / _SHORTEST_S)

    @property
    def kill_at(self) -> int:
        """After how many invoices a process is killed."""
        return max(1, self.orders * 7 // 20)

    @property
    def most_behind(self) -> int:
        """How many records billing may be behind until then, so that there are orders to come."""
        return max(5, self.orders // 5)


def read_plan(environ: Mapping[str, str]) -> Plan:
    """The plan that ORDERS, DATA, BROKER, KEEP and DEMO_MUTANT make.

    Raises:
        BadPlan: one of them has no such value.
        BadPurchases: the file of orders is not sound.
    """
    data = Path(environ.get("DATA") or SAMPLE).absolute()
    wanted = environ.get("ORDERS") or ""
    if wanted not in {"", "all"} and not (wanted.isascii() and wanted.isdigit()):
        raise BadPlan(f"ORDERS={wanted!r} is neither a number nor `all`")
    broker = environ.get("BROKER") or "embedded"
    if broker not in {"embedded", "kafka"}:
        raise BadPlan(f"BROKER={broker!r}: there are `embedded` (the default) and `kafka`")
    mutant = environ.get("DEMO_MUTANT") or None
    if mutant is not None and mutant not in MUTANTS:
        raise BadPlan(f"DEMO_MUTANT={mutant!r}: there are {', '.join(MUTANTS)}")
    keep = environ.get("KEEP") or "0"
    if keep not in {"0", "1"}:
        raise BadPlan(f"KEEP={keep!r}: 1 leaves the shop up, 0 (the default) does not")
    orders = int(wanted) if wanted.isdigit() and int(wanted) < _FEWEST_ORDERS else _count(data, wanted)
    if orders < _FEWEST_ORDERS:
        raise BadPlan(f"{orders} orders have no middle to kill a process in: take at least {_FEWEST_ORDERS}")
    return Plan(data, orders, is_real_kafka=broker == "kafka", mutant=mutant, is_kept=keep == "1")


def _count(data: Path, wanted: str) -> int:
    """How many orders; a file of one's own may be shorter than the default."""
    if wanted.isdigit():
        return len(read_purchases(data, int(wanted)))
    found = len(read_purchases(data))
    return found if wanted == "all" else min(_DEFAULT_ORDERS, found)
