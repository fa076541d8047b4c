"""The same seed gives the same people, trees and figures on every CPU and with any number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy._core._multiarray_umath import __cpu_features__ as has

from aloe.personas.cosines import cosines, nearest_others, similarity_kernel
from aloe.store.records import round_all

# What OpenBLAS would choose on such a CPU, and what this one must have for its code to run here.
CORES = {"Prescott": "SSE3", "Nehalem": "SSE42", "Haswell": "FMA3", "SkylakeX": "AVX512_SKX"}
SMALL = """
import hashlib, pathlib, sys
from aloe.config import load_config
from aloe.stages.pipeline import run_pipeline
from aloe.store.rundir import RunDir
digest = hashlib.sha256()
for embedder in ("lexical", "world"):
    people = {"embedder": embedder, "n_profiles": 150, "n_personalities": 14, "n_personas": 40, "n_bench": 16}
    people |= {"n_bench_profiles": 8, "n_bench_personalities": 4, "profile_threshold": 0.7}
    more = ["trees", "bench"] if embedder == "lexical" else []  # what follows does not know the embedder
    steps = {"skip": [*more, "export", "base", "sft", "rollout", "dpo", "report"]}
    models = ["world:oracle", "world:knows-all", "world:swapped"]
    less = {"trees": {"n_trees": 4, "n_turns": 4}, "bench": {"n_turns": 5, "n_bootstrap": 200, "models": models}}
    config = load_config("demo", {"personas": people, **less, **steps})
    run = RunDir(pathlib.Path(sys.argv[1]) / embedder)
    run_pipeline(config, run, "demo")
    files = [f for stage in ("personas", "trees", "bench") for f in run.stage_dir(stage).rglob("*.json*")]
    for file in sorted(files):
        digest.update(file.read_bytes())
print(len(files), digest.hexdigest())
"""


def run_as(core: str, n_threads: int, folder: Path) -> str:
    """The digest of a small run whose linear algebra is that of another CPU."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(n_threads))
    done = subprocess.run(
        [sys.executable, "-c", SMALL, str(folder)],
        env={**os.environ, **threads, "OPENBLAS_CORETYPE": core},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.skipif(not has.get("SSE3"), reason="OpenBLAS's kernels are chosen by name on x86 only")
def test_people_trees_and_figures_are_the_same_on_every_cpu(tmp_path: Path) -> None:
    runs = [(core, 1) for core, need in CORES.items() if has.get(need)]
    found = {run: run_as(*run, tmp_path / f"{run[0]}-{run[1]}") for run in [*runs, (runs[-1][0], 2)]}
    assert len(found) > 2 and all(int(line.split()[0]) > 12 for line in found.values())
    assert len(set(found.values())) == 1, found


def test_equal_cosines_are_equal_however_their_vectors_are_ordered() -> None:
    rng = np.random.default_rng(4)
    some = rng.standard_normal((60, 96))
    some = (some / np.linalg.norm(some, axis=1, keepdims=True)).astype(np.float32)
    order = rng.permutation(96)
    mixed = np.ascontiguousarray(some[:, order])
    assert (similarity_kernel(some) == similarity_kernel(mixed)).all()
    assert (cosines(some, some[3]) == cosines(mixed, mixed[3])).all()
    for one, other in zip(nearest_others(some), nearest_others(mixed), strict=True):
        assert (one == other).all()


def test_cosines_are_what_they_should_be() -> None:
    one = np.array([0.6, 0.8, 0.0], dtype=np.float32)
    some = np.array([[1, 0, 0], [0, 0, 1], [-0.6, -0.8, 0], [0, 0, 0]], dtype=np.float32)
    assert cosines(some, one).tolist() == pytest.approx([0.6, 0.0, -1.0, 0.0], abs=1e-7)
    kernel = similarity_kernel(np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32), steps=10**6)
    assert kernel[0].tolist() == pytest.approx([1e6 * np.exp(3.0), 1e6, 1e6 * np.exp(-3.0)], abs=1.0)
    assert nearest_others(np.array([[1, 0]], dtype=np.float32))[0].tolist() == [-1.0]


def test_numbers_at_a_half_are_rounded_alike() -> None:
    half = 0.0625 / 1e2  # lies between two roundings to five decimals
    below, above = np.nextafter(half, 0), np.nextafter(half, 1)
    assert round_all({"a": [float(below), half, float(above)], "b": None, "c": 7, "d": "x"}, 5) == {
        "a": [0.00063, 0.00063, 0.00063],
        "b": None,
        "c": 7,
        "d": "x",
    }
    assert round_all((-0.1234567894, 2.0, float("nan")), 9)[:2] == [-0.123456789, 2.0]
