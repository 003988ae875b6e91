#!/usr/bin/env bash
# `docker compose` on deploy/compose/compose.yaml, or what is missing for it.
set -euo pipefail
cd "$(dirname "$0")/.."

missing() {
    echo "make: $1" >&2
    echo "make: without Docker, 'make demo' runs the same services on embedded servers" >&2
    exit 1
}

command -v docker >/dev/null || missing "'docker' is missing: install Docker Engine or Docker Desktop"
docker compose version >/dev/null 2>&1 \
    || missing "'docker compose' is missing: install Docker's Compose plugin, version 2.23 or later (docker-compose-plugin)"
docker version >/dev/null 2>&1 \
    || missing "no Docker engine answers ($(docker version 2>&1 >/dev/null | tail -n 1)): start Docker, or name one by DOCKER_HOST"
exec docker compose --file deploy/compose/compose.yaml "$@"
