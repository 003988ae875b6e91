"""Tells the story: two billing processes, one killed in the middle, and every order billed once.

    make demo                          1,000 orders on the embedded stack
    make demo ORDERS=all               every order of the file, or ORDERS=500
    make demo DATA=file.csv            orders of your own, in the same columns
    make demo BROKER=kafka             on Apache Kafka
    make demo DEMO_MUTANT=no-inbox     with a deliberate bug: must fail. Also commit-first

KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL name running servers to use instead.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NoReturn

import psycopg
from confluent_kafka import KafkaException

from examples.shop.demo.audit import Audit, Figures, Interrupted, RecordsDropped
from examples.shop.demo.plan import SENT_TWICE, UNDECODABLE, BadPlan, Plan, read_plan
from examples.shop.demo.programs import Program
from examples.shop.demo.stack import PARTITIONS, Stack, running_stack
from examples.shop.purchases import BadPurchases
from ottla import OttlaError
from ottla.embedded.guarded import ServerFailed

_TURN_S = 0.05
_SETTLED_S = 1.5
"""Nothing changes any more when nothing has for this long, and the group has committed everything."""
_START_WITHIN_S = 60.0
_STUCK_S = 40.0
"""Longer than any take-over: after so long without progress nothing more will come."""


class Failed(Exception):
    """The demo cannot go on."""


class Demo:
    """One run. Its methods stand in the order in which they happen."""

    def __init__(self, plan: Plan, stack: Stack, audit: Audit, exits: ExitStack) -> None:
        self._plan = plan
        self._stack = stack
        self._audit = audit
        self._exits = exits
        self._billing: list[Program] = []
        self._running: list[Program] = []
        self._begun = time.monotonic()
        self._told_at = 0.0
        self._is_terminal = sys.stdout.isatty()
        self.figures = audit.look()

    def start_billing(self, name: str) -> Program:
        """A billing process more."""
        environment = {**self._stack.environment, "DEMO_MUTANT": self._plan.mutant or ""}
        program = self._start(Program(name, "examples.shop.demo.service", environment=environment))
        self._billing.append(program)
        return program

    def start_producer(self) -> Program:
        """The storefront, which sends some events twice and some bytes that nobody can read."""
        plan = self._plan
        arguments = {
            "--data": plan.data,
            "--orders": plan.orders,
            "--rate": plan.rate,
            "--again": SENT_TWICE,
            "--undecodable": UNDECODABLE,
        }
        words = [str(word) for pair in arguments.items() for word in pair]
        return self._start(
            Program("producer", "examples.shop.producer", *words, environment=self._stack.environment)
        )

    def _start(self, program: Program) -> Program:
        self._exits.enter_context(program)
        self._running.append(program)
        self.say(f"{program.name} started, pid {program.pid}")
        return program

    def wait_until_shared(self) -> None:
        """Both billing processes have partitions."""
        deadline = time.monotonic() + _START_WITHIN_S
        while True:
            shares = [program.status().get("partitions", 0) for program in self._billing]
            if all(shares) and sum(shares) == PARTITIONS:
                break
            if time.monotonic() > deadline:
                self._give_up(f"the billing processes have {shares} partitions of {PARTITIONS}")
            self._turn()
        self.say(f"the billing processes share the partitions: {shares[0]} and {shares[1]}")

    def kill(self, victim: Program, *, before_end_of: Program) -> Interrupted:
        """SIGKILL `victim` in the middle of its work.

        A process that has just committed everything would prove nothing, so the moment is
        waited for, and the process frozen for a second look: if the moment has passed it goes on.
        """
        self._watch_until(lambda figures: figures.invoices >= self._plan.kill_at, hold_back=before_end_of)
        while before_end_of.exit_code() is None:
            if any(self._audit.interrupted(victim.pid)):
                victim.freeze()
                time.sleep(_TURN_S)  # what it has sent arrives
                if any(self._audit.interrupted(victim.pid)):
                    break
                victim.thaw()
        victim.kill()
        self._running.remove(victim)
        time.sleep(_TURN_S)  # PostgreSQL ends what is left of its connections
        self.figures = self._audit.look()
        interrupted = self._audit.interrupted(victim.pid)
        self.say(
            f"{victim.name} killed (SIGKILL) at {self.figures.invoices} invoices: "
            f"{interrupted.uncommitted} orders were billed, and their offsets not committed"
        )
        return interrupted

    def wait_until_quiet(self, producer: Program) -> None:
        """The producer has ended, everything is committed, and nothing changes any more."""
        self._watch_until(lambda _: producer.exit_code() is not None)
        self._running.remove(producer)
        if producer.exit_code():
            self._give_up("the producer failed", producer)
        quiet_since, before = time.monotonic(), self.figures
        while self.figures.lag or self.figures.unsent or time.monotonic() - quiet_since < _SETTLED_S:
            self._turn()
            if self.figures != before:
                quiet_since, before = time.monotonic(), self.figures
            if time.monotonic() - quiet_since > _STUCK_S:
                self.say(f"nothing has happened for {_STUCK_S:.0f} s, though not everything is committed")
                return

    def deduplicated(self) -> int:
        """Deliveries that the billing processes recognised by the inbox; a killed one's last 20 ms miss."""
        return sum(program.status().get("duplicates", 0) for program in self._billing)

    def _watch_until(self, is_over: Callable[[Figures], bool], hold_back: Program | None = None) -> None:
        """Look and tell until it is over.

        `hold_back` is the producer, which stands still while billing is far behind: on a
        slow machine too, orders must be left to come after the kill.
        """
        changed_at, before = time.monotonic(), self.figures
        while not is_over(self.figures):
            self._turn()
            if hold_back is not None:
                is_behind = self.figures.lag > self._plan.most_behind
                (hold_back.freeze if is_behind else hold_back.thaw)()
            if self.figures != before:
                changed_at, before = time.monotonic(), self.figures
            elif time.monotonic() - changed_at > _STUCK_S:
                self._give_up(f"nothing has happened for {_STUCK_S:.0f} s")
        if hold_back is not None:
            hold_back.thaw()

    def _turn(self) -> None:
        time.sleep(_TURN_S)
        for program in self._running:
            if program in self._billing and (code := program.exit_code()) is not None:
                self._give_up(f"{program.name} ended by itself, with {code}", program)
        self.figures = self._audit.look()
        if time.monotonic() - self._told_at >= 1:
            self._told_at = time.monotonic()
            self._progress()

    def _progress(self) -> None:
        figures, seconds = self.figures, time.monotonic() - self._begun
        line = (
            f"demo: {seconds:4.0f} s  orders {figures.orders}  invoices {figures.invoices}  "
            f"dead letters {figures.dead_letters}  lag {figures.lag}"
        )
        print(
            f"\r{line}\x1b[K" if self._is_terminal else line,
            end="" if self._is_terminal else "\n",
            flush=True,
        )

    def say(self, text: str) -> None:
        """A line that stays."""
        print(f"\r\x1b[Kdemo: {text}" if self._is_terminal else f"demo: {text}", flush=True)

    def _give_up(self, reason: str, *programs: Program) -> NoReturn:
        for program in programs or self._billing:
            print(f"--- {program.name} wrote last:\n{program.log()}", file=sys.stderr)
        raise Failed(f"{reason}; {self.figures}")


