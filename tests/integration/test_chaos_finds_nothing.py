"""A short run of `make chaos` with a seed that nobody has tried: what it finds is new."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support.kafka_server import ROOT, KafkaMissing, kafka_libs

SECONDS = 100


@pytest.mark.timeout(900)
@pytest.mark.skipif(
    os.environ.get("CI") != "true", reason="takes four minutes: with CI=true, or by `make chaos`"
)
def test_nothing_is_lost_doubled_or_inverted(record_property: Callable[[str, object], None]) -> None:
    try:
        kafka_libs()
    except KafkaMissing as error:
        pytest.fail(str(error))
    seed = secrets.randbelow(2**32)

    run = subprocess.run(
        [sys.executable, "-m", "tests.chaos"],
        cwd=ROOT,
        env={**os.environ, "SECONDS": str(SECONDS), "SEED": str(seed)},
        capture_output=True,
        text=True,
        check=False,
    )
    last = run.stdout.rstrip().rpartition("\n")[2]
    record_property("told", f"SECONDS={SECONDS} SEED={seed} make chaos: {last}")

    assert run.returncode == 0, f"{run.stdout[-6_000:]}{run.stderr[-2_000:]}"
    assert last.startswith("chaos: ok ")
    assert last.endswith(" vacuous=0")
