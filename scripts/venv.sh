#!/usr/bin/env bash
# Makes .venv from requirements/dev.txt (every package by hash), with the project itself installed editable.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"

missing() {
    echo "make: $1" >&2
    exit 1
}

command -v "$python" >/dev/null \
    || missing "'$python' is missing: install Python 3.11 or later, or name it: make PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || missing "'$python' is $("$python" --version 2>&1): Python 3.11 or later is needed (make PYTHON=/path/to/python3)"
"$python" -c 'import venv, ensurepip' 2>/dev/null \
    || missing "'$python' cannot make virtual environments: install its venv module (Debian, Ubuntu: apt install python3-venv)"

[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
# No isolation: the build backend is one of the locked packages.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
touch .venv/.made
