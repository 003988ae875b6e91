from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottla.core.letters import Letter, told_by
from ottla.core.replay_ledger import (
    Entry,
    State,
    decode_entry,
    encode_entry,
    entry_key,
    fold,
    ledger_topic,
)
from ottla.records import Headers

LETTER = Letter("orders-billing-dlt", 1, 17, 5_000, None, None, None, told_by(None))
TEXTS = st.none() | st.text()
ENTRIES = st.builds(Entry, st.sampled_from(State), st.text(), st.text(), TEXTS, TEXTS, TEXTS)


@given(ENTRIES)
def test_an_entry_is_read_as_it_was_written(entry: Entry) -> None:
    assert decode_entry(encode_entry(entry)) == entry


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        b"{}",
        b'{"state": "lost", "by": "a", "at": "b"}',
        b'{"state": "sent", "at": "b"}',
        b'{"state": "sent", "by": 1, "at": "b"}',
        b'{"state": "sent", "by": "a", "at": "b", "target": []}',
        b'{"state": [], "by": "a", "at": "b"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_entry_is_none(raw: bytes) -> None:
    assert decode_entry(raw) is None


def test_a_letter_of_a_topic_made_anew_is_another_one() -> None:
    keys = {entry_key(letter) for letter in (LETTER, replace(LETTER, timestamp_ms=5_001))}

    assert keys == {b"orders-billing-dlt/1/17/5000", b"orders-billing-dlt/1/17/5001"}
    assert entry_key(replace(LETTER, timestamp_ms=None)) == b"orders-billing-dlt/1/17/none"


def test_a_group_has_one_ledger_and_a_letter_without_group_that_of_its_topic() -> None:
    headers = Headers([("kafka_dlt-original-consumer-group", b"billing")])

    assert ledger_topic(replace(LETTER, told=told_by(headers))) == "billing-replays"
    assert ledger_topic(LETTER) == "orders-billing-dlt-replays"


KEYS = st.none() | st.sampled_from([b"a", b"b", b"c"])


@given(st.lists(st.tuples(KEYS, st.none() | st.just(b"no entry") | ENTRIES.map(encode_entry))))
def test_what_was_written_last_counts_and_what_is_no_entry_does_not(
    records: list[tuple[bytes | None, bytes | None]],
) -> None:
    def last(key: bytes) -> Entry | None:
        values = [value for each, value in records if each == key and value != b"no entry"]
        return decode_entry(values[-1]) if values and values[-1] is not None else None

    folded = fold(records)

    assert {key: folded.get(key) for key in (b"a", b"b", b"c")} == {k: last(k) for k in (b"a", b"b", b"c")}
    assert None not in folded.values()
