"""A table of zeros proves something only if a wrong program turns it red: here are wrong ones."""

from __future__ import annotations

import asyncio
import os
import re
import sys

import pytest

from tests.crash.story import Arrow, Block, Mutant
from tests.support.kafka_server import ROOT, Kafka

PLANTED = [
    (Mutant.NO_INBOX, Arrow.COMMITTED, "doubled"),
    (Mutant.SPLIT_INBOX, Arrow.CLAIMED, "lost"),
    (Mutant.COMMIT_FIRST, Arrow.EFFECTED, "lost"),
    (Mutant.DELETE_FIRST, Arrow.RELAY_READ, "lost"),
    (Mutant.NO_INBOX, Arrow.TX_RETRY_BEFORE_OFFSET, "doubled"),
    (Mutant.NO_ORIGIN, Arrow.TX_FORWARD_ACKNOWLEDGED, "doubled"),
    (Mutant.DONE_FIRST, Arrow.FORWARD_DECIDED, "lost"),
    (Mutant.COMMIT_FIRST, Arrow.RETRY_POLLED, "lost"),
]


async def row_with(mutant: Mutant, arrow: Arrow, servers: dict[str, str]) -> tuple[int | None, str]:
    table = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.crash.table", arrow.name),
        cwd=ROOT,
        env={**os.environ, **servers, "CRASH_MUTANT": mutant.value},
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await table.communicate()
    return table.returncode, told.decode()


def test_every_bug_is_planted() -> None:
    assert {mutant for mutant, _, _ in PLANTED} == set(Mutant)


@pytest.mark.parametrize("blocks", [{Block.ROAD, Block.OUTBOX}, {Block.RETRIES}], ids=["road", "retries"])
async def test_each_planted_bug_turns_its_row_red(kafka: Kafka, postgres: str, blocks: set[Block]) -> None:
    planted = [each for each in PLANTED if each[1].block in blocks]
    servers = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "DATABASE_URL": postgres}

    rows = await asyncio.gather(*(row_with(mutant, arrow, servers) for mutant, arrow, _ in planted))

    for (code, told), (_, arrow, figure) in zip(rows, planted, strict=True):
        assert code == 1
        assert re.search(rf"^{arrow.value} +RED .*{figure}=[1-9]", told)
        assert told.splitlines()[-1].endswith(": 0 of 1")
