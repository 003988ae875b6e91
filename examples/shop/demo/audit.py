"""The figures of a run, counted from the topics, the database and the mail server, and from nothing else."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType
from typing import NamedTuple, Self, cast

import httpx
import psycopg
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from psycopg import sql
from pydantic import ValidationError

from examples.shop.contracts import OrderCreated
from examples.shop.demo.stack import BILLING, PARTITIONS, Stack
from ottla.ports import Message

_ASK_S = 10.0
_POLL_S = 1.0
_AGAIN_S = 0.1
_NOT_YET = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
"""What a broker says that has just started."""
_COORDINATES = ("topic", "partition", "offset")


class Where(NamedTuple):
    """Where a record stands in its topic."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What can be counted at one moment."""

    taken: int
    """Orders that the orders service has stored."""
    orders: int
    """Distinct order ids on the topic."""
    ordered: Decimal
    """The sum of their amounts."""
    invoices: int
    billed: Decimal
    duplicates: int
    """Orders with more than one invoice."""
    notified: int
    """Mails that were sent: one for each idempotency key."""
    dead_letters: Mapping[str, int]
    """By service: the distinct coordinates that the dead letters of its group come from."""
    lost: int
    """Orders without invoice."""
    lag: int
    """Of both groups together."""
    unsent: int
    """Records in the outbox."""

    def __str__(self) -> str:
        return (
            f"orders={self.orders} invoices={self.invoices} billed={self.billed:.2f} "
            f"duplicates={self.duplicates} dead_letters={sum(self.dead_letters.values())} lost={self.lost}"
        )


class Interrupted(NamedTuple):
    """What a process that stands still has half done."""

    uncommitted: int
    """Orders that it billed, and whose offset is not committed: they come again."""
    unbilled: int
    """Orders whose offset is committed, and that nobody billed: a correct service has none."""


class RecordsDropped(Exception):
    """The broker has removed records before they were counted."""


