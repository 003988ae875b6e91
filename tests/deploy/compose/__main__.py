"""`make compose-test`: the Compose file brought up, orders posted, services killed, the books balanced.

Where a Docker engine answers it is used, with the official images (STAND_INS=1: without pulling
any). Else one is started here, which needs root, and images are built that stand in for the
official ones. The shop's own image is built in both cases. Everything is removed at the end but
what the next run needs, in `.docker`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import httpx
import psycopg
from confluent_kafka import KafkaException

from ottla.embedded.guarded import ServerFailed
from tests.deploy.compose.commands import Failed, Missing
from tests.deploy.compose.engine import Engine, running_engine
from tests.deploy.compose.parts import BASE, authorities, say, see_to_base, see_to_compose, stand_ins
from tests.deploy.compose.shop import COMPOSE, DEAD_LETTERS, SHOP, Books, Shop
from tests.support.apicurio import ApicurioMissing
from tests.support.kafka_server import KafkaMissing

ORDERS = 200
_BEFORE_RESTART = 180
_KILLED_AT = 40
_AWAY = 20
"""How many orders are to come while billing and the registry are away."""
_RATE = 20
_AGAIN = 10
_FRAME = b"\x00"
"""The first byte of a record whose schema the registry has."""
_SUBJECTS = {"orders-value", "invoices-value"}
_WRITE = (
    "for at in /app /opt/ottla /etc /var/tmp; do if touch $at/x 2>/dev/null; then echo wrote $at; fi; done"
)
_READ = "import sys, urllib.request as h; print(h.urlopen(f'http://{sys.argv[1]}/metrics').read().decode())"
_STAND_INS = Path(__file__).with_name("stand-ins.yaml")
_PROMETHEUS = COMPOSE.parent / "prometheus" / "prometheus.yml"


def prepare(engine: Engine) -> Shop:
    """The project, with whatever this machine lacks seen to."""
    see_to_compose(engine)
    if not (engine.is_ours or os.environ.get("STAND_INS")):
        return Shop(engine, settings={})
    see_to_base(engine)
    settings = {"BASE_IMAGE": BASE, "STAND_INS": str(stand_ins()), "CA_FILE": str(authorities())}
    return Shop(engine, _STAND_INS, settings=settings)


def check_hardening(shop: Shop) -> None:
    """What the engine was told of the services is what the file says."""
    for service in SHOP:
        found = shop.inspect(service)
        host = found["HostConfig"]
        told = {
            "its root file system can be written": not host["ReadonlyRootfs"],
            "it keeps capabilities": host["CapDrop"] != ["ALL"] or bool(host["CapAdd"]),
            "it may gain privileges": "no-new-privileges:true" not in (host["SecurityOpt"] or []),
            "it has no bound on memory": not host["Memory"],
            "it runs as root": found["Config"]["User"].split(":")[0] in {"", "0", "root"},
        }
        if wrong := [what for what, is_so in told.items() if is_so]:
            raise Failed(f"{service}: {', '.join(wrong)}")
    for service in (*SHOP, "kafka", "postgres", "registry"):
        ports = shop.inspect(service)["NetworkSettings"]["Ports"] or {}
        addresses = {published["HostIp"] for all_of in ports.values() for published in all_of or []}
        if addresses - {"127.0.0.1"}:
            raise Failed(f"{service} is published on {addresses}")


def check_tools(shop: Shop) -> None:
    """The image has what it must, and nothing that builds or installs; nothing but /tmp can be written."""
    shop.inside("billing", "ottla", "--version")
    for program in ("gcc", "cc", "make"):
        if "none" not in shop.inside("billing", "sh", "-c", f"command -v {program} || echo none"):
            raise Failed(f"the image has {program}")
    if "none" not in shop.inside(
        "billing", "sh", "-c", "/opt/ottla/bin/python -m pip --version 2>&1 || echo none"
    ):
        raise Failed("the image's environment has pip")
    if "wrote" in (told := shop.inside("billing", "sh", "-c", _WRITE)):
        raise Failed(f"the root file system can be written: {told}")


def check_scraping(shop: Shop) -> None:
    """Every target of Prometheus' file answers with metrics."""
    targets = re.findall(r'"([a-z]+:\d+)"', _PROMETHEUS.read_text())
    for target in targets:
        if "\nottla_ready 1.0" not in shop.inside("notifications", "python3", "-c", _READ, target):
            raise Failed(f"{target} tells no metrics, or is not ready")
    if len(targets) != len(SHOP) - 1:
        raise Failed(f"{_PROMETHEUS.name} has the targets {targets}")


