#!/usr/bin/env bash
# Locks what pyproject.toml and requirements/*.in ask for, with hashes: core.txt (the package alone), dev.txt (all that
# checks it), service.txt (what an image of services holds), build.txt (what builds the wheel in it), deploy.txt (what
# checks deploy/, in an environment of its own).
# `scripts/lock.sh --upgrade` takes newer versions.
set -euo pipefail
cd "$(dirname "$0")/.."
export CUSTOM_COMPILE_COMMAND="make lock"
options=(--quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host
    --strip-extras --allow-unsafe "$@")

.venv/bin/python -m piptools compile "${options[@]}" --output-file requirements/core.txt pyproject.toml
.venv/bin/python -m piptools compile "${options[@]}" --all-extras \
    --output-file requirements/dev.txt pyproject.toml requirements/dev.in
.venv/bin/python -m piptools compile "${options[@]}" --extra postgres --extra registry --extra msk --extra metrics \
    --extra uvloop --output-file requirements/service.txt pyproject.toml requirements/service.in
.venv/bin/python -m piptools compile "${options[@]}" --output-file requirements/build.txt requirements/build.in
.venv/bin/python -m piptools compile "${options[@]}" --output-file requirements/deploy.txt requirements/deploy.in