class Audit:
    """Follows the orders, their dead letters, both groups' offsets, the tables and the mail."""

    def __init__(self, stack: Stack) -> None:
        self._orders = _Follower(stack.client, stack.orders)
        self._dead_letters = {
            service: _DeadLetters(stack.client, topic, stack.groups[service])
            for service, topic in stack.dead_letters.items()
        }
        self._offsets = {
            service: Consumer(
                {**stack.client, "group.id": group, "enable.auto.commit": False, "log_level": 3}
            )
            for service, group in stack.groups.items()
        }
        self._topic = stack.orders
        self._mail = httpx.Client(base_url=stack.mail_url, timeout=_ASK_S)
        self._count_unsent = sql.SQL("SELECT count(*) FROM {}").format(
            sql.Identifier(*stack.outbox.split("."))
        )
        self._database = psycopg.connect(stack.database_url, autocommit=True)
        self._placed: dict[str, tuple[Where, Decimal]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._database.close()
        self._mail.close()
        followers = (self._orders, *self._dead_letters.values())
        for close in (
            *(follower.close for follower in followers),
            *(c.close for c in self._offsets.values()),
        ):
            close()

    def look(self) -> Figures:
        """Count."""
        # From the end of a record's road to its beginning: else there were invoices of orders not seen yet,
        # and a lag that is told too small, which would end the run early.
        committed = [self._committed(service) for service in self._offsets]
        notified = int(self._mail.get("/counts").json()["sent"])
        amounts = self._database.execute("SELECT order_id, amount_usd FROM invoice").fetchall()
        self._read_orders()
        (unsent,) = self._database.execute(self._count_unsent).fetchone() or (0,)
        (taken,) = self._database.execute("SELECT count(*) FROM shop_order").fetchone() or (0,)
        invoices = Counter(order_id for order_id, _ in amounts)
        return Figures(
            taken=taken,
            orders=len(self._placed),
            ordered=sum((amount for _, amount in self._placed.values()), Decimal(0)),
            invoices=len(amounts),
            billed=sum((amount for _, amount in amounts), Decimal(0)),
            duplicates=sum(count > 1 for count in invoices.values()),
            notified=notified,
            dead_letters={service: letters.count() for service, letters in self._dead_letters.items()},
            lost=len(self._placed.keys() - invoices.keys()),
            lag=sum(
                end - at for offsets in committed for end, at in zip(self._orders.ends, offsets, strict=True)
            ),
            unsent=unsent,
        )

    def interrupted(self, pid: int) -> Interrupted:
        """What billing's process `pid`, which stands still or is dead, has done by halves."""
        committed = self._committed(BILLING)
        self._read_orders()
        rows = self._database.execute("SELECT order_id, issued_by FROM invoice ORDER BY id DESC").fetchall()
        issuer: dict[str, int] = dict(rows)  # of the first invoice of each order
        billed = {self._placed[order][0]: by for order, by in issuer.items() if order in self._placed}
        owner = {where.partition: billed[where] for where in sorted(billed)}  # who billed the latest
        return Interrupted(
            uncommitted=sum(
                by == pid and where.offset >= committed[where.partition] for where, by in billed.items()
            ),
            unbilled=sum(
                owner.get(where.partition) == pid
                and where.offset < committed[where.partition]
                and where not in billed
                for where, _ in self._placed.values()
            ),
        )

    def _read_orders(self) -> None:
        for message in self._orders.catch_up():
            try:
                order = OrderCreated.model_validate_json(message.value() or b"")
            except ValidationError:
                continue
            where = Where(message.partition(), message.offset())
            self._placed.setdefault(order.order_id, (where, order.amount_usd))

    def _committed(self, service: str) -> list[int]:
        """Per partition; 0 where nothing is committed, since the topics of a run begin at 0."""
        asked = [TopicPartition(self._topic, number) for number in range(PARTITIONS)]
        deadline = time.monotonic() + _ASK_S
        while True:
            try:
                answers = self._offsets[service].committed(asked, timeout=_ASK_S)
                return [max(0, answer.offset) for answer in answers]
            except KafkaException as error:
                if error.args[0].code() not in _NOT_YET or time.monotonic() > deadline:
                    raise
            time.sleep(_AGAIN_S)


class _Follower:
    """Reads one topic from its beginning, again and again up to its end."""

    def __init__(self, client: dict[str, str], topic: str) -> None:
        self._topic = topic
        self._consumer = Consumer(
            {
                **client,
                "group.id": f"audit-{uuid.uuid4().hex[:8]}",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 20,
                "log_level": 3,
            }
        )
        self._next = [0] * PARTITIONS
        self.ends = [0] * PARTITIONS
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])

    def catch_up(self) -> list[Message]:
        """What is new, up to the ends that the topic has now."""
        for number in range(PARTITIONS):
            low, self.ends[number] = self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, number), timeout=_ASK_S
            )
            if low:
                raise RecordsDropped(
                    f"the broker has dropped the records of {self._topic}-{number} below offset {low}: "
                    "take fewer orders, or a real broker (BROKER=kafka)"
                )
        found: list[Message] = []
        while any(at < end for at, end in zip(self._next, self.ends, strict=True)):
            first = self._consumer.poll(_POLL_S)  # `consume` alone would wait for a full batch
            batch = [] if first is None else [first, *self._consumer.consume(1000, 0)]
            for polled in batch:
                if (error := polled.error()) is not None:
                    raise KafkaException(error)
                message = cast("Message", polled)
                self._next[message.partition()] = message.offset() + 1
                found.append(message)
        return found

    def close(self) -> None:
        """Forget it."""
        self._consumer.close()


class _DeadLetters(_Follower):
    """Of one group: where they come from."""

    def __init__(self, client: dict[str, str], topic: str, group: str) -> None:
        super().__init__(client, topic)
        self._group = group.encode()
        self._origins: set[tuple[bytes | None, ...]] = set()

    def count(self) -> int:
        """How many records became dead letters; one that stands there twice counts once."""
        for message in self.catch_up():
            headers = dict(message.headers() or ())
            if headers.get("kafka_dlt-original-consumer-group") == self._group:
                self._origins.add(tuple(headers[f"kafka_dlt-original-{part}"] for part in _COORDINATES))
        return len(self._origins)
