"""Which acknowledgements prove that a record is written."""

from __future__ import annotations

import pytest

from ottla.core.acknowledgements import Acknowledgements


@pytest.mark.parametrize(
    ("told", "proved"),
    [
        ([0], [True]),
        ([7, 8, 12], [True, True, True]),
        ([None], [False]),
        ([7, None, 8], [True, False, True]),
        ([7, 7, 8], [True, False, True]),
        ([7, 8, 7, 9], [True, True, False, True]),
        ([7, 8, 0, 1, 2], [True, True, False, True, True]),
    ],
    ids=[
        "the first",
        "holes are markers of transactions, or others' records",
        "no offset",
        "no offset, and others go on",
        "another's offset",
        "an earlier one's offset, and others go on",
        "a topic made anew costs one doubt",
    ],
)
def test_of_one_partition(told: list[int | None], proved: list[bool]) -> None:
    acknowledgements = Acknowledgements()

    assert [acknowledgements.proves("orders", 0, offset) for offset in told] == proved


def test_partitions_and_topics_do_not_touch_each_other() -> None:
    acknowledgements = Acknowledgements()

    assert all(
        acknowledgements.proves(topic, partition, 5) for topic in ("orders", "bills") for partition in (0, 1)
    )
