"""The tutorial, from its files as they stand on the page to the dead letter that it looks at."""

from __future__ import annotations

from pathlib import Path

from tests.support.dev import ottla, ottla_dev, write_files
from tests.support.pages import ROOT


def test_an_event_sent_twice_is_booked_once_and_a_failing_one_can_be_looked_at(tmp_path: Path) -> None:
    write_files(ROOT / "docs" / "tutorial" / "first-service.md", tmp_path)

    with ottla_dev("ledger:app", tmp_path) as dev:
        dev.wait_until(lambda: "assigned payments-0@0" in dev.output())
        dev.run("make_table.py")
        sent = [dev.run("pay.py", *payment) for payment in (("p-1", "999"), ("p-1", "999"), ("p-2", "-5"))]
        dev.wait_until(lambda: "went to the dead-letter topic after 5 attempts" in dev.output())
        listed = dev.run(*ottla("dlt", "list", "payments-ledger-dlt"))
        shown = dev.run(*ottla("dlt", "show", "payments-ledger-dlt"))

    assert "topic='payments', partition=4, offset=0" in sent[0]
    assert dev.output().count("booked p-1: 999 cents") == 1
    assert "booked p-2" not in dev.output()
    assert listed.splitlines()[-1] == "dlt: listed=1"
    assert "  cause      psycopg.errors.CheckViolation\n" in shown
    assert "  reason     attempts exhausted\n" in shown
    assert '{\n  "payment_id": "p-2",\n  "cents": -5\n}\n' in shown