def sell(shop: Shop) -> None:
    """Post orders; billing and the registry are killed in the middle, and started again."""
    with shop.storefront(_BEFORE_RESTART, rate=_RATE, again=_AGAIN) as storefront:
        at_kill = shop.wait_until(lambda books: books.billed >= _KILLED_AT, f"{_KILLED_AT} invoices")
        shop.kill("billing", "registry")
        say(f"billing and the registry killed (SIGKILL) at {at_kill.billed} invoices")
        shop.wait_until(
            lambda books: len(books.orders) >= books.billed + _AWAY, f"{_AWAY} orders that are not billed"
        )
        if storefront.poll() is not None:
            raise Failed("proves nothing: all orders were posted before billing came back")
        shop.start()
        say("billing and the registry are back")
        _ended(storefront)


def sell_on(shop: Shop) -> None:
    """All services are restarted; the rest of the orders, and the earlier ones once more."""
    shop.restart(*SHOP[:-1])
    with shop.storefront(ORDERS, rate=10 * _RATE, again=0) as storefront:
        _ended(storefront)


def _ended(storefront: subprocess.Popen[str]) -> None:
    output, _ = storefront.communicate(timeout=180)
    if storefront.returncode != 0:
        raise Failed(f"the storefront ended with {storefront.returncode}:\n{output[-2000:]}")


def check_books(shop: Shop) -> Books:
    """Every order billed once, mailed about, and nothing given up."""
    books = shop.wait_until(
        lambda books: (
            len(books.orders) == ORDERS
            and books.billed >= ORDERS
            and books.mails >= ORDERS
            and not books.unsent
        ),
        f"{ORDERS} orders, each billed and mailed about",
    )
    if wrong := list(books.imbalances()):
        raise Failed(f"the books do not balance: {'; '.join(wrong)}")
    for topic in DEAD_LETTERS:
        if letters := shop.records(topic):
            raise Failed(f"{topic} has {len(letters)} dead letters, the first of {letters[0][:80]!r}")
    return books


def check_schemas(shop: Shop) -> int:
    """How many subjects the registry has; every order refers to one."""
    subjects = shop.subjects()
    if missing := _SUBJECTS - set(subjects):
        raise Failed(f"the registry lacks {missing}; it has {subjects}")
    if (level := shop.compatibility()) != "BACKWARD":
        raise Failed(f"the registry's compatibility is {level}")
    events = shop.records("orders")
    if len(events) < ORDERS + _AGAIN:
        raise Failed(f"the topic has {len(events)} events; {_AGAIN} of {ORDERS} were sent a second time")
    if bare := [event for event in events if not event.startswith(_FRAME)]:
        raise Failed(f"{len(bare)} of {len(events)} orders begin otherwise than with 00: {bare[0][:40]!r}")
    return len(subjects)


def story(engine: Engine) -> Mapping[str, int]:
    """The figures of the last line, in its order."""
    shop = prepare(engine)
    shop.check()
    say("building the images")
    image_mb = shop.build()
    say(f"the shop's image has {image_mb} MB; starting")
    with shop.up() as up_s:
        say(f"healthy after {up_s:.0f} s")
        check_hardening(shop)
        check_tools(shop)
        check_scraping(shop)
        sell(shop)
        sell_on(shop)
        books = check_books(shop)
        subjects = check_schemas(shop)
    return {
        "orders": len(books.orders),
        "invoices": books.billed,
        "lost": books.lost,
        "subjects": subjects,
        "up_s": round(up_s),
        "image_mb": image_mb,
    }


def main() -> int:
    """0 when it went as it must."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the same way out as Ctrl-C
    begun = time.monotonic()
    try:
        with ExitStack() as exits:
            engine = exits.enter_context(running_engine())
            figures = story(engine)
    except KeyboardInterrupt:
        print("\ncompose-test: FAILED interrupted; everything is stopped and removed")
        return 130
    except (Missing, ApicurioMissing, KafkaMissing) as error:
        print(f"compose-test: FAILED {error}")
        return 2
    except (
        Failed,
        ServerFailed,
        httpx.HTTPError,
        psycopg.Error,
        KafkaException,
        subprocess.TimeoutExpired,
    ) as error:
        print(f"compose-test: FAILED {error}")
        return 1
    say(f"it took {time.monotonic() - begun:.0f} s")
    print("compose-test: ok", *(f"{name}={value}" for name, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
