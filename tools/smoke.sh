#!/usr/bin/env bash
# What must work without any extra, with the aloe that the arguments call: `bash tools/smoke.sh COMMAND ...`. About ten
# seconds; everything is written into the folder in which it runs.
set -euo pipefail
few=(--personas.n_profiles 24 --personas.n_personalities 16 --personas.n_personas 8 --personas.n_bench_profiles 4
     --personas.n_bench_personalities 4 --personas.n_bench 4 --trees.n_trees 4 --trees.n_turns 3 --bench.n_turns 3)
run() { echo "+ aloe $*"; "${aloe[@]}" "$@"; }
aloe=("$@")
run --version
run --help > /dev/null
run run demo --out runs/smoke --skip base,sft,rollout,dpo "${few[@]}" > /dev/null
run validate runs/smoke
run bench runs/smoke --model world:assistant+inducer > /dev/null
run journal stats runs/smoke > /dev/null
run export runs/smoke --format trl > /dev/null
test -s runs/smoke/report/index.html && test -s runs/smoke/datasets/dpo.parquet
# what an extra brings is asked for in one line, with the command that installs it
if said=$(run sft --data runs/smoke --model runs/smoke --out checkpoints/sft 2>&1); then
  echo "training without torch did not stop (an extra is installed?)"
else
  [ "$(grep -c 'pip install' <<< "$said")" = 1 ] || { echo "$said"; exit 1; }
fi
echo "smoke test passed"
