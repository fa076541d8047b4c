#!/usr/bin/env bash
# A wheel in an environment with nothing else: `bash tools/smoke_wheel.sh dist/*.whl`. PYTHON chooses the interpreter.
set -euo pipefail
wheel=$(realpath "$1")
smoke=$(realpath "$(dirname "$0")/smoke.sh")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/python" -m pip install -q "$wheel"
cd "$place" # away from the sources: what runs is what was packed
env -u PYTHONPATH bash "$smoke" "$place/venv/bin/aloe"
