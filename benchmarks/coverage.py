"""Do the benchmark's intervals cover, and do its tests find what they should? Simulated benchmarks with known IR.

A simulated score of persona i at turn k is a rising mean curve, plus effects of its profile, its personality and its
own on level and slope, plus noise per reply. What is known exactly is IR, so every interval can be checked:

- coverage_independent: 95% intervals of IR that hold the truth, 100 personas that share nothing.
- coverage_crossed: the same for 20 profiles x 5 personalities, personality a quarter of all variance of the slopes.
- false_positive_rate: two copies of one model under different sampling seeds, same personas; share of paired IR
  differences that exclude 0. false_positive_rate_crossed: the same on crossed personas whose effects both share.
- power: share of true IR differences of 0.05 that are found, paired, independent personas. power_crossed: the same on
  crossed ones of which profile and personality share a tenth each of how the difference varies.
  power_10x10: as crossed, but as many personalities as profiles.
- oracle_power...: what a z test that knows the variance would find; no unbiased test can do better. On crossed
  personas the variance has to come from five personalities, and that costs (see docs/metrics.md).

Also printed: the textbook interval that ignores clusters (it must fail on crossed personas), AVG and AL(K), other
shares of the personality, few personalities, unscored replies. Compares methods on equal draws; single-threaded.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from dataclasses import dataclass

import numpy as np

from aloe.bench.metrics import curve_interval, mean_weights, paired_difference, slope_weights
from aloe.seeding import derive_rng
from aloe.stats import Clusters, Floats, t_quantile

N_TURNS = 10
TRUE_IR = 0.15
SLOPE_SD, LEVEL_SD, NOISE_SD = 0.20, 0.60, 0.80  # of a persona's fitted slope, of its mean score, of one reply
GAP_SD = 0.05  # by how much the difference between two models' slopes varies over personas
TURNS = np.arange(1, N_TURNS + 1) - (N_TURNS + 1) / 2


@dataclass(frozen=True)
class Design:
    """Who shares what: profile and personality of each persona, and their shares of the variance."""

    profiles: tuple[int, ...]
    personalities: tuple[int, ...]
    profile_share: float = 0.25
    personality_share: float = 0.25

    @property
    def clusters(self) -> Clusters:
        return Clusters(self.profiles, self.personalities)

    def effects(self, rng: np.random.Generator, sd: float, noise: float = 0.0) -> Floats:
        """One draw of persona effects, shape (n_personas,). With noise of variance ``noise`` added they vary by ``sd``
        in all, so that the shares are shares of everything that varies."""
        own = max((1.0 - self.profile_share - self.personality_share) * sd**2 - noise, 0.0)
        total = math.sqrt(own) * rng.standard_normal(len(self.profiles))
        for codes, share in ((self.profiles, self.profile_share), (self.personalities, self.personality_share)):
            total += sd * math.sqrt(share) * rng.standard_normal(max(codes) + 1)[list(codes)]
        return np.asarray(total)


def crossed(n_profiles: int, n_personalities: int, profile_share: float, personality_share: float) -> Design:
    cells = [(i, j) for i in range(n_profiles) for j in range(n_personalities)]
    return Design(tuple(i for i, _ in cells), tuple(j for _, j in cells), profile_share, personality_share)


def independent(n: int) -> Design:
    return Design(tuple(range(n)), tuple(range(n)))


def draw_means(design: Design, rng: np.random.Generator, ir: float = TRUE_IR) -> Floats:
    """What each persona would score at each turn without noise, (n_personas, N_TURNS). Slopes average ``ir``."""
    slope = ir + design.effects(rng, SLOPE_SD, NOISE_SD**2 / float(TURNS @ TURNS))
    level = 3.0 + design.effects(rng, LEVEL_SD, NOISE_SD**2 / N_TURNS)
    return np.asarray(level[:, None] + slope[:, None] * TURNS)


def add_noise(means: Floats, rng: np.random.Generator, unscored: float = 0.0) -> Floats:
    scores = means + NOISE_SD * rng.standard_normal(means.shape)
    if unscored:
        scores[rng.random(scores.shape) < unscored] = np.nan
    return np.asarray(scores)


def coverage(design: Design, n_runs: int, seed: int, name: str, unscored: float = 0.0) -> dict[str, float]:
    """Shares of intervals that hold the truth, for IR, AVG, AL(K) and for IR with clusters ignored."""
    clusters, alone = design.clusters, Clusters.independent(len(design.profiles))
    turns = [True] * N_TURNS
    last = np.zeros(N_TURNS)
    last[-1] = 1.0
    truth_last = 3.0 + TRUE_IR * (N_TURNS - 1) / 2
    hits = {"ir": 0, "avg": 0, "al_k": 0, "ir_unclustered": 0}
    width = 0.0
    for run in range(n_runs):
        rng = derive_rng(seed, "coverage", name, run)
        scores = add_noise(draw_means(design, rng), rng, unscored)
        for figure, weights, groups, truth in (
            ("ir", slope_weights(turns), clusters, TRUE_IR),
            ("avg", mean_weights(turns), clusters, 3.0),
            ("al_k", last, clusters, truth_last),
            ("ir_unclustered", slope_weights(turns), alone, TRUE_IR),
        ):
            found = curve_interval(scores, weights, groups)
            assert found is not None
            hits[figure] += found.low <= truth <= found.high
            width += (found.high - found.low) * (figure == "ir")
    return {**{figure: n / n_runs for figure, n in hits.items()}, "width": width / n_runs}


def rejections(design: Design, gap: float, n_runs: int, seed: int, name: str, gap_sd: float = 0.0) -> dict[str, float]:
    """Share of paired differences that exclude 0, for two models whose IR differs by ``gap``.

    Both meet the same personas; persona effects are common to both except ``gap_sd`` (of slopes, per persona).
    """
    clusters = design.clusters
    n_ir = n_avg = 0
    for run in range(n_runs):
        rng = derive_rng(seed, "rejections", name, run)
        means = draw_means(design, rng)
        change = gap + design.effects(rng, gap_sd)
        first = add_noise(means + change[:, None] * TURNS, rng)
        second = add_noise(means, rng)
        found = paired_difference(first, second, clusters)
        assert found.ir is not None and found.avg is not None
        n_ir += found.ir.excludes_zero
        n_avg += found.avg.excludes_zero
    return {"ir": n_ir / n_runs, "avg": n_avg / n_runs}


def oracle_power(design: Design, gap: float, gap_sd: float) -> float:
    """Power of a two-sided z test at 5% of the paired IR difference that knows its true variance."""
    n = len(design.profiles)
    own = 1.0 - design.profile_share - design.personality_share
    variance = own * gap_sd**2 / n + 2.0 * NOISE_SD**2 / float(TURNS @ TURNS) / n
    for codes, share in ((design.profiles, design.profile_share), (design.personalities, design.personality_share)):
        counts = np.bincount(codes)
        variance += share * gap_sd**2 * float(counts @ counts) / n**2
    z, cut = gap / math.sqrt(variance), t_quantile(0.95, 1e7)
    return 0.5 * (math.erfc((cut - z) / math.sqrt(2.0)) + math.erfc((cut + z) / math.sqrt(2.0)))


def run(n_runs: int, seed: int) -> dict[str, float]:
    """All figures; prints a line per study."""
    spread = 1.96 * math.sqrt(0.95 * 0.05 / n_runs)
    print(f"{n_runs} simulated benchmarks each; +-{spread:.3f} at 0.95 (95% binomial spread)")
    print(f"python {platform.python_version()}, numpy {np.__version__}, {os.cpu_count()} cores, one used")
    figures: dict[str, float] = {}
    studies = {
        "coverage_independent": (independent(100), 0.0),
        "coverage_crossed": (crossed(20, 5, 0.25, 0.25), 0.0),
        "coverage_crossed_no_profile": (crossed(20, 5, 0.0, 0.25), 0.0),
        "coverage_crossed_no_effect": (crossed(20, 5, 0.0, 0.0), 0.0),
        "coverage_crossed_small_share": (crossed(20, 5, 0.1, 0.05), 0.0),
        "coverage_crossed_share_05": (crossed(20, 5, 0.0, 0.05), 0.0),
        "coverage_crossed_share_10": (crossed(20, 5, 0.0, 0.1), 0.0),
        "coverage_4_personalities": (crossed(25, 4, 0.25, 0.25), 0.0),
        "coverage_unscored_10pct": (crossed(20, 5, 0.25, 0.25), 0.1),
        "coverage_nested": (Design(tuple(range(100)), tuple(i // 10 for i in range(100)), 0.25, 0.25), 0.0),
    }
    for name, (design, unscored) in studies.items():
        start = time.perf_counter()
        found = coverage(design, n_runs, seed, name, unscored)
        figures[name] = found["ir"]
        if name in ("coverage_independent", "coverage_crossed"):
            figures[f"{name}_avg"] = found["avg"]
        if name == "coverage_crossed":
            figures["coverage_crossed_if_clusters_ignored"] = found["ir_unclustered"]
        row = "  ".join(f"{figure} {value:.3f}" for figure, value in found.items())
        print(f"{name:<30} {row}  ({time.perf_counter() - start:.1f} s)", flush=True)
    tests = {
        "false_positive_rate": (independent(100), 0.0, 0.0),
        "false_positive_rate_crossed": (crossed(20, 5, 0.25, 0.25), 0.0, 0.0),
        "power": (independent(100), 0.05, GAP_SD),
        "power_crossed": (crossed(20, 5, 0.1, 0.1), 0.05, GAP_SD),
        "power_10x10": (crossed(10, 10, 0.1, 0.1), 0.05, GAP_SD),
    }
    for name, (design, gap, gap_sd) in tests.items():
        found = rejections(design, gap, n_runs, seed, name, gap_sd)
        figures[name] = found["ir"]
        row = f"ir {found['ir']:.3f}  avg {found['avg']:.3f}"
        if gap:
            figures[f"oracle_{name}"] = oracle_power(design, gap, gap_sd)
            row += f"  known variance {figures[f'oracle_{name}']:.3f}"
        print(f"{name:<30} {row}", flush=True)
    print("\npersonas     coverage of IR  of AVG  false positives  power")
    for label, end in (("independent", ""), ("20 x 5", "_crossed")):
        cover = "coverage_crossed" if end else "coverage_independent"
        four = [figures[k] for k in (cover, f"{cover}_avg", f"false_positive_rate{end}", f"power{end}")]
        print(f"{label:<12} {four[0]:>14.3f}  {four[1]:>6.3f}  {four[2]:>15.3f}  {four[3]:>5.3f}", flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="simulated benchmarks per study (default 1000)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    figures = run(arguments.runs, arguments.seed)
    print(json.dumps({"benchmark": "coverage", "figures": {name: round(v, 4) for name, v in figures.items()}}))


if __name__ == "__main__":
    main()
