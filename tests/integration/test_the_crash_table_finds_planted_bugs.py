"""A table of zeros proves something only if a wrong program turns it red: here are three wrong ones."""

from __future__ import annotations

import asyncio
import os
import re
import sys

import pytest

from tests.crash.story import Arrow, Mutant
from tests.support.kafka_server import ROOT, Kafka


@pytest.mark.parametrize(
    ("mutant", "arrow", "figure"),
    [
        (Mutant.NO_INBOX, Arrow.COMMITTED, "doubled"),
        (Mutant.SPLIT_INBOX, Arrow.CLAIMED, "lost"),
        (Mutant.COMMIT_FIRST, Arrow.EFFECTED, "lost"),
    ],
    ids=lambda value: getattr(value, "value", value),
)
async def test_a_planted_bug_turns_its_row_red(
    kafka: Kafka, postgres: str, mutant: Mutant, arrow: Arrow, figure: str
) -> None:
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "DATABASE_URL": postgres,
        "CRASH_MUTANT": mutant.value,
    }

    table = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.crash.table", arrow.name),
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
    )
    told = (await table.communicate())[0].decode()

    assert table.returncode == 1
    assert re.search(rf"^{arrow.value} +RED .*{figure}=[1-9]", told)
    assert told.splitlines()[-1] == "crash-table: 0 of 1"
