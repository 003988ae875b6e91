"""Who may come in, by MSK IAM, TLS, certificates, SCRAM and OAuth; who may not is told why and what to do.

The quick ones of `make msk-iam-test`, which has those that wait for tokens to end and for AWS to come back.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import missing
from tests.security import iam_checks, other_checks, rights_checks
from tests.security.__main__ import CHECKS, Check
from tests.security.world import World, secured
from tests.support.kafka_server import KafkaMissing

SLOW: list[Check] = [
    iam_checks.check_iam_by_the_task_role_of_ecs,
    iam_checks.check_iam_without_credentials_a_service_waits_for_them,
    iam_checks.check_iam_an_sts_that_hangs_and_comes_back_holds_up_nothing_else,
    iam_checks.check_iam_tokens_are_renewed_for_idle_clients,
]
QUICK = [check for check in CHECKS if check not in SLOW]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One broker for all."""
    try:
        with secured() as world:
            yield world
    except KafkaMissing as error:
        missing(str(error))


@pytest.mark.parametrize("check", QUICK, ids=lambda check: check.__name__.removeprefix("check_"))
async def test_a_connection(check: Check, world: World) -> None:
    await check(world)

    assert world.seen_secrets() == []


def test_what_is_quick_has_every_way_of_security() -> None:
    assert {check.__module__ for check in QUICK} == {
        module.__name__ for module in (iam_checks, rights_checks, other_checks)
    }
