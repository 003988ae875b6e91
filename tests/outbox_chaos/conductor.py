"""Kills whoever relays, and brokers, at the moments that are planned; then waits until all is calm.

A kill counts when it strikes a leader at work: it leads shards, and others lead the rest; a row
that waited in its shards has gone since, and others wait there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random

import psycopg

from ottla.core.outbox import SHARDS
from tests.outbox_chaos.plan import may_write, thresholds
from tests.outbox_chaos.world import Leads, World
from tests.outbox_chaos.writer import EVENTS

_LOOK_S = 0.1
"""At most, drawn each time; a look counts the rows that wait."""
_LOOK_FOR_HEIR_S = 0.02
_SAY_S = 10.0
_STALLED_S = 180.0
"""Without any progress; the machine may be busy with others."""


class Stalled(Exception):
    """Nothing goes on any more."""


@dataclass
class Struck:
    """What was killed, and how long shards had no leader after each."""

    leaders: int = 0
    brokers: int = 0
    without_leader_s: list[float] = field(default_factory=list)


class Conductor:
    """One run, from the start of the processes until nothing is left to do."""

    def __init__(self, world: World, *, kills: int, broker_kills: int, say: Callable[[str], None]) -> None:
        self._world = world
        self._say = say
        self._chance = Random(world.seed)
        self._planned = kills
        self._kills = thresholds(kills, world.events)
        self._broker_kills = thresholds(broker_kills, world.events)
        self._restarting: Future[None] | None = None
        self._pool = ThreadPoolExecutor(1)
        self._progress_at = self._said_at = time.monotonic()
        self._progress = (0, 0)
        self._first_seen: dict[str, Leads] = {}
        self.struck = Struck()

    def run(self) -> None:
        """Raises `Stalled`, and `RuntimeError` for a process that has ended or does not come back."""
        self._world.start_all()
        try:
            with self._world.sql() as sql:
                self._strike_until_all_is_written(sql)
            self._await_calm()
        finally:
            self._pool.shutdown()
        if self._restarting is not None:
            self._restarting.result()

    # -- while events are written and relayed

    def _strike_until_all_is_written(self, sql: psycopg.Connection) -> None:
        while True:
            are_writing = self._writers_run()
            relayed, waiting = self._world.relayed(sql)
            self._pace(relayed, waiting)
            at_work = self._at_work(self._world.leaders(sql))
            if at_work and self._is_due(self._kills, relayed):
                self._kill_leader(self._chance.choice(at_work), sql)
            if self._is_due(self._broker_kills, relayed):
                self._kill_broker()
            self._look(relayed)
            if not are_writing and not waiting:
                return
            time.sleep(_LOOK_S * self._chance.random())

    def _pace(self, relayed: int, waiting: int) -> None:
        """Writers stand still while they are ahead of the kills, unless relays have nothing to do."""
        killed = self.struck.leaders
        may = not waiting or may_write(relayed + waiting, killed, self._planned, self._world.events)
        (self._world.let_write if may else self._world.hold_writers)()

    def _at_work(self, leaders: dict[str, Leads]) -> list[str]:
        """Those who have published a row since they were first seen with the shards that they lead."""
        at_work = []
        for user, leads in leaders.items():
            first = self._first_seen.get(user)
            if first is None or first.lowest is None or first.shards != leads.shards:
                self._first_seen[user] = leads
            elif leads.lowest is not None and leads.lowest > first.lowest:
                at_work.append(user)
        return sorted(at_work) if len(leaders) > 1 else []

    @staticmethod
    def _is_due(thresholds: list[int], relayed: int) -> bool:
        return bool(thresholds) and relayed >= thresholds[0]

    def _kill_leader(self, user: str, sql: psycopg.Connection) -> None:
        self._kills.pop(0)
        self._world.relays[user].kill()
        struck_at = time.monotonic()
        self._world.relays[user].wait()
        self.struck.leaders += 1
        del self._first_seen[user]
        while not self._is_all_led_without(user, sql):
            self._look(self._world.relayed(sql)[0])
            time.sleep(_LOOK_FOR_HEIR_S)
        self.struck.without_leader_s.append(time.monotonic() - struck_at)
        self._world.start_relay(user)

    def _is_all_led_without(self, user: str, sql: psycopg.Connection) -> bool:
        leaders = self._world.leaders(sql)
        return user not in leaders and sum(len(leads.shards) for leads in leaders.values()) == SHARDS

    def _kill_broker(self) -> None:
        """One at a time: the next is due when all are in sync again."""
        if self._restarting is not None:
            if not self._restarting.done():
                return
            self._restarting.result()
        self._broker_kills.pop(0)
        broker = self._chance.choice(self._world.kafka.brokers)
        away_s = self._chance.uniform(2, 5)
        broker.kill()
        self.struck.brokers += 1

        def restart() -> None:
            time.sleep(away_s)
            broker.start()
            deadline = time.monotonic() + _STALLED_S
            while not self._world.kafka.is_whole(EVENTS.name):
                if time.monotonic() > deadline:
                    raise Stalled(f"a broker is not in sync {_STALLED_S:.0f} s after its restart")
                time.sleep(0.5)

        self._restarting = self._pool.submit(restart)

    # -- until nothing is left

    def _await_calm(self) -> None:
        """The reader has had every event once, or does not go on."""
        written = self._world.count("SELECT count(*) FROM ledger")
        while self._effects() < written:
            self._look(written)
            time.sleep(0.2)
        self._world.stop()

    def _effects(self) -> int:
        return self._world.count("SELECT count(DISTINCT event_id) FROM effect", "reader")

    # -- looking

    def _writers_run(self) -> bool:
        codes = [process.poll() for process in self._world.writers]
        if any(code for code in codes):
            raise RuntimeError(f"a writer has ended: {codes}; see {self._world.folder}")
        return None in codes

    def _look(self, relayed: int) -> None:
        """Say how far it is, now and then; raise when it goes no further."""
        now = time.monotonic()
        if now - self._said_at < _SAY_S:
            return
        self._said_at = now
        progress = (relayed, self._effects())
        if progress != self._progress:
            self._progress, self._progress_at = progress, now
        if now - self._progress_at > _STALLED_S:
            raise Stalled(f"nothing has gone on for {_STALLED_S:.0f} s; see {self._world.folder}")
        killed = f"leaders killed {self.struck.leaders}, brokers {self.struck.brokers}"
        self._say(f"relayed {relayed}, read {progress[1]}, {killed}")
