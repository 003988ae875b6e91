#!/usr/bin/env bash
# Locks what pyproject.toml and requirements/dev.in ask for, with hashes: requirements/core.txt and dev.txt.
# `scripts/lock.sh --upgrade` takes newer versions.
set -euo pipefail
cd "$(dirname "$0")/.."
export CUSTOM_COMPILE_COMMAND="make lock"
options=(--quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host
    --strip-extras --allow-unsafe "$@")

.venv/bin/python -m piptools compile "${options[@]}" --output-file requirements/core.txt pyproject.toml
.venv/bin/python -m piptools compile "${options[@]}" --all-extras \
    --output-file requirements/dev.txt pyproject.toml requirements/dev.in
