"""The verdict of `make compose-test` is red where the books of the shop do not balance."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.deploy.compose.shop import Books

CENT = Decimal("0.01")


def test_books_that_balance_leave_nothing_to_tell() -> None:
    books = Books({"a": CENT, "b": CENT}, {"a": [CENT], "b": [CENT]}, unsent=0, mails=2)

    assert list(books.imbalances()) == []
    assert (books.billed, books.lost) == (2, 0)


@pytest.mark.parametrize(
    ("books", "told"),
    [
        (Books({"a": CENT, "b": CENT}, {"a": [CENT]}, 0, 2), "1 orders have no invoice"),
        (Books({"a": CENT}, {"a": [CENT, CENT]}, 0, 1), "1 orders have more than one invoice"),
        (Books({}, {"a": [CENT]}, 0, 0), "1 invoices have no order"),
        (Books({"a": CENT}, {"a": [2 * CENT]}, 0, 1), "1 invoices have another amount than their order"),
        (Books({"a": CENT}, {"a": [CENT]}, 3, 1), "3 events are left in the outbox"),
        (Books({"a": CENT}, {"a": [CENT]}, 0, 0), "0 mails stand against 1 orders"),
        (Books({"a": CENT}, {"a": [CENT]}, 0, 2), "2 mails stand against 1 orders"),
    ],
)
def test_each_imbalance_is_told(books: Books, told: str) -> None:
    assert list(books.imbalances()) == [told]
