from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from ottla.core.decide import Reason
from ottla.core.headers import Hop, Origin, dead_letter_headers
from ottla.core.letters import Letter, told_by
from ottla.core.provenance import read_provenance, read_retry
from ottla.core.replay import (
    Refused,
    ReplayRequest,
    Send,
    Skipped,
    Stamp,
    Target,
    Verdict,
    Way,
    choose_target,
    judge,
    replay_headers,
)
from ottla.core.replay_ledger import Entry, State
from ottla.records import Headers
from tests.support.spring_records import captured

DAY_MS = 86_400_000
NOW = 1_800_000_000_000
ORIGIN = Origin("orders", 3, 41, NOW - DAY_MS, 1, "billing")
REQUEST = ReplayRequest(now_ms=NOW, window_ms=7 * DAY_MS)
STAMP = Stamp("r-1", "ann@host", "2027-01-15T08:00:00.000Z", NOW)
SPRING = {case: record.headers for case, record in captured().items()}


def ours(hop: Hop | None = None, origin: Origin = ORIGIN) -> Headers:
    return dead_letter_headers(Headers([("trace", b"1")]), origin, Reason.EXHAUSTED, ValueError("no"), hop)


def letter_of(headers: Headers | None, topic: str = "orders-billing-dlt") -> Letter:
    return Letter(topic, 3, 17, NOW - DAY_MS, b"o-1", b"{}", headers, told_by(headers))


PLAIN, OVER_RETRIES = letter_of(ours()), letter_of(ours(Hop(3, NOW - DAY_MS, NOW - DAY_MS)))
SPRING_PLAIN = letter_of(SPRING["failing listener"], "sk.orders-dlt")
SPRING_OVER_RETRIES = letter_of(SPRING["dead letter of retry topics"], "sk.pay-dlt")


def on_cluster(*names: str) -> dict[str, int]:
    return dict.fromkeys((*names, "orders-billing-dlt", "sk.orders-dlt", "sk.pay-dlt"), 6)


@pytest.mark.parametrize(
    ("letter", "there", "target"),
    [
        (PLAIN, ["orders"], Target("orders-billing-replay", Way.REPLAY, 6)),
        (PLAIN, ["orders", "orders-billing-replay"], Target("orders-billing-replay", Way.REPLAY)),
        (PLAIN, [], Target("orders-billing-replay", Way.REPLAY, 6)),
        (
            PLAIN,
            ["orders", "orders-billing-retry-2000", "orders-billing-retry-10000", "orders-billing-replay"],
            Target("orders-billing-retry-2000", Way.RETRY),
        ),
        (PLAIN, ["orders", "orders-billing-retry"], Target("orders-billing-retry", Way.RETRY)),
        (
            PLAIN,
            ["orders", "orders-billing-retry-1", "orders-billing-retry-0"],
            Target("orders-billing-retry-0", Way.RETRY),
        ),
        # Retry topics that groups share are another group's, when ours had none.
        (PLAIN, ["orders", "orders-retry-1000"], Target("orders-billing-replay", Way.REPLAY, 6)),
        (PLAIN, ["orders", "orders-mail-retry-1000"], Target("orders-billing-replay", Way.REPLAY, 6)),
        (PLAIN, ["orders", "orders-billing-retry-soon"], Target("orders-billing-replay", Way.REPLAY, 6)),
        (
            PLAIN,
            ["orders", "orders-billing-retry-5-retry-1"],
            Target("orders-billing-replay", Way.REPLAY, 6),
        ),
        (OVER_RETRIES, ["orders", "orders-retry-1000"], Target("orders-retry-1000", Way.RETRY)),
        (
            OVER_RETRIES,
            ["orders-retry-1", "orders-billing-retry-9"],
            Target("orders-billing-retry-9", Way.RETRY),
        ),
        (
            SPRING_OVER_RETRIES,
            ["sk.pay", "sk.pay-retry-2000", "sk.pay-retry-1000"],
            Target("sk.pay-retry-1000", Way.RETRY),
        ),
        (
            SPRING_OVER_RETRIES,
            ["sk.pay-retry-2000-1", "sk.pay-retry-2000-0"],
            Target("sk.pay-retry-2000-0", Way.RETRY),
        ),
    ],
)
def test_a_replay_goes_to_the_group_that_failed(letter: Letter, there: Iterable[str], target: Target) -> None:
    assert choose_target(letter, on_cluster(*there), REQUEST) == target


@pytest.mark.parametrize("letter", [SPRING_PLAIN, SPRING_OVER_RETRIES], ids=["plain", "retries"])
def test_a_group_of_springs_without_retry_topics_is_refused_unless_all_groups_may_get_it(
    letter: Letter,
) -> None:
    topic = letter.told.topic or ""
    all_groups = replace(REQUEST, to_all_groups=True)

    refused = choose_target(letter, on_cluster(topic), REQUEST)

    assert isinstance(refused, Refused)
    assert "--to-all-groups" in refused.why
    assert choose_target(letter, on_cluster(topic), all_groups) == Target(topic, Way.MAIN)
    assert isinstance(choose_target(letter, on_cluster(), all_groups), Refused)


