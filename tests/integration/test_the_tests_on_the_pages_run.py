"""The tests that the pages show to authors, run as they stand, in a project that only installed Ottla."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.pages import blocks, pages


def test_they_pass(tmp_path: Path) -> None:
    files = [block for page in pages() for block in blocks(page) if block.title]
    for block in files:
        (tmp_path / block.title).write_text(block.text)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    # What is set on a developer's machine must not matter to a test on the in-memory broker.
    environment = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "DATABASE_URL": "none", "CI": "true"}

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    tests = [block.title for block in files if block.title.startswith("test_")]
    assert tests == ["test_billing.py", "test_refunds.py", "test_charge.py", "test_payments.py"]
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
