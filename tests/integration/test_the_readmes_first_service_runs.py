"""The first thing a newcomer does: the README's service under `ottla dev`, its event sent twice.

The files are taken from the page as they stand, so the page cannot fall behind the code.
"""

from __future__ import annotations

from pathlib import Path

import psycopg

from tests.support.apps import committed
from tests.support.dev import ottla_dev, write_files
from tests.support.kafka_server import Kafka
from tests.support.pages import ROOT


def test_the_first_service_of_the_readme_bills_an_event_that_is_sent_twice_once(tmp_path: Path) -> None:
    write_files(ROOT / "README.md", tmp_path)

    with ottla_dev("billing:app", tmp_path) as dev:
        dev.wait_until(lambda: "assigned orders-0@0" in dev.output())
        for _ in range(2):
            dev.run("place.py")
        broker = Kafka(dev.addresses()["KAFKA_BOOTSTRAP_SERVERS"])
        dev.wait_until(lambda: sum(committed(broker, "billing", "orders").values()) == 4)
        with psycopg.connect(dev.addresses()["DATABASE_URL"], autocommit=True) as database:
            rows = database.execute("SELECT order_id, cents FROM invoice").fetchall()

    assert rows == [("o-1", 999)]
