"""What every inbox promises. An implementation subclasses it and gives the fixtures `inbox` and `ledger`."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol

import pytest

from ottla import ports
from ottla.errors import DeadLetter, Retry, Skip
from ottla.ports import Claim, InboxKey
from ottla.records import EncodedRecord, Headers
from ottla.transaction import Transaction


class Inbox(ports.Inbox, Protocol):
    """The port, and what the app asks of an inbox from time to time."""

    async def prune(self, group: str, older_than: timedelta, *, batch: int = 1000) -> int: ...


class Ledger(ABC):
    """Effects written through a transaction, and what of them can be seen from outside."""

    @abstractmethod
    async def write(self, tx: Transaction) -> None: ...

    @abstractmethod
    def write_in_thread(self, tx: Transaction[Any]) -> None: ...

    @abstractmethod
    def effects(self) -> list[str]: ...

    @abstractmethod
    def letters(self) -> list[bytes]:
        """The values of what is stored in the outbox."""

    @abstractmethod
    def grow_old(self, key: InboxKey) -> None:
        """Make the event look as if it had ended eight days ago."""


def key(event_id: str = "order-1", *, listener: str = "billing", content: int = 1) -> InboxKey:
    return InboxKey(listener, event_id, bytes([content]) * 32)


LETTER = EncodedRecord("orders-billing-dlt", b"key", b"letter", Headers((("reason", None),)), 3)


class HandlerFailed(Exception):
    pass


class InboxContract:
    async def test_the_first_delivery_takes_effect_and_the_second_does_not(
        self, inbox: Inbox, ledger: Ledger
    ) -> None:
        first = await inbox.once(key(), ledger.write)
        second = await inbox.once(key(), ledger.write)

        assert (first, second) == (Claim.FRESH, Claim.DONE)
        assert ledger.effects() == ["order-1"]

    async def test_a_thread_and_a_task_see_the_same_rows(self, inbox: Inbox, ledger: Ledger) -> None:
        first = await asyncio.to_thread(inbox.once_in_thread, key("a"), ledger.write_in_thread)
        second = await inbox.once(key("a"), ledger.write)
        third = await inbox.once(key("b"), ledger.write)
        fourth = await asyncio.to_thread(inbox.once_in_thread, key("b"), ledger.write_in_thread)

        assert [first, second, third, fourth] == [Claim.FRESH, Claim.DONE, Claim.FRESH, Claim.DONE]
        assert ledger.effects() == ["a", "b"]

    async def test_each_listener_has_its_own_rows(self, inbox: Inbox, ledger: Ledger) -> None:
        first = await inbox.once(key(listener="billing"), ledger.write)
        second = await inbox.once(key(listener="shipping"), ledger.write)

        assert (first, second) == (Claim.FRESH, Claim.FRESH)

    async def test_an_event_id_with_other_content_is_told_apart(self, inbox: Inbox, ledger: Ledger) -> None:
        await inbox.once(key(content=1), ledger.write)

        assert await inbox.once(key(content=2), ledger.write) is Claim.REUSED
        assert await inbox.bury(key(content=2), LETTER) is Claim.REUSED
        assert ledger.effects() == ["order-1"]
        assert ledger.letters() == [b"letter"]

    @pytest.mark.parametrize("raised", [HandlerFailed("no"), Skip("not ours"), Retry(), DeadLetter("broken")])
    async def test_what_the_body_raises_is_raised_and_nothing_remains(
        self, inbox: Inbox, ledger: Ledger, raised: Exception
    ) -> None:
        async def fail(tx: Transaction) -> None:
            await ledger.write(tx)
            raise raised

        with pytest.raises(type(raised)) as caught:
            await inbox.once(key(), fail)

        assert caught.value is raised
        assert ledger.effects() == []
        assert await inbox.once(key(), ledger.write) is Claim.FRESH

    async def test_what_a_body_in_a_thread_raises_is_raised_and_nothing_remains(
        self, inbox: Inbox, ledger: Ledger
    ) -> None:
        raised = HandlerFailed("no")

        def fail(tx: Transaction[Any]) -> None:
            ledger.write_in_thread(tx)
            raise raised

        with pytest.raises(HandlerFailed) as caught:
            await asyncio.to_thread(inbox.once_in_thread, key(), fail)

        assert caught.value is raised
        assert ledger.effects() == []
        assert await asyncio.to_thread(inbox.once_in_thread, key(), ledger.write_in_thread) is Claim.FRESH

    async def test_a_delivery_during_another_waits_and_finds_it_done(
        self, inbox: Inbox, ledger: Ledger
    ) -> None:
        is_open, may_end = asyncio.Event(), asyncio.Event()

        async def slow(tx: Transaction) -> None:
            await ledger.write(tx)
            is_open.set()
            await may_end.wait()

        first = asyncio.create_task(inbox.once(key(), slow))
        await is_open.wait()
        second = asyncio.create_task(inbox.once(key(), ledger.write))
        await inbox.once(key("another"), ledger.write)
        may_end.set()

        assert [await first, await second] == [Claim.FRESH, Claim.DONE]
        assert sorted(ledger.effects()) == ["another", "order-1"]

    async def test_a_delivery_during_one_that_fails_takes_effect(self, inbox: Inbox, ledger: Ledger) -> None:
        is_open, may_end = asyncio.Event(), asyncio.Event()

        async def fail(tx: Transaction) -> None:
            is_open.set()
            await may_end.wait()
            raise HandlerFailed

        first = asyncio.create_task(inbox.once(key(), fail))
        await is_open.wait()
        second = asyncio.create_task(inbox.once(key(), ledger.write))
        may_end.set()

        with pytest.raises(HandlerFailed):
            await first
        assert await second is Claim.FRESH
        assert ledger.effects() == ["order-1"]

    async def test_many_deliveries_of_many_events_at_once_take_effect_once_each(
        self, inbox: Inbox, ledger: Ledger
    ) -> None:
        events = [f"order-{number}" for number in range(25)]

        claims = await asyncio.gather(*(inbox.once(key(event), ledger.write) for event in events * 4))

        assert sorted(ledger.effects()) == sorted(events)
        assert claims.count(Claim.FRESH) == 25
        assert claims.count(Claim.DONE) == 75

    async def test_a_buried_event_never_takes_effect_and_has_one_letter(
        self, inbox: Inbox, ledger: Ledger
    ) -> None:
        assert await inbox.bury(key(), LETTER) is Claim.FRESH
        assert await inbox.once(key(), ledger.write) is Claim.DEAD
        assert await inbox.bury(key(), LETTER) is Claim.DEAD

        assert ledger.effects() == []
        assert ledger.letters() == [b"letter"]

    async def test_a_replay_turns_what_is_dead_to_done_once(self, inbox: Inbox, ledger: Ledger) -> None:
        await inbox.bury(key(), LETTER)
        replay = replace(key(), is_replay=True)

        twice = await asyncio.gather(*(inbox.once(replay, ledger.write) for _ in range(2)))

        assert sorted(claim.value for claim in twice) == ["done", "fresh"]
        assert await inbox.once(key(), ledger.write) is Claim.DONE
        assert ledger.effects() == ["order-1"]

    async def test_a_replay_that_fails_leaves_the_event_dead_and_may_be_buried_again(
        self, inbox: Inbox, ledger: Ledger
    ) -> None:
        await inbox.bury(key(), LETTER)
        replay = replace(key(), is_replay=True)

        async def fail(tx: Transaction) -> None:
            await ledger.write(tx)
            raise HandlerFailed

        with pytest.raises(HandlerFailed):
            await inbox.once(replay, fail)
        assert await inbox.bury(replay, LETTER) is Claim.FRESH
        assert await inbox.once(key(), ledger.write) is Claim.DEAD

        assert ledger.effects() == []
        assert ledger.letters() == [b"letter", b"letter"]

    async def test_a_replay_of_other_content_or_of_what_is_done_takes_no_effect(
        self, inbox: Inbox, ledger: Ledger
    ) -> None:
        await inbox.bury(key("dead"), LETTER)
        await inbox.once(key("done"), ledger.write)

        other = await inbox.once(replace(key("dead", content=2), is_replay=True), ledger.write)
        done = await inbox.once(replace(key("done"), is_replay=True), ledger.write)

        assert (other, done) == (Claim.REUSED, Claim.DONE)
        assert ledger.effects() == ["done"]

    async def test_an_event_that_took_effect_is_not_buried(self, inbox: Inbox, ledger: Ledger) -> None:
        await inbox.once(key(), ledger.write)

        assert await inbox.bury(key(), LETTER) is Claim.DONE
        assert await inbox.once(key(), ledger.write) is Claim.DONE
        assert ledger.letters() == []

    async def test_burying_waits_for_an_open_delivery_and_finds_it_done(
        self, inbox: Inbox, ledger: Ledger
    ) -> None:
        is_open, may_end = asyncio.Event(), asyncio.Event()

        async def slow(tx: Transaction) -> None:
            is_open.set()
            await may_end.wait()

        delivery = asyncio.create_task(inbox.once(key(), slow))
        await is_open.wait()
        burial = asyncio.create_task(inbox.bury(key(), LETTER))
        await inbox.once(key("another"), ledger.write)
        may_end.set()

        assert [await delivery, await burial] == [Claim.FRESH, Claim.DONE]

    @pytest.mark.parametrize(
        "event_id", ["", "nul\x00nul", "long" * 5000, "größer 👍 'quoted' \"%s\" :x", "a\nb"]
    )
    async def test_any_text_is_an_event_id(self, inbox: Inbox, ledger: Ledger, event_id: str) -> None:
        async def nothing(tx: Transaction) -> None:
            assert tx.event_id == event_id

        first = await inbox.once(key(event_id), nothing)
        second = await inbox.once(key(event_id), nothing)

        assert (first, second) == (Claim.FRESH, Claim.DONE)

    async def test_event_ids_that_begin_alike_are_told_apart(self, inbox: Inbox, ledger: Ledger) -> None:
        async def nothing(tx: Transaction) -> None: ...

        first = await inbox.once(key("x" * 5000 + "1"), nothing)
        second = await inbox.once(key("x" * 5000 + "2"), nothing)

        assert (first, second) == (Claim.FRESH, Claim.FRESH)

    async def test_a_cancelled_delivery_leaves_nothing(self, inbox: Inbox, ledger: Ledger) -> None:
        is_open = asyncio.Event()

        async def hang(tx: Transaction) -> None:
            await ledger.write(tx)
            is_open.set()
            await asyncio.Event().wait()

        delivery = asyncio.create_task(inbox.once(key(), hang))
        await is_open.wait()
        delivery.cancel()
        with pytest.raises(asyncio.CancelledError):
            await delivery

        assert await inbox.once(key(), ledger.write) is Claim.FRESH
        assert ledger.effects() == ["order-1"]

    async def test_pruning_forgets_what_ended_before_the_window(self, inbox: Inbox, ledger: Ledger) -> None:
        young = key("young", listener="billing/orders")
        old = [key(f"old-{number}", listener="billing/orders") for number in range(7)]
        for each in old:
            await inbox.once(each, ledger.write)
            ledger.grow_old(each)
        await inbox.once(young, ledger.write)

        assert await inbox.prune("billing", timedelta(days=7), batch=3) == 7
        assert await inbox.once(young, ledger.write) is Claim.DONE
        assert await inbox.once(old[0], ledger.write) is Claim.FRESH

    async def test_pruning_forgets_nothing_of_other_groups(self, inbox: Inbox, ledger: Ledger) -> None:
        ours = [key(listener=name) for name in ("billing/orders", "billing/orders-dlt", "billing/renamed")]
        others = [key(listener=name) for name in ("archive/orders", "billing-2/orders", "billing/eu/orders")]
        for each in [*ours, *others]:
            await inbox.once(each, ledger.write)
            ledger.grow_old(each)

        assert await inbox.prune("billing", timedelta(days=7)) == 3
        assert [await inbox.once(each, ledger.write) for each in others] == [Claim.DONE] * 3
        assert await inbox.prune("billing/eu", timedelta(days=7)) == 1