def test_asking_for_all_groups_changes_nothing_where_the_group_alone_can_be_reached() -> None:
    target = choose_target(PLAIN, on_cluster("orders"), replace(REQUEST, to_all_groups=True))

    assert target == Target("orders-billing-replay", Way.REPLAY, 6)


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (Headers(), "no header tells which topic"),
        (Headers([("kafka_dlt-original-topic", b"orders")]), "no header tells which group"),
        (Headers([("kafka_dlt-original-consumer-group", b"billing")]), "no header tells which topic"),
        (None, "not UTF-8"),
    ],
)
def test_what_tells_of_no_origin_is_refused(headers: Headers | None, said: str) -> None:
    verdict = judge(letter_of(headers), None, on_cluster("orders"), REQUEST)

    assert isinstance(verdict, Refused)
    assert said in verdict.why


@pytest.mark.parametrize(
    ("to", "way"), [("elsewhere", Way.GIVEN), ("orders-retry-0", Way.RETRY), ("x-replay", Way.GIVEN)]
)
def test_a_topic_that_is_named_is_taken(to: str, way: Way) -> None:
    request = replace(REQUEST, to=to)

    assert choose_target(letter_of(Headers()), on_cluster(to), request) == Target(to, way)


def entry(state: State) -> Entry:
    return Entry(state, "ann@host", "then", "r-0" if state is not State.DISCARDED else None)


THERE = Target("orders-billing-replay", Way.REPLAY, 6)


@pytest.mark.parametrize(
    ("known", "again", "verdict"),
    [
        (None, False, Send(THERE)),
        (State.SENDING, False, Send(THERE, "r-0", is_again=True)),
        (State.SENT, False, Skipped(State.SENT)),
        (State.DISCARDED, False, Skipped(State.DISCARDED)),
        (State.SENT, True, Send(THERE, is_again=True)),
        (State.DISCARDED, True, Send(THERE, is_again=True)),
        (State.SENDING, True, Send(THERE, "r-0", is_again=True)),
    ],
)
def test_the_ledger_decides_what_is_still_to_be_sent(
    known: State | None, *, again: bool, verdict: Verdict
) -> None:
    request = replace(REQUEST, again=again)

    assert judge(PLAIN, entry(known) if known else None, on_cluster("orders"), request) == verdict


@pytest.mark.parametrize(
    ("letter", "age_ms", "force", "is_refused"),
    [
        (PLAIN, 7 * DAY_MS, False, False),
        (PLAIN, 7 * DAY_MS + 1, False, True),
        (PLAIN, 7 * DAY_MS + 1, True, False),
        (PLAIN, None, False, True),
        (PLAIN, None, True, False),
        (SPRING_OVER_RETRIES, 365 * DAY_MS, False, False),
    ],
)
def test_what_the_inbox_may_have_forgotten_is_refused_unless_forced(
    letter: Letter, age_ms: int | None, *, force: bool, is_refused: bool
) -> None:
    aged = replace(letter, timestamp_ms=None if age_ms is None else NOW - age_ms)

    verdict = judge(aged, None, on_cluster("orders", "sk.pay-retry"), replace(REQUEST, force=force))

    assert isinstance(verdict, Refused) is is_refused


def test_what_was_sent_long_ago_is_skipped_and_not_refused() -> None:
    aged = replace(PLAIN, timestamp_ms=0)

    assert judge(aged, entry(State.SENT), on_cluster("orders"), REQUEST) == Skipped(State.SENT)


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("letter", [PLAIN, OVER_RETRIES, SPRING_PLAIN, SPRING_OVER_RETRIES])
def test_the_letters_own_headers_stay_and_tell_the_same(letter: Letter, way: Way) -> None:
    headers = replay_headers(letter, Target("t", way), STAMP)

    own = letter.headers or Headers()
    assert headers[: len(own)] == own
    assert headers[len(own) :][:3] == (
        ("ottla-replay-id", b"r-1"),
        ("ottla-replayed-by", b"ann@host"),
        ("ottla-replayed-at", b"2027-01-15T08:00:00.000Z"),
    )
    assert read_provenance(headers) == letter.told


@pytest.mark.parametrize(
    ("letter", "first_seen_ms"),
    [(PLAIN, NOW - DAY_MS), (OVER_RETRIES, NOW - DAY_MS), (SPRING_OVER_RETRIES, 0x1A2069A69B6)],
)
def test_on_a_retry_topic_it_is_a_first_attempt_that_is_due_now_of_a_record_as_old_as_it_was(
    letter: Letter, first_seen_ms: int
) -> None:
    headers = replay_headers(letter, Target("orders-retry-0", Way.RETRY), STAMP)

    state = read_retry(headers, now_ms=NOW)

    assert (state.attempt, state.first_seen_ms, state.due_ms) == (1, first_seen_ms, NOW)


@pytest.mark.parametrize("way", [Way.GIVEN, Way.REPLAY, Way.MAIN])
def test_elsewhere_nothing_is_said_of_retries(way: Way) -> None:
    headers = replay_headers(PLAIN, Target("t", way), STAMP)

    assert not [name for name, _ in headers if name.startswith("retry_topic-")]


def test_a_letter_that_was_replayed_twice_tells_of_both_and_the_last_counts() -> None:
    once = replay_headers(PLAIN, THERE, STAMP)
    second = replace(STAMP, replay_id="r-2", by="bob@host")

    twice = replay_headers(replace(PLAIN, headers=once), THERE, second)

    assert twice.all("ottla-replay-id") == (b"r-1", b"r-2")
    assert twice.text("ottla-replayed-by") == "bob@host"
