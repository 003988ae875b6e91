"""The Dockerfile by hadolint; the Compose file by Compose, or where that is not there by its schema."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tests.deploy.findings import ROOT, Findings, Missing, failed, run, tool

DOCKERFILES = ("deploy/Dockerfile",)
COMPOSE = "deploy/compose/compose.yaml"
_SCHEMA_OF = "github.com/compose-spec/compose-go/v2@v2.9.1"
_BY_SCHEMA = (
    "import json, sys, jsonschema, yaml\n"
    "jsonschema.validate(yaml.safe_load(open(sys.argv[1])), json.load(open(sys.argv[2])))"
)


def check() -> list[Findings]:
    """Both; a file that is gone is a failure."""
    return [_dockerfile(), _compose()]


def _dockerfile() -> Findings:
    found = Findings("hadolint", said=", ".join(DOCKERFILES))
    hadolint = tool("hadolint")
    for name in DOCKERFILES:
        if not (ROOT / name).exists():
            found.failures.append(f"{name} is not there")
            continue
        found.failures += failed(
            "hadolint", run(hadolint, "--failure-threshold", "info", name), f"mend {name}"
        )
    return found


def _compose() -> Findings:
    found = Findings("compose")
    if not (ROOT / COMPOSE).exists():
        found.failures.append(f"{COMPOSE} is not there")
        return found
    command = _compose_command()
    if command is not None:
        found.said = f"{COMPOSE} by {' '.join(command[:2])}"
        ended = run(*command, "--file", COMPOSE, "--profile", "*", "config", "--quiet", env=_own_plugins())
        found.failures += failed("compose config", ended, f"mend {COMPOSE}")
    else:
        found.said = f"{COMPOSE} by the schema of {_SCHEMA_OF}"
        ended = run(tool("python"), "-c", _BY_SCHEMA, COMPOSE, _schema())
        found.failures += failed("compose's schema", ended, f"mend {COMPOSE}")
    return found


def _compose_command() -> list[str] | None:
    if shutil.which("docker") and run("docker", "compose", "version", env=_own_plugins()).code == 0:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def _own_plugins() -> dict[str, str]:
    """Where `make compose-test` puts the Compose that it has built."""
    own = ROOT / ".docker" / "config"
    return {} if os.environ.get("DOCKER_CONFIG") or not own.exists() else {"DOCKER_CONFIG": str(own)}


def _schema() -> Path:
    if shutil.which("go") is None:
        raise Missing(
            "`docker compose` is missing: install its plugin, or Go, which fetches Compose's schema"
        )
    ended = run("go", "mod", "download", "-json", _SCHEMA_OF)
    if ended.code != 0:
        raise Missing(f"Compose's schema ({_SCHEMA_OF}) cannot be had: {ended.last_words}")
    return Path(json.loads(ended.output)["Dir"]) / "schema" / "compose-spec.json"
