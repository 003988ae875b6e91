#!/usr/bin/env bash
# Makes .venv-deploy from requirements/deploy.txt (every package by hash): the tools that check deploy/.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"

command -v "$python" >/dev/null || {
    echo "make: '$python' is missing: install Python 3.11 or later, or name it: make PYTHON=/path/to/python3" >&2
    exit 1
}
[ -x .venv-deploy/bin/python ] || "$python" -m venv .venv-deploy
.venv-deploy/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/deploy.txt
touch .venv-deploy/.made
