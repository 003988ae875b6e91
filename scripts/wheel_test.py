"""`make wheel-test`: the built wheel in a clean environment outside the tree does what the README says.

Installs the core and counts what it brings along; then the extras, and runs the README's
first service under `ottla dev`, with the tables of `ottla db upgrade`, and bills one order.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from tests.support.http import ask, samples
from tests.support.pages import ROOT, blocks

MOST_DISTRIBUTIONS = 15
NOT_COUNTED = {"ottla", "pip", "setuptools"}
_DEADLINE_S = 60.0
_BILLED = ("ottla_listener_records_total", ("billing/orders", "succeeded"))
_PIN = re.compile(r"^[A-Za-z0-9][\w.-]*==[^\s\\;]+", re.MULTILINE)


class WheelFailed(Exception):
    """What does not work outside the tree."""


def main() -> int:
    """Build, install, count, run; 0 when all of it worked."""
    with tempfile.TemporaryDirectory(prefix="ottla-wheel-") as name:
        folder = Path(name)
        try:
            wheel = build(folder)
            core = distributions_of_the_core(folder, wheel)
            serve(folder, environment_with_extras(folder, wheel))
        except WheelFailed as error:
            print(f"wheel: FAILED {error}")
            return 1
    print(f"wheel: ok distributions={core}")
    return 0


def build(folder: Path) -> Path:
    """The wheel of this tree."""
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist"), cwd=ROOT)
    (wheel,) = (folder / "dist").glob("ottla-*.whl")
    print(f"wheel: built {wheel.name}, {wheel.stat().st_size / 1024:.0f} KB")
    return wheel


def distributions_of_the_core(folder: Path, wheel: Path) -> int:
    """How many distributions the core installs, of the locked versions, with their hashes."""
    bin_ = new_environment(folder / "core")
    run(*pip(bin_), "--require-hashes", "-r", str(ROOT / "requirements" / "core.txt"), cwd=folder)
    run(*pip(bin_), "--no-deps", str(wheel), cwd=folder)
    run(str(bin_ / "python"), "-m", "pip", "check", cwd=folder)
    listed = run(str(bin_ / "python"), "-m", "pip", "list", "--format=freeze", cwd=folder)
    names = {line.split("==")[0] for line in listed.split()} - NOT_COUNTED
    print(f"wheel: the core installs {', '.join(sorted(names))}")
    if len(names) > MOST_DISTRIBUTIONS:
        raise WheelFailed(f"the core installs {len(names)} distributions, more than {MOST_DISTRIBUTIONS}")
    print(f"wheel: {run(str(bin_ / 'ottla'), '--version', cwd=folder).strip()} runs on the core alone")
    return len(names)


def environment_with_extras(folder: Path, wheel: Path) -> Path:
    """`pip install "ottla[postgres,demo,metrics]"` at the locked versions; returns its bin folder."""
    pins = folder / "pins.txt"
    pins.write_text("\n".join(_PIN.findall((ROOT / "requirements" / "dev.txt").read_text())))
    bin_ = new_environment(folder / "extras")
    run(*pip(bin_), f"ottla[postgres,demo,metrics] @ {wheel.as_uri()}", "-c", str(pins), cwd=folder)
    return bin_


def serve(folder: Path, bin_: Path) -> None:
    """The README's first service: one order, sent twice, is billed once."""
    app = folder / "app"
    app.mkdir()
    for block in blocks(ROOT / "README.md"):
        if block.title:
            (app / block.title).write_text(block.text)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
    log = folder / "dev.log"
    with log.open("wb") as output:
        service = subprocess.Popen(
            [str(bin_ / "ottla"), "dev", "billing:app"],
            cwd=app,
            env=clean | {"OTTLA_ADMIN_PORT": "0"},
            stdout=output,
            stderr=output,
        )
    try:
        wait_for("assigned orders-0@0", log, service)
        told = [line for line in log.read_text().splitlines() if line.startswith("ottla dev: ")]
        addresses = dict(line.removeprefix("ottla dev: ").split("=", 1) for line in told)
        print("wheel: " + run(str(bin_ / "ottla"), "db", "upgrade", cwd=app, env=clean | addresses).strip())
        run(str(bin_ / "python"), "place.py", cwd=app, env=clean | addresses)
        check_billed(addresses["DATABASE_URL"], log)
        check_metrics(log)
    finally:
        service.send_signal(signal.SIGTERM)
        code = service.wait(_DEADLINE_S)
    if code != 0:
        raise WheelFailed(f"`ottla dev` ended with {code}:\n{log.read_text()}")


_SETTINGS = ("KAFKA_", "OTTLA_", "DATABASE_", "TOPICS__", "PYTHON")


def check_billed(url: str, log: Path) -> None:
    """One invoice, from the one event that was sent twice."""
    deadline = time.monotonic() + _DEADLINE_S
    with psycopg.connect(url, autocommit=True) as database:
        while not (rows := database.execute("SELECT order_id, cents FROM invoice").fetchall()):
            if time.monotonic() > deadline:
                raise WheelFailed(f"the order was not billed:\n{log.read_text()}")
            time.sleep(0.05)
    if rows != [("o-1", 999)]:
        raise WheelFailed(f"the order was billed as {rows}")
    print("wheel: one order is billed")


def check_metrics(log: Path) -> None:
    """The admin endpoint counts that order."""
    said = re.search(r"/metrics are answered on 127.0.0.1 port (\d+)", log.read_text())
    if said is None:
        raise WheelFailed(f"`ottla dev` never said where /metrics is:\n{log.read_text()}")
    deadline = time.monotonic() + _DEADLINE_S
    while (told := samples(ask(int(said[1]), "/metrics").body))[_BILLED] != 1:
        if time.monotonic() > deadline:
            raise WheelFailed(f"/metrics tells {told}")
        time.sleep(0.05)
    print("wheel: /metrics counts it")


def wait_for(text: str, log: Path, service: subprocess.Popen[bytes]) -> None:
    """Until the service has said `text`."""
    deadline = time.monotonic() + _DEADLINE_S
    while text not in log.read_text():
        if service.poll() is not None or time.monotonic() > deadline:
            raise WheelFailed(f"`ottla dev` never said {text!r}:\n{log.read_text()}")
        time.sleep(0.05)


def new_environment(folder: Path) -> Path:
    """An empty virtual environment; returns its bin folder."""
    run(sys.executable, "-m", "venv", str(folder), cwd=folder.parent)
    return folder / "bin"


def pip(bin_: Path) -> list[str]:
    """The command that installs there."""
    return [str(bin_ / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def run(*command: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    """What the command prints. Nothing of this tree is on its path."""
    environment = {name: value for name, value in (env or os.environ).items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise WheelFailed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
