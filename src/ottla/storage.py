"""What an app keeps in PostgreSQL: its transactions, its inbox, and its outbox with the relay."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import timedelta

from ottla.assembly import Shared
from ottla.errors import Unavailable
from ottla.kafka.topic_limits import TopicLimits
from ottla.postgres.database import Database, DatabaseSettings
from ottla.postgres.inbox import PostgresInbox
from ottla.postgres.outbox import PostgresOutbox
from ottla.postgres.transactions import PostgresTransactions
from ottla.runtime.lifecycle import supervise
from ottla.runtime.relay import Relay
from ottla.settings import Settings
from ottla.transaction import Outgoing

_log = logging.getLogger("ottla")

_PRUNE_EVERY_S = 600.0


class Storage:
    """Of an app that is called `name`; `threads` of its connections are for `def` handlers.

    The relay is to be stopped before the producer is closed, and that before the storage.
    """

    def __init__(self, name: str, shared: Shared, *, threads: int) -> None:
        settings = shared.cluster.settings
        check = TopicLimits(shared.cluster)

        def new_outgoing() -> Outgoing:
            return Outgoing(shared.template, check)

        self._name = name
        self._group = shared.group
        self._dedup_window = timedelta(days=settings.dedup_window_days)
        self._on_crash = shared.on_fatal
        self._database = Database(_url(settings), _database_settings(settings, threads))
        self.outbox = PostgresOutbox(self._database)
        self.transactions = PostgresTransactions(self._database, self.outbox, new_outgoing)
        self.relay = Relay(
            f"{name} outbox", self.outbox, shared.producer, health=shared.health, on_crash=shared.on_fatal
        )
        self.inbox = PostgresInbox(self._database, new_outgoing, self.relay.nudge)
        self._pruning: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Make the pools of connections; none is opened yet."""
        await self._database.open()

    async def check(self) -> None:
        """Raise an `Unavailable` unless the database answers and has our tables."""
        await self._database.check()

    def begin(self) -> None:
        """Relay what is stored, and forget old event ids now and then. Once `check` has found the tables."""
        self.relay.start()
        name = f"{self._name} inbox pruning"
        self._pruning = supervise(self._prune(), name=name, on_crash=self._on_crash)

    async def close(self) -> None:
        """End all connections at once."""
        if self._pruning is not None:
            self._pruning.cancel()
        await self._database.close()  # whatever was asked on them is answered by that
        if self._pruning is not None:
            await asyncio.gather(self._pruning, return_exceptions=True)

    async def _prune(self) -> None:
        """Forget event ids beyond the dedup window, each process at its own time."""
        while True:
            await asyncio.sleep(_PRUNE_EVERY_S * random.uniform(0.5, 1.5))  # noqa: S311  (no secret)
            try:
                await self.inbox.prune(self._group, self._dedup_window)
            except Unavailable as error:
                _log.warning("the inbox was not pruned, later again: %s", error)


def _url(settings: Settings) -> str:
    assert settings.database_url is not None  # noqa: S101  (checked with the wiring)
    return settings.database_url.get_secret_value()


def _database_settings(settings: Settings, threads: int) -> DatabaseSettings:
    return DatabaseSettings(
        schema=settings.database_schema,
        connections=settings.database_connections,
        threads=threads,
        relay=True,
        lock_timeout_s=settings.database_lock_timeout_s,
        idle_in_transaction_s=settings.database_idle_in_transaction_s,
        unanswered_s=settings.database_unanswered_s,
    )
