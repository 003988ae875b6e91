"""A Docker engine: the one that answers, else one of our own that leaves the machine as it was.

The engine of our own has its images in `.docker/data`, which stays for the next run, and
everything else in a temporary folder that ends with this process. It makes no bridge and no
firewall rule and forwards nothing: builds use the machine's network, services talk to each other
on the network of their Compose file, and ports of 127.0.0.1 are passed on by its proxy process.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ottla.embedded.guarded import GuardedServer
from tests.deploy.compose.commands import Failed, Missing, run

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / ".docker"
"""Whatever is kept for the next run; git does not see it."""

_ANSWERS_S = 20.0
_START_S = 60.0
_INSTALL_S = 600.0
_NEEDED = {"dockerd": "docker.io", "docker": "docker.io", "iptables": "iptables", "mmdebstrap": "mmdebstrap"}
"""Programs, and Debian's packages. Inside containers the engine makes names known by iptables."""
_APT = ["apt-get", "install", "--yes", "--no-install-recommends"]
_SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/forwarding",
    "net/ipv4/conf/default/forwarding",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/default/forwarding",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "vm/overcommit_memory",
)


@dataclass(frozen=True, slots=True)
class Engine:
    """Where images are built and run. `environment` leads the clients there."""

    environment: Mapping[str, str]
    is_ours: bool

    def docker(self, *arguments: str | Path, within_s: float = 60) -> str:
        """What `docker` answers."""
        return run("docker", *arguments, within_s=within_s, env=self.environment)


@contextmanager
def running_engine() -> Iterator[Engine]:
    """An engine until the block ends; one of our own where none answers."""
    if shutil.which("docker") and _answers(os.environ):
        yield Engine(dict(os.environ), is_ours=False)
        return
    _install()
    DOCKER.mkdir(exist_ok=True)
    with ExitStack() as exits:
        exits.enter_context(_alone())
        exits.enter_context(_unchanged_machine())
        yield exits.enter_context(_engine_of_our_own())


def _answers(environment: Mapping[str, str]) -> bool:
    try:
        run("docker", "info", within_s=_ANSWERS_S, env=environment)
    except Failed:
        return False
    return True


def _install() -> None:
    """See to the programs that an engine of our own needs."""
    packages = sorted({package for program, package in _NEEDED.items() if shutil.which(program) is None})
    if os.geteuid() != 0:
        raise Missing(
            "no Docker engine answers, and only root can start one: start Docker, name one by DOCKER_HOST, "
            "or run this as root"
        )
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise Missing(
            f"no Docker engine answers, and {', '.join(packages)} to start one is missing: install it"
        )
    print(f"compose-test: no Docker engine answers: apt-get installs {' '.join(packages)}", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", within_s=_INSTALL_S, env=quiet)
    run(*_APT, *packages, within_s=_INSTALL_S, env=quiet)


@contextmanager
def _alone() -> Iterator[None]:
    """The only run with an engine in this folder."""
    with (DOCKER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Missing(f"another run uses {DOCKER}: let it end first") from error
        yield


@contextmanager
def _unchanged_machine() -> Iterator[None]:
    """Sysctls are put back; the firewall must be as it was."""
    sysctls, firewall = _sysctls(), _firewall()
    try:
        yield
    finally:
        for file, value in sysctls.items():
            if file.exists() and file.read_text() != value:
                file.write_text(value)
    if (after := _firewall()) != firewall:
        raise Failed(f"the engine has left rules in the firewall:\n{after}\nthere were before:\n{firewall}")


def _sysctls() -> dict[Path, str]:
    files = [Path("/proc/sys") / name for name in _SYSCTLS]
    return {file: file.read_text() for file in files if file.exists()}


def _firewall() -> str:
    """The rules, without the counters and times that change by themselves."""
    saved = (run(f"{family}-save", within_s=_ANSWERS_S) for family in ("iptables", "ip6tables"))
    lines = (line.split(" [")[0] for rules in saved for line in rules.splitlines())
    return "\n".join(line for line in lines if not line.startswith("#"))


@contextmanager
def _engine_of_our_own() -> Iterator[Engine]:
    server = GuardedServer("ottla-docker-")
    folder = server.folder
    environment = {
        **os.environ,
        "DOCKER_HOST": f"unix://{folder}/docker.sock",
        "DOCKER_CONFIG": str(DOCKER / "config"),
    }
    for name in ("DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        environment.pop(name, None)
    command = [
        "dockerd",
        f"--data-root={DOCKER / 'data'}",
        f"--exec-root={folder / 'exec'}",
        f"--pidfile={folder / 'docker.pid'}",
        f"--host={environment['DOCKER_HOST']}",
        f"--config-file={folder / 'daemon.json'}",
        "--containerd-namespace=ottla",
        "--containerd-plugins-namespace=ottla-plugins",
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
        "--ip-masq=false",
        "--shutdown-timeout=3",
    ]
    try:
        (folder / "daemon.json").write_text("{}")  # not the machine's
        server.start(command, log="log", end_signal=signal.SIGTERM)
        server.wait_until(partial(_answers, environment), timeout_s=_START_S, log="log")
        yield Engine(environment, is_ours=True)
    finally:
        server.close()
