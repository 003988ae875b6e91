"""Carries a plan out: storms, quiet windows that measure recovery, and the wait until nothing goes on."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg
from confluent_kafka import KafkaException

from tests.chaos.checkers import RECOVERY_S
from tests.chaos.history import History
from tests.chaos.nemeses import Nemeses
from tests.chaos.schedule import QUIET_S, ROLES, Fault, Plan
from tests.chaos.world import PROCESSES, World

_LOOK_S = 0.5
_FLUSH_S = 130.0
_SETTLED_S = 180.0
"""In which the last record has to end, once nothing is sent any more and all is healed."""
_UNTIL_TOLD_S = 40.0
"""How long nothing may go on before every process is asked what it waits for."""
_JOIN_S = 300.0


@dataclass
class Conductor:
    """One run over one world. `say` is called with a line of progress."""

    world: World
    plan: Plan
    say: Callable[[str], None]
    quiet_s: float = QUIET_S
    """How long a quiet window lasts at least, once all has recovered."""
    recoveries: list[float] = field(default_factory=list)
    late: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._history = History(self.world.folder / "conductor.jsonl")
        self._nemeses = Nemeses(self.world, self._history)
        self._broken: list[BaseException] = []

    def run(self, *, settle_s: float = _SETTLED_S) -> None:
        """All storms, then until nothing goes on. Raises what kept a fault from being healed."""
        self.world.start_all()
        self._recover("all joined")
        for number, storm in enumerate(self.plan.storms):
            self._storm(number, storm)
            self._heal()
            self.recoveries.append(self._recover(f"window {number + 1} of {len(self.plan.storms)}"))
        self.settle(settle_s)

    def _storm(self, number: int, storm: tuple[Fault, ...]) -> None:
        names = ", ".join(f"{fault.kind.label}@{fault.at_s:.0f}s" for fault in storm)
        self.say(f"storm {number + 1} of {len(self.plan.storms)}: {names}")
        begun = time.monotonic()
        threads = [
            threading.Thread(target=self._carry_out, args=(fault, begun + fault.at_s), daemon=True)
            for fault in storm
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_JOIN_S)
        if self._broken:
            raise self._broken[0]

    def _carry_out(self, fault: Fault, due: float) -> None:
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            self._nemeses.carry_out(fault)
        except BaseException as error:  # noqa: BLE001  (of a thread: raised again where the storm ends)
            self._broken.append(error)

    def _heal(self) -> None:
        for process in tuple(self.world.processes.values()):
            process.send(signal.SIGCONT)
        for role in ROLES:
            for index in range(PROCESSES):
                self.world.revive(role, index)
        self._history.note("all-healed")

    def _recover(self, window: str) -> float:
        """How long it takes until every partition has gone on, and at least the length of a quiet window."""
        healed = time.monotonic()
        first: dict[tuple[str, str, int], int] = {}
        took: float | None = None
        is_told = False
        while (now := time.monotonic() - healed) < (
            self.quiet_s if took is not None else RECOVERY_S + _LOOK_S
        ):
            time.sleep(_LOOK_S)
            if took is not None:
                continue
            try:
                committed = self.world.committed()
            except KafkaException:
                continue  # a coordinator that is being loaded counts as not recovered
            first = first or committed
            standing = [at for at in self.world.partitions() if committed.get(at, 0) <= first.get(at, 0)]
            if not standing:
                took = time.monotonic() - healed
            elif now > _UNTIL_TOLD_S and not is_told:
                is_told = True
                self._tell_why(f"{window}: these do not go on: {standing}")
        self._history.note("window", window=window, took_s=took)
        self.say(f"{window}: {'not recovered' if took is None else f'recovered in {took:.1f} s'}")
        return RECOVERY_S + 1 if took is None else took

    def settle(self, within_s: float) -> None:
        """Send nothing more, and wait until there is no lag and the outbox is empty."""
        producers = self.world.processes["producers", 0]
        producers.send(signal.SIGTERM)
        if not producers.wait(_FLUSH_S):
            self.late.append(f"producers were not done within {_FLUSH_S:.0f} s")
        began = moved = time.monotonic()
        seen: object = None
        while (left := self._left()) != {}:
            now = time.monotonic()
            if left is not None and left != seen:
                seen, moved = left, now
            if now - began > within_s:
                self._tell_why(f"not settled: {left}")
                self.late.append(f"after {within_s:.0f} s there was left: {left}")
                return
            if now - moved > _UNTIL_TOLD_S:
                moved = now
                self._tell_why(f"nothing goes on: {left}")
            time.sleep(_LOOK_S)
        self.say(f"settled in {time.monotonic() - began:.1f} s")

    def _left(self) -> dict[str, int] | None:
        """What waits; None when it cannot be asked."""
        try:
            lag = {f"{group}: {topic}-{n}": lag for (group, topic, n), lag in self.world.lag().items() if lag}
            unsent = self.world.count("SELECT count(*) FROM ottla.outbox")
        except (KafkaException, psycopg.OperationalError):
            return None
        return lag | ({"outbox": unsent} if unsent else {})

    def _tell_why(self, what: str) -> None:
        """Threads and tasks into the logs of all processes, and what the brokers know of the groups."""
        self.say(what)
        for (role, _), process in tuple(self.world.processes.items()):
            if role != "producers":
                process.tell("stacks")
        admin = self.world.servers.kafka.admin()
        groups = [self.world.group(role) for role in ROLES]
        for name, answer in admin.describe_consumer_groups(groups, request_timeout=10).items():
            try:
                group = answer.result()
            except KafkaException as error:
                self.say(f"group {name}: {error}")
                continue
            members = {
                member.member_id: sorted(
                    f"{p.topic}-{p.partition}" for p in member.assignment.topic_partitions
                )
                for member in group.members
            }
            coordinator = None if group.coordinator is None else group.coordinator.id
            self.say(f"group {name}: {group.state}, coordinator {coordinator}, members {members}")
            self._history.note("group", name=name, state=str(group.state), members=members)
