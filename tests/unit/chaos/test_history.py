"""A history survives the death of its process, but for a line that was cut off."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.evidence import calls
from tests.chaos.history import History, Tail, read

WHERE = {"group": "bank-7", "topic": "transfers-7", "partition": 1, "offset": 5, "epoch": 2, "key": "anna"}


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "bank-0.jsonl"
    History(path).note("begin", offset=1)
    with path.open("ab") as file:
        file.write(b'{"at": 12.5, "wha')

    assert [line["what"] for line in read(path)] == ["begin"]


def test_a_tail_tells_only_what_came_since(tmp_path: Path) -> None:
    old, new = History(tmp_path / "bank-0.jsonl"), History(tmp_path / "bank-1.jsonl")
    old.note("before")
    tail = Tail(tmp_path, "bank-*.jsonl")
    old.note("after")
    new.note("begin")

    told = [(name, line["what"]) for name, line in tail.new()]

    assert told == [("bank-0", "after"), ("bank-1", "begin")]
    assert list(tail.new()) == []


def test_a_call_in_which_its_process_died_has_no_end(tmp_path: Path) -> None:
    history = History(tmp_path / "bank-0.jsonl")
    history.note("begin", **WHERE, attempt=1, event_id="e")
    history.note("end", **WHERE, attempt=1, outcome="Failed")
    history.note("begin", **WHERE, attempt=2, event_id="e")

    first, second = calls([tmp_path / "bank-0.jsonl"], "-7")

    assert (first.group, first.topic, first.outcome) == ("bank", "transfers", "Failed")
    assert (second.attempt, second.ends, second.outcome) == (2, None, None)
