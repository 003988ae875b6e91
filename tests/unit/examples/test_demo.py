"""What the demo makes of its environment and of its figures."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from examples.shop.demo.__main__ import imbalances, vacuities
from examples.shop.demo.audit import Figures
from examples.shop.demo.plan import BadPlan, Plan, read_plan

PLAN = Plan(Path("orders.csv"), orders=1000, is_real_kafka=False, mutant=None)
GOOD = Figures(
    taken=1000,
    orders=1000,
    ordered=Decimal("34132.24"),
    invoices=1000,
    billed=Decimal("34132.24"),
    duplicates=0,
    notified=1000,
    dead_letters={"billing": 3, "notifications": 3},
    lost=0,
    lag=0,
    unsent=0,
)
AT_KILL = replace(GOOD, orders=500, invoices=400)


def test_figures_are_told_as_the_demo_ends() -> None:
    assert str(GOOD) == "orders=1000 invoices=1000 billed=34132.24 duplicates=0 dead_letters=6 lost=0"


def test_a_run_that_balances_has_no_problem() -> None:
    assert [*imbalances(PLAN, GOOD), *vacuities(PLAN, AT_KILL, GOOD, redelivered=1, deduplicated=51)] == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"taken": 999}, "999 orders were taken, 1000 were to be placed"),
        ({"orders": 999, "invoices": 999}, "999 orders are on the topic, 1000 were taken"),
        ({"lost": 1, "invoices": 999}, "1 orders were never billed"),
        ({"duplicates": 2, "invoices": 1002}, "2 orders were billed more than once"),
        ({"invoices": 1001}, "1001 invoices stand against 1000 orders"),
        ({"billed": Decimal("34132.23")}, "34132.23 is billed, 34132.24 was ordered"),
        ({"notified": 999}, "999 mails were sent about 1000 orders"),
        ({"notified": 1001}, "1001 mails were sent about 1000 orders"),
        (
            {"dead_letters": {"billing": 2, "notifications": 3}},
            "2 dead letters of 3 undecodable records in billing",
        ),
        (
            {"dead_letters": {"billing": 3, "notifications": 4}},
            "4 dead letters of 3 undecodable records in notifications",
        ),
        ({"lag": 1}, "1 records are not committed"),
        ({"unsent": 2}, "2 records are left in the outbox"),
    ],
)
def test_an_imbalance_is_told(change: dict[str, Any], problem: str) -> None:
    assert problem in list(imbalances(PLAN, replace(GOOD, **change)))


@pytest.mark.parametrize(
    ("orders_at_kill", "redelivered", "deduplicated"),
    [(500, 0, 50), (500, 1, 49), (500, 60, 59), (1000, 1, 51)],
)
def test_a_run_that_proves_nothing_is_a_failure(
    orders_at_kill: int, redelivered: int, deduplicated: int
) -> None:
    at_kill = replace(AT_KILL, orders=orders_at_kill)

    problems = list(vacuities(PLAN, at_kill, GOOD, redelivered, deduplicated))

    assert len(problems) == 1
    assert problems[0].startswith("proves nothing")


def test_without_wishes_the_first_1000_orders_of_the_sample_are_billed() -> None:
    plan = read_plan({})

    assert (plan.orders, plan.is_real_kafka, plan.mutant) == (1000, False, None)
    assert plan.data.name == "cdnow-sample.csv"


def test_the_shop_stays_up_only_where_it_is_asked_for() -> None:
    assert [read_plan({"KEEP": value}).is_kept for value in ("1", "0", "")] == [True, False, False]


def test_all_orders_can_be_asked_for() -> None:
    assert read_plan({"ORDERS": "all"}).orders == 6919


def test_a_short_file_of_ones_own_is_replayed_whole(tmp_path: Path) -> None:
    rows = "".join(f"S{number},7,1997-01-01,2,29.33\n" for number in range(12))
    file = tmp_path / "orders.csv"
    file.write_text("order_id,customer_id,date,quantity,amount_usd\n" + rows)

    assert read_plan({"DATA": str(file)}).orders == 12


@pytest.mark.parametrize(
    "environ",
    [
        {"ORDERS": "some"},
        {"ORDERS": "-1"},
        {"ORDERS": "0"},
        {"ORDERS": "9"},
        {"BROKER": "x"},
        {"KEEP": "x"},
        {"DEMO_MUTANT": "x"},
    ],
)
def test_a_wish_that_the_demo_cannot_fulfil_is_named(environ: dict[str, str]) -> None:
    ((name, value),) = environ.items()

    with pytest.raises(BadPlan, match=f"{name}|{value} orders"):
        read_plan(environ)
