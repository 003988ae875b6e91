from __future__ import annotations

import pytest

from ottla.core.topology import Naming, dead_letter_topic


@pytest.mark.parametrize(
    ("naming", "name"),
    [(Naming.PER_GROUP, "orders-billing-dlt"), (Naming.SPRING, "orders-dlt")],
)
def test_the_dead_letter_topic_is_named_by_topic_and_group_or_as_springs(naming: Naming, name: str) -> None:
    assert dead_letter_topic("orders", "billing", naming) == name


def test_two_groups_on_a_topic_keep_their_failures_apart_unless_they_share_them_with_java() -> None:
    names = {
        naming: {dead_letter_topic("orders", group, naming) for group in ("billing", "notifications")}
        for naming in Naming
    }

    assert len(names[Naming.PER_GROUP]) == 2
    assert len(names[Naming.SPRING]) == 1
