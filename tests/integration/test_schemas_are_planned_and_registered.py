"""`ottla schemas plan` and `register`: a registry gets what an app's topics need, and nothing by the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
import uuid
from typing import NamedTuple

from ottla.embedded.guarded import free_port
from tests.support.apicurio import Apicurio
from tests.support.kafka_server import ROOT

SHOP = "examples.shop.billing.app:app"


class Done(NamedTuple):
    code: int
    lines: list[str]
    errors: str


def schemas(command: str, url: str | None, **topics: str) -> Done:
    """The command for the shop's billing, whose topics have names of the test's own."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KAFKA_", "OTTLA_", "DATABASE_", "TOPICS__", "SCHEMA_REGISTRY_"))
    }
    environment = {
        **inherited,
        "KAFKA_BOOTSTRAP_SERVERS": "localhost",
        "OTTLA_CONFIG": os.devnull,
        **({} if url is None else {"SCHEMA_REGISTRY_URL": url}),
        **{f"TOPICS__{name.upper()}": real for name, real in topics.items()},
    }
    code = "from ottla.cli.main import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code, "schemas", command, SHOP],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Done(ended.returncode, ended.stdout.splitlines(), ended.stderr)


def test_what_is_planned_is_registered_and_then_in_order(apicurio: Apicurio) -> None:
    own = uuid.uuid4().hex
    topics = {"orders": f"orders-{own}", "invoices": f"invoices-{own}"}

    planned = schemas("plan", apicurio.url, **topics)
    registered = schemas("register", apicurio.url, **topics)
    again = schemas("register", apicurio.url, **topics)
    afterwards = schemas("plan", apicurio.url, **topics)

    assert (planned.code, planned.lines) == (
        2,
        [
            f"register invoices-{own}-value: the first version (compatibility BACKWARD)",
            f"register orders-{own}-value: the first version (compatibility BACKWARD)",
            "schemas: plan register=2 ok=0 refuse=0",
        ],
    )
    assert (registered.code, registered.lines[-1]) == (0, "schemas: registered register=2 ok=0 refuse=0")
    assert (again.code, again.lines[-1]) == (0, "schemas: registered register=0 ok=2 refuse=0")
    assert (afterwards.code, afterwards.lines[-1]) == (0, "schemas: plan register=0 ok=2 refuse=0")


def test_what_readers_could_not_read_is_refused_and_holds_up_no_other(apicurio: Apicurio) -> None:
    own = uuid.uuid4().hex
    topics = {"orders": f"orders-{own}", "invoices": f"invoices-{own}"}
    body = json.dumps({"schema": json.dumps({"type": "record", "name": "OrderCreated", "fields": []})})
    request = urllib.request.Request(
        f"{apicurio.url}/subjects/orders-{own}-value/versions",
        data=body.encode(),
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=10).close()

    planned = schemas("plan", apicurio.url, **topics)
    registered = schemas("register", apicurio.url, **topics)

    assert (planned.code, registered.code) == (1, 1)
    assert "field order_id is new and has no default" in "\n".join(planned.lines)
    assert planned.lines[-1] == "schemas: plan register=1 ok=0 refuse=1"
    assert registered.lines[-1] == "schemas: registered register=1 ok=0 refuse=1"
    assert "not compatible with what is registered" in registered.errors


def test_a_registry_that_is_away_and_none_at_all_are_told_apart() -> None:
    away = schemas("plan", f"http://127.0.0.1:{free_port()}")
    none = schemas("plan", None)

    assert away.code == 1
    assert "gives no answer" in away.errors
    assert (none.code, none.lines) == (0, ["schemas: plan register=0 ok=0 refuse=0"])