def imbalances(plan: Plan, figures: Figures) -> Iterator[str]:
    """What is wrong with the figures."""
    if figures.orders != plan.orders:
        yield f"{figures.orders} orders are on the topic, {plan.orders} were to be placed"
    if figures.lost:
        yield f"{figures.lost} orders were never billed"
    if figures.duplicates:
        yield f"{figures.duplicates} orders were billed more than once"
    if figures.invoices != figures.orders:
        yield f"{figures.invoices} invoices stand against {figures.orders} orders"
    if figures.billed != figures.ordered:
        yield f"{figures.billed:.2f} is billed, {figures.ordered:.2f} was ordered"
    if figures.dead_letters != UNDECODABLE:
        yield f"{figures.dead_letters} dead letters of {UNDECODABLE} undecodable records"
    if figures.lag:
        yield f"{figures.lag} records are not committed"
    if figures.unsent:
        yield f"{figures.unsent} records are left in the outbox"


def vacuities(at_kill: Figures, figures: Figures, redelivered: int, deduplicated: int) -> Iterator[str]:
    """Why the run would prove nothing, even if it balanced."""
    if redelivered < 1:
        yield "proves nothing: no order that was billed before the kill came again after it"
    if figures.orders == at_kill.orders:
        yield "proves nothing: no order came after the kill"
    if deduplicated < max(SENT_TWICE, redelivered):
        expected = SENT_TWICE + redelivered
        yield f"proves nothing: {deduplicated} of {expected} second deliveries were recognised"


def run(plan: Plan) -> bool:
    """The whole story; whether it ended well."""
    with ExitStack() as exits:
        print(f"demo: {plan.orders} orders, {plan.rate:.0f} records a second; starting servers", flush=True)
        stack = exits.enter_context(running_stack(plan))
        audit = exits.enter_context(Audit(stack))
        demo = Demo(plan, stack, audit, exits)
        victim = demo.start_billing("billing-1")
        demo.start_billing("billing-2")
        demo.wait_until_shared()
        producer = demo.start_producer()
        interrupted = demo.kill(victim, before_end_of=producer)
        at_kill = demo.figures
        demo.start_billing("billing-1-again")
        demo.wait_until_quiet(producer)
        figures, deduplicated = demo.figures, demo.deduplicated()
        demo.say("quiet; the billing processes are told to stop")
    problems = [
        *imbalances(plan, figures),
        *vacuities(at_kill, figures, interrupted.uncommitted, deduplicated),
    ]
    print(
        f"proof: killed_at={at_kill.invoices}/{plan.orders} "
        f"redelivered={interrupted.uncommitted} deduplicated={deduplicated}"
    )
    print(f"demo: FAILED {figures}: {'; '.join(problems)}" if problems else f"demo: ok {figures}")
    return not problems


def main() -> int:
    """Run the demo; 0 when every order was billed once."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the same way out as Ctrl-C
    try:
        return 0 if run(read_plan(os.environ)) else 1
    except KeyboardInterrupt:
        print("\ndemo: FAILED interrupted; everything is stopped and removed")
        return 130
    except (BadPlan, BadPurchases) as error:
        print(f"demo: FAILED {error}")
        return 2
    except (Failed, RecordsDropped, ServerFailed, OttlaError, KafkaException, psycopg.Error) as error:
        print(f"demo: FAILED {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
