"""Orders from a CSV file, checked row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from examples.shop.contracts import OrderCreated

SAMPLE = Path(__file__).with_name("data") / "cdnow-sample.csv"

_FIELD_OF_COLUMN = {
    "order_id": "order_id",
    "customer_id": "customer_id",
    "date": "placed_on",
    "quantity": "quantity",
    "amount_usd": "amount_usd",
}
_COLUMN_OF_FIELD = {field: column for column, field in _FIELD_OF_COLUMN.items()}


class BadPurchases(Exception):
    """A file of purchases cannot be used; says which, on which line, and why."""


def read_purchases(path: Path, most: int | None = None) -> list[OrderCreated]:
    """The first `most` orders of the file, or all.

    Raises:
        BadPurchases: the file, its header or one of these rows is not sound, or there are fewer.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            orders = _first(path, file, most)
    except OSError as error:
        raise BadPurchases(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadPurchases(f"{path}: is not UTF-8: save it as UTF-8") from error
    if not orders:
        raise BadPurchases(f"{path}: has no orders")
    if most is not None and len(orders) < most:
        raise BadPurchases(f"{path}: has only {len(orders)} orders, {most} are wanted")
    return orders


def _first(path: Path, lines: Iterator[str], most: int | None) -> list[OrderCreated]:
    rows = csv.DictReader(lines, strict=True)
    lines_of: dict[str, int] = {}
    orders: list[OrderCreated] = []
    try:
        _check_header(path, rows.fieldnames)
        for row in rows:
            order = _order(path, rows.line_num, row)
            if (first := lines_of.setdefault(order.order_id, rows.line_num)) != rows.line_num:
                raise BadPurchases(
                    f"{path}:{rows.line_num}: order_id {order.order_id!r} stands on line {first} already"
                )
            orders.append(order)
            if len(orders) == most:
                break
    except csv.Error as error:
        raise BadPurchases(f"{path}:{rows.line_num}: {error}") from error
    return orders


def _check_header(path: Path, columns: object) -> None:
    found = list(columns) if isinstance(columns, list | tuple) else []
    if missing := [column for column in _FIELD_OF_COLUMN if column not in found]:
        raise BadPurchases(
            f"{path}:1: no column {', '.join(missing)}; the first line must name {','.join(_FIELD_OF_COLUMN)}"
        )


def _order(path: Path, line: int, row: dict[str | None, object]) -> OrderCreated:
    if None in row:
        raise BadPurchases(f"{path}:{line}: has more fields than the first line has columns")
    try:
        return OrderCreated.model_validate(
            {field: row[column] for column, field in _FIELD_OF_COLUMN.items()}, strict=False
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        column = _COLUMN_OF_FIELD[str(first["loc"][0])]
        raise BadPurchases(f"{path}:{line}: {column} {row[column]!r}: {first['msg']}") from error
