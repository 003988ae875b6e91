from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from examples.shop.purchases import SAMPLE, BadPurchases, read_purchases

HEADER = "order_id,customer_id,date,quantity,amount_usd\n"
GOOD = "S1,7,1997-01-01,2,29.33\n"


def _file(folder: Path, text: str | bytes) -> Path:
    file = folder / "orders.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_the_sample_holds_the_orders_that_its_credit_tells_of() -> None:
    orders = read_purchases(SAMPLE)

    assert len(orders) == len({order.order_id for order in orders}) == 6_919
    assert len({order.customer_id for order in orders}) == 2_357
    assert sum(order.amount_usd for order in orders) == Decimal("244091.94")
    assert sum(order.amount_usd == 0 for order in orders) == 8


def test_a_row_becomes_an_order_whatever_the_order_of_the_columns(tmp_path: Path) -> None:
    file = _file(tmp_path, "amount_usd,date,order_id,quantity,customer_id\n0.50,1998-06-30,S9,1,00042\n")

    (order,) = read_purchases(file)

    assert (order.order_id, order.customer_id, order.quantity) == ("S9", "00042", 1)
    assert (order.placed_on, order.amount_usd) == (date(1998, 6, 30), Decimal("0.50"))


def test_only_as_many_rows_are_read_as_are_wanted(tmp_path: Path) -> None:
    file = _file(tmp_path, HEADER + GOOD + "broken\n")

    assert len(read_purchases(file, 1)) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (HEADER.replace("amount_usd", "amount") + GOOD, ":1: no column amount_usd"),
        ("", ":1: no column order_id"),
        (HEADER, "has no orders"),
        (HEADER + GOOD + "S2,7,1997-01-01,2,abc\n", ":3: amount_usd 'abc'"),
        (HEADER + GOOD + "S2,7,1997-01-01,2,1.005\n", ":3: amount_usd '1.005'"),
        (HEADER + GOOD + "S2,7,1997-01-01,2,-1\n", ":3: amount_usd '-1'"),
        (HEADER + GOOD + "S2,7,1997-13-01,2,1\n", ":3: date '1997-13-01'"),
        (HEADER + GOOD + "S2,7,1997-01-01,0,1\n", ":3: quantity '0'"),
        (HEADER + GOOD + ",7,1997-01-01,1,1\n", ":3: order_id ''"),
        (HEADER + GOOD + "S2,7,1997-01-01\n", ":3: quantity None"),
        (HEADER + GOOD + "S2,7,1997-01-01,1,1,1\n", ":3: has more fields"),
        (HEADER + GOOD + GOOD, ":3: order_id 'S1' stands on line 2 already"),
        (HEADER + '"S1,7,1997-01-01,2,1\n', "unexpected end of data"),
        (HEADER.encode() + b"S\xff,7,1997-01-01,2,1\n", "is not UTF-8"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(
    tmp_path: Path, text: str | bytes, problem: str
) -> None:
    file = _file(tmp_path, text)

    with pytest.raises(BadPurchases) as raised:
        read_purchases(file)

    assert str(raised.value).startswith(str(file))
    assert problem in str(raised.value)


def test_fewer_orders_than_wanted_are_refused(tmp_path: Path) -> None:
    file = _file(tmp_path, HEADER + GOOD)

    with pytest.raises(BadPurchases, match="has only 1 orders, 2 are wanted"):
        read_purchases(file, 2)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadPurchases, match=r"none\.csv: cannot be read: No such file"):
        read_purchases(tmp_path / "none.csv")
