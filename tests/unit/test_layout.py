"""The repository keeps its shape: what installs, what runs, and how quickly it is imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KINDS = {"unit", "contract", "integration", "chaos", "interop", "deploy", "typing"}


def _locked(name: str) -> list[str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return [line.split("==")[0] for line in lines if re.match(r"[A-Za-z0-9]", line)]


def test_the_core_installs_at_most_15_distributions() -> None:
    distributions = _locked("core.txt")

    assert "confluent-kafka" in distributions
    assert len(distributions) <= 15


@pytest.mark.parametrize("name", ["core.txt", "dev.txt", "service.txt", "build.txt", "deploy.txt"])
def test_locked_packages_carry_hashes_and_name_no_host(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()

    entries = re.split(r"\n(?=[A-Za-z0-9])", text)[1:]

    assert len(entries) == len(_locked(name)) > 0
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert not re.search(r"://|--index|--find-links|--trusted-host", text)


def test_both_locks_agree_on_what_the_core_installs() -> None:
    pins = {
        name: set(re.findall(r"^\S+==\S+", (ROOT / "requirements" / name).read_text(), re.MULTILINE))
        for name in ("core.txt", "dev.txt")
    }

    assert pins["core.txt"] <= pins["dev.txt"]


def test_every_file_with_tests_is_named_so_that_it_runs() -> None:
    holding_tests = [
        path.relative_to(ROOT / "tests")
        for path in (ROOT / "tests").rglob("*.py")
        if re.search(r"^ *(async )?def test_|^class Test", path.read_text(), re.MULTILINE)
    ]

    astray = [
        path for path in holding_tests if not path.name.startswith("test_") or path.parts[0] not in KINDS
    ]

    assert Path("unit/test_layout.py") in holding_tests
    assert astray == []


def test_every_file_named_as_a_test_holds_one() -> None:
    named = list((ROOT / "tests").rglob("test_*.py"))

    empty = [
        path
        for path in named
        if not re.search(r"\bdef test_|\bTestCase\b|^class Test", path.read_text(), re.MULTILINE)
    ]

    assert empty == []


def test_importing_ottla_takes_less_than_300_ms_and_no_client(tmp_path: Path) -> None:
    program = (
        # The processor's time: an import waits for nothing, and other tests may have the processor.
        "import sys, time; began = time.process_time()\n"
        "import ottla; took = time.process_time() - began\n"
        "extras = {'sqlalchemy', 'psycopg', 'alembic', 'typer', 'prometheus_client', 'http.server'}\n"
        "print(took, *(extras & set(sys.modules)))"
    )

    # Compiled once, as what is installed: PYTHONDONTWRITEBYTECODE of whoever tests would time the compiler.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    runs = [
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env=environment,
        )
        for _ in range(6)
    ]
    told = [run.stdout.split() for run in runs]

    assert min(float(words[0]) for words in told) < 0.3
    assert told[0][1:] == []


def test_the_version_is_that_of_the_distribution() -> None:
    import ottla

    pyproject = (ROOT / "pyproject.toml").read_text()

    assert f'version = "{ottla.__version__}"' in pyproject


def test_git_holds_no_built_file_and_none_above_a_megabyte() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=False, cwd=ROOT)
    if listed.returncode:
        pytest.skip("no git here, or no clone: an archive has no list of its files")
    files = [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]

    built = [path for path in files if path.stat().st_size > 1_000_000 or b"\0" in path.read_bytes()]

    assert ROOT / "pyproject.toml" in files
    assert built == []
