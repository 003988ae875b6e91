"""Tells the story: three services, billing killed in the middle, and every order billed once.

Orders are posted over HTTP. The event of each is billed by one of two billing processes,
and mailed about by the notifications.

    make demo                          1,000 orders on the embedded stack
    make demo ORDERS=all               every order of the file, or ORDERS=500
    make demo DATA=file.csv            orders of your own, in the same columns
    make demo BROKER=kafka             on Apache Kafka
    make demo KEEP=1                   leave the shop up and say where to look; Ctrl-C ends it
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

import httpx
import psycopg
from confluent_kafka import KafkaException

from examples.shop.demo.audit import Audit, Figures, Interrupted, RecordsDropped
from examples.shop.demo.plan import UNDECODABLE, BadPlan, Plan, read_plan
from examples.shop.demo.programs import Program
from examples.shop.demo.stack import (
    BILLING,
    NOTIFICATIONS,
    PARTITIONS,
    TAKING_ORDERS,
    Stack,
    running_stack,
)
from examples.shop.purchases import BadPurchases
from ottla import OttlaError
from ottla.embedded.guarded import ServerFailed

_STOREFRONT = "storefront"
_TURN_S = 0.05
_SETTLED_S = 1.5
"""Nothing changes any more when nothing has for this long, and the groups have committed everything."""
_START_WITHIN_S = 60.0
_STUCK_S = 40.0
"""Longer than any take-over: after so long without progress nothing more will come."""


class Failed(Exception):
    """The demo cannot go on."""


class Demo:
    """One run. Its methods stand in the order in which they happen."""

    def __init__(self, plan: Plan, stack: Stack, exits: ExitStack) -> None:
        self._plan = plan
        self._stack = stack
        self._exits = exits
        self._billing: list[Program] = []
        self._running: list[Program] = []
        self._begun = time.monotonic()
        self._told_at = 0.0
        self._is_terminal = sys.stdout.isatty()
        self._audit: Audit
        self.figures: Figures

    def open_shop(self) -> Program:
        """Start all services and wait for them; returns one of billing's processes."""
        stack = self._stack
        victim = self.start_billing("billing-1")
        self.start_billing("billing-2")
        notifications = self._start_listening(
            "notifications", "examples.shop.notifications.app:app", stack.environments[NOTIFICATIONS]
        )
        self._start_web("mail", "examples.shop.notifications.mail_server:api", NOTIFICATIONS, stack.mail_port)
        self._start_web("orders", "examples.shop.orders.api:api", TAKING_ORDERS, stack.orders_port)
        self._wait_until_open(notifications)
        self._audit = self._exits.enter_context(Audit(stack))
        self.figures = self._audit.look()
        return victim

    def start_billing(self, name: str) -> Program:
        """A billing process more."""
        environment = {**self._stack.environments[BILLING], "DEMO_MUTANT": self._plan.mutant or ""}
        program = self._start_listening(name, "examples.shop.billing.app:app", environment)
        self._billing.append(program)
        return program

    def start_storefront(self) -> Program:
        """What posts the orders, and sends some events twice and some bytes that nobody can read."""
        plan = self._plan
        arguments = {
            "--orders-url": self._stack.orders_url,
            "--data": plan.data,
            "--orders": plan.orders,
            "--rate": plan.rate,
            "--again": plan.sent_twice,
            "--undecodable": UNDECODABLE,
        }
        words = [str(word) for pair in arguments.items() for word in pair]
        environment = self._stack.environments[TAKING_ORDERS]
        return self._start(Program(_STOREFRONT, "examples.shop.storefront", *words, environment=environment))

    def _start_listening(self, name: str, app: str, environment: dict[str, str]) -> Program:
        return self._start(Program(name, "examples.shop.demo.service", app, environment=environment))

    def _start_web(self, name: str, api: str, service: str, port: int) -> None:
        arguments = (api, "--port", str(port), "--log-level", "warning")
        self._start(Program(name, "uvicorn", *arguments, environment=self._stack.environments[service]))

    def _start(self, program: Program) -> Program:
        self._exits.enter_context(program)
        self._running.append(program)
        self.say(f"{program.name} started, pid {program.pid}")
        return program

    def _wait_until_open(self, notifications: Program) -> None:
        deadline = time.monotonic() + _START_WITHIN_S
        while waiting := [*self._closed(self._billing), *self._closed([notifications]), *self._silent()]:
            if time.monotonic() > deadline:
                self._give_up(f"the shop did not open in {_START_WITHIN_S:.0f} s: {'; '.join(waiting)}")
            time.sleep(_TURN_S)
            self._check_running()
        shares = " and ".join(str(program.status()["partitions"]) for program in self._billing)
        self.say(f"the shop is open; the billing processes share the partitions: {shares}")

    def _closed(self, group: list[Program]) -> Iterator[str]:
        """What is not yet so: that each process of a group has partitions, and the group all of them."""
        shares = {program.name: program.status().get("partitions", 0) for program in group}
        if not all(shares.values()) or sum(shares.values()) != PARTITIONS:
            yield f"of {PARTITIONS} partitions {shares}"

    def _silent(self) -> Iterator[str]:
        for url in (f"{self._stack.orders_url}/readyz", f"{self._stack.mail_url}/counts"):
            try:
                if (answer := httpx.get(url)).is_success:
                    continue
                yield f"{url}: {answer.status_code} {answer.text}"
            except httpx.TransportError as error:
                yield f"{url}: {error}"

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

    def wait_until_quiet(self, storefront: Program) -> None:
        """The storefront has ended, everything is committed, and nothing changes any more."""
        self._watch_until(lambda _: storefront.exit_code() is not None)
        self._running.remove(storefront)
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

    def keep(self) -> None:
        """Leave everything up until Ctrl-C."""
        stack, environment = self._stack, self._stack.environments[BILLING]
        topics = " ".join([stack.orders, *stack.dead_letters.values()])
        for what, where in (
            ("orders", f"{stack.orders_url}/docs"),
            ("mail", f"{stack.mail_url}/counts"),
            ("Kafka", f"KAFKA_BOOTSTRAP_SERVERS={environment['KAFKA_BOOTSTRAP_SERVERS']}  topics {topics}"),
            ("PostgreSQL", f"DATABASE_URL={stack.database_url}  tables shop_order invoice ottla.inbox"),
            ("processes", "  ".join(f"{program.name} {program.pid}" for program in self._running)),
        ):
            self.say(f"  {what:<11} {where}")
        self.say("kept until Ctrl-C, which stops and removes it all")
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            print()

    def _watch_until(self, is_over: Callable[[Figures], bool], hold_back: Program | None = None) -> None:
        """Look and tell until it is over.

        `hold_back` is the storefront, which stands still while billing is far behind: on a
        slow machine too, orders must be left to come after the kill.
        """
        changed_at, before = time.monotonic(), self.figures
        while not is_over(self.figures):
            self._turn()
            if hold_back is not None:
                is_behind = self.figures.orders - self.figures.invoices > self._plan.most_behind
                (hold_back.freeze if is_behind else hold_back.thaw)()
            if self.figures != before:
                changed_at, before = time.monotonic(), self.figures
            elif time.monotonic() - changed_at > _STUCK_S:
                self._give_up(f"nothing has happened for {_STUCK_S:.0f} s")
        if hold_back is not None:
            hold_back.thaw()

    def _turn(self) -> None:
        time.sleep(_TURN_S)
        self._check_running()
        self.figures = self._audit.look()
        if time.monotonic() - self._told_at >= 1:
            self._told_at = time.monotonic()
            self._progress()

    def _check_running(self) -> None:
        for program in self._running:
            code = program.exit_code()
            if code is not None and (code or program.name != _STOREFRONT):
                self._give_up(f"{program.name} ended by itself, with {code}", program)

    def _progress(self) -> None:
        figures, seconds = self.figures, time.monotonic() - self._begun
        line = (
            f"demo: {seconds:4.0f} s  orders {figures.taken}  invoices {figures.invoices}  "
            f"mails {figures.notified}  dead letters {sum(figures.dead_letters.values())}  lag {figures.lag}"
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
        for program in programs or self._running:
            print(f"--- {program.name} wrote last:\n{program.log()}", file=sys.stderr)
        raise Failed(reason)


def imbalances(plan: Plan, figures: Figures) -> list[str]:
    """What is wrong with the figures."""
    f = figures
    wrong = {
        f"{f.taken} orders were taken, {plan.orders} were to be placed": f.taken != plan.orders,
        f"{f.orders} orders are on the topic, {f.taken} were taken": f.orders != f.taken,
        f"{f.lost} orders were never billed": f.lost > 0,
        f"{f.duplicates} orders were billed more than once": f.duplicates > 0,
        f"{f.invoices} invoices stand against {f.orders} orders": f.invoices != f.orders,
        f"{f.billed:.2f} is billed, {f.ordered:.2f} was ordered": f.billed != f.ordered,
        f"{f.notified} mails were sent about {f.orders} orders": f.notified != f.orders,
        f"{f.lag} records are not committed": f.lag > 0,
        f"{f.unsent} records are left in the outbox": f.unsent > 0,
    }
    for service, count in f.dead_letters.items():
        wrong[f"{count} dead letters of {UNDECODABLE} undecodable records in {service}"] = (
            count != UNDECODABLE
        )
    return [text for text, is_wrong in wrong.items() if is_wrong]


def vacuities(
    plan: Plan, at_kill: Figures, figures: Figures, redelivered: int, deduplicated: int
) -> Iterator[str]:
    """Why the run would prove nothing, even if it balanced."""
    if redelivered < 1:
        yield "proves nothing: no order that was billed before the kill came again after it"
    if figures.orders == at_kill.orders:
        yield "proves nothing: no order came after the kill"
    if deduplicated < max(plan.sent_twice, redelivered):
        expected = plan.sent_twice + redelivered
        yield f"proves nothing: {deduplicated} of {expected} second deliveries were recognised"


def run(plan: Plan) -> bool:
    """The whole story; whether it ended well."""
    with ExitStack() as exits:
        print(f"demo: {plan.orders} orders, {plan.rate:.0f} a second at most; starting servers", flush=True)
        stack = exits.enter_context(running_stack(plan))
        demo = Demo(plan, stack, exits)
        victim = demo.open_shop()
        storefront = demo.start_storefront()
        interrupted = demo.kill(victim, before_end_of=storefront)
        at_kill = demo.figures
        demo.start_billing("billing-1-again")
        demo.wait_until_quiet(storefront)
        figures, deduplicated = demo.figures, demo.deduplicated()
        verdict = Verdict(plan, at_kill, figures, interrupted.uncommitted, deduplicated)
        if plan.is_kept:
            verdict.tell()
            demo.keep()
            return not verdict.problems
        demo.say("quiet; the services are told to stop")
    verdict.tell()
    return not verdict.problems


class Verdict:
    """What the figures of a run amount to."""

    def __init__(
        self, plan: Plan, at_kill: Figures, figures: Figures, redelivered: int, deduplicated: int
    ) -> None:
        self._figures = figures
        dead_letters = ",".join(f"{service}={count}" for service, count in figures.dead_letters.items())
        self._proof = (
            f"killed_at={at_kill.invoices}/{plan.orders} redelivered={redelivered} "
            f"deduplicated={deduplicated} notified={figures.notified} dead_letters{{{dead_letters}}}"
        )
        self.problems = [
            *imbalances(plan, figures),
            *vacuities(plan, at_kill, figures, redelivered, deduplicated),
        ]

    def tell(self) -> None:
        """The last two lines."""
        print(f"proof: {self._proof}")
        if self.problems:
            print(f"demo: FAILED {self._figures}: {'; '.join(self.problems)}", flush=True)
        else:
            print(f"demo: ok {self._figures}", flush=True)


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
    except (
        Failed,
        RecordsDropped,
        ServerFailed,
        OttlaError,
        KafkaException,
        psycopg.Error,
        httpx.HTTPError,
    ) as error:
        print(f"demo: FAILED {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
