#!/usr/bin/env bash
# The image without training, built and tried; nothing of it stays but the image.
set -euo pipefail
cd "$(dirname "$0")/.."
docker build -q --build-arg EXTRAS= -t aloe-smoke .
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
chmod 777 "$place"
cd "$place"
mkdir -m 777 runs
bash "$OLDPWD/tools/smoke.sh" docker run --rm -v "$place:/work" aloe-smoke
