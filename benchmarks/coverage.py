"""Do the benchmark's intervals cover, given what a reader sees of them, and do its tests find what they should?

A simulated score of persona i at turn k is a rising mean curve, plus effects of its profile, its personality and its
own on level and slope, plus noise per reply. What is known exactly is IR and AVG, so every interval can be checked:

- coverage_...: 95% intervals of IR that hold the truth. Designs: 100 personas that share nothing; 100 profiles of
  which each has one of 4 personalities (100x4); 20 profiles x 5 personalities (20x5), and others; with shares of the
  personality (and profile) in all variance from none to a half.
- conditional_...: the lowest coverage of IR and AVG among what a reader can see of one interval: whether it is in the
  narrowest, middle or widest third of its design, and whether the effect of the personality is estimated to be small
  or large (below or above the design's median). conditional_min: the lowest of all designs. In balanced designs the
  mean is independent of its interval's width, so the chance of covering is known for each run and there is little
  noise; coverage_... counts hits.
- width_...: median width in units of what a z interval that knows the variance would have. neighbours_...: median
  ratio of the widths of two runs after one another.
- coverage_attrition: 10 of 100 conversations are left at the last three turns. coverage_corrected_mean: the judge's
  mean corrected by 20 ratings of people whose scores spread wider than the judge's.
- false_positive_rate: two copies of one model under different sampling seeds, same personas; share of paired IR
  differences that exclude 0. false_positive_rate_crossed: the same on crossed personas whose effects both share.
- power: share of true IR differences of 0.05 that are found, paired, independent personas. power_crossed: the same on
  crossed ones of which profile and personality share a tenth each of how the difference varies.
  power_10x10: as crossed, but as many personalities as profiles.
- oracle_power...: what a z test that knows the variance would find; no unbiased test can do better. On crossed
  personas the variance has to come from five personalities, and that costs (see docs/metrics.md).

Single-threaded; about five minutes.
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

from aloe.bench.calibration import Rated, corrected_mean
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


def one_of(n_profiles: int, n_personalities: int, personality_share: float) -> Design:
    """Every profile once, with one of the personalities in turn."""
    codes = tuple(i % n_personalities for i in range(n_profiles))
    return Design(tuple(range(n_profiles)), codes, 0.0, personality_share)


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


@dataclass(frozen=True)
class Study:
    """What one design's intervals of one figure did."""

    covered: float  # share that hold the truth
    cells: dict[str, float]  # coverage by what a reader sees
    width: float
    neighbours: float
    within: float  # share of neighbours whose widths differ by a factor of 1.5 at most

    def __str__(self) -> str:
        cells = "  ".join(f"{name} {value:.3f}" for name, value in self.cells.items())
        rest = f"width {self.width:.2f}  neighbours {self.neighbours:.2f} ({self.within:.0%} within 1.5)"
        return f"coverage {self.covered:.3f}  {cells}  {rest}"


def true_sd(design: Design, sd: float) -> float:
    """Standard deviation of the mean of persona values that vary by ``sd`` in all."""
    n = len(design.profiles)
    variance = (1.0 - design.profile_share - design.personality_share) / n
    for codes, share in ((design.profiles, design.profile_share), (design.personalities, design.personality_share)):
        counts = np.bincount(codes)
        variance += share * float(counts @ counts) / n**2
    return sd * math.sqrt(variance)


def component(values: Floats, codes: tuple[int, ...]) -> float:
    """Moment estimate of the personality's variance, up to a factor: between groups minus within."""
    groups = np.array(codes)
    counts = np.bincount(groups)
    means = np.bincount(groups, values) / counts
    between = float(counts @ (means - values.mean()) ** 2) / (counts.size - 1)
    return between - float(np.sum((values - means[groups]) ** 2)) / (values.size - counts.size)


def study(design: Design, figure: str, n_runs: int, seed: int, name: str) -> Study:
    """Intervals of IR (``ir``) or AVG (``avg``) over ``n_runs`` simulated benchmarks."""
    clusters, turns = design.clusters, [True] * N_TURNS
    weights, truth, sd = (
        (slope_weights(turns), TRUE_IR, SLOPE_SD) if figure == "ir" else (mean_weights(turns), 3.0, LEVEL_SD)
    )
    assert weights is not None
    spread = true_sd(design, sd)
    halves, hits, sizes = np.empty(n_runs), np.empty(n_runs), np.empty(n_runs)
    is_shared = len(set(design.personalities)) < len(design.personalities)
    for run in range(n_runs):
        rng = derive_rng(seed, "coverage", name, run)
        scores = add_noise(draw_means(design, rng), rng)
        found = curve_interval(scores, weights, clusters)
        assert found is not None
        halves[run], hits[run] = found.high - found.value, found.low <= truth <= found.high
        sizes[run] = component(scores @ weights, design.personalities) if is_shared else 0.0
    chance = np.array([math.erf(h / spread / math.sqrt(2.0)) for h in halves])
    low, high = np.quantile(halves, [1 / 3, 2 / 3])
    seen = {"narrow": halves <= low, "middle": (halves > low) & (halves <= high), "wide": halves > high}
    if is_shared:
        seen |= {"small effect": sizes <= np.median(sizes), "large effect": sizes > np.median(sizes)}
    ratios = np.exp(np.abs(np.diff(np.log(halves))))
    return Study(
        float(hits.mean()),
        {cell: float(chance[chosen].mean()) for cell, chosen in seen.items()},
        float(np.median(halves)) / (1.959964 * spread),
        float(np.median(ratios)),
        float(np.mean(ratios <= 1.5)),
    )


def covered(design: Design, n_runs: int, seed: int, name: str, unscored: float, n_left: int) -> float:
    """Share of intervals of IR that hold the truth where replies are unscored: a share of all, or all but ``n_left``
    conversations at the last three turns."""
    clusters, weights, hits = design.clusters, slope_weights([True] * N_TURNS), 0
    for run in range(n_runs):
        rng = derive_rng(seed, "coverage", name, run)
        scores = add_noise(draw_means(design, rng), rng, unscored)
        if n_left:
            scores[n_left:, -3:] = np.nan
        found = curve_interval(scores, weights, clusters)
        assert found is not None
        hits += found.low <= TRUE_IR <= found.high
    return hits / n_runs


def ignored(design: Design, n_runs: int, seed: int, name: str) -> float:
    """Coverage of IR if nobody knew that personas share anything."""
    alone = Clusters.independent(len(design.profiles))
    hits = 0
    for run in range(n_runs):
        rng = derive_rng(seed, "coverage", name, run)
        found = curve_interval(add_noise(draw_means(design, rng), rng), slope_weights([True] * N_TURNS), alone)
        assert found is not None
        hits += found.low <= TRUE_IR <= found.high
    return hits / n_runs


def corrected(n_runs: int, seed: int) -> float:
    """Share of corrected means whose interval holds what people would say on average, 100 personas x 10 replies."""
    hits = 0
    for run in range(n_runs):
        rng = derive_rng(seed, "corrected", run)
        people = 3.0 + LEVEL_SD * rng.standard_normal((100, 1)) + NOISE_SD * rng.standard_normal((100, N_TURNS))
        judge = 3.3 + 0.4 * (people - 3.0) + 0.2 * rng.standard_normal(people.shape)
        rows = [
            Rated(f"{p}/{k}", "m", str(p), (str(p), str(p)), float(judge[p, k]))
            for p in range(100)
            for k in range(N_TURNS)
        ]
        asked = {rows[i].item: float(people.ravel()[i]) for i in rng.permutation(people.size)[:20].tolist()}
        found = corrected_mean("m", rows, asked).corrected
        assert found is not None
        hits += found.low <= 3.0 <= found.high
    return hits / n_runs


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


DESIGNS = {
    "independent": independent(100),
    "100x4_half": one_of(100, 4, 0.5),
    "100x4": one_of(100, 4, 0.25),
    "100x4_tenth": one_of(100, 4, 0.1),
    "100x4_twentieth": one_of(100, 4, 0.05),
    "100x4_no_effect": one_of(100, 4, 0.0),
    "crossed_half": crossed(20, 5, 0.0, 0.5),
    "crossed": crossed(20, 5, 0.25, 0.25),
    "crossed_no_profile": crossed(20, 5, 0.0, 0.25),
    "crossed_share_10": crossed(20, 5, 0.0, 0.1),
    "crossed_share_05": crossed(20, 5, 0.0, 0.05),
    "crossed_small_share": crossed(20, 5, 0.1, 0.05),
    "crossed_no_effect": crossed(20, 5, 0.0, 0.0),
    "4_personalities": crossed(25, 4, 0.25, 0.25),
    "10x10": crossed(10, 10, 0.25, 0.25),
    "nested": one_of(100, 10, 0.25),
}


def run(n_runs: int, seed: int) -> dict[str, float]:
    """All figures; prints a line per study."""
    spread = 1.96 * math.sqrt(0.95 * 0.05 / n_runs)
    print(f"{n_runs} simulated benchmarks each; +-{spread:.3f} at 0.95 (95% binomial spread)")
    print(f"python {platform.python_version()}, numpy {np.__version__}, {os.cpu_count()} cores, one used")
    figures: dict[str, float] = {}
    lowest = []
    for name, design in DESIGNS.items():
        start = time.perf_counter()
        found = {figure: study(design, figure, n_runs, seed, name) for figure in ("ir", "avg")}
        figures[f"coverage_{name}"], figures[f"coverage_{name}_avg"] = (s.covered for s in found.values())
        figures[f"conditional_{name}"] = min(v for s in found.values() for v in s.cells.values())
        figures[f"width_{name}"], figures[f"neighbours_{name}"] = found["ir"].width, found["ir"].neighbours
        lowest.append(figures[f"conditional_{name}"])
        for figure, one in found.items():
            print(f"{name:<20} {figure:<4} {one}", flush=True)
        print(f"{'':<25} {time.perf_counter() - start:.1f} s", flush=True)
    figures["conditional_min"] = min(lowest)
    figures["coverage_unscored_10pct"] = covered(crossed(20, 5, 0.25, 0.25), n_runs, seed, "unscored", 0.1, 0)
    figures["coverage_attrition"] = covered(independent(100), n_runs, seed, "attrition", 0.0, 10)
    figures["coverage_corrected_mean"] = corrected(n_runs, seed)
    figures["coverage_crossed_if_clusters_ignored"] = ignored(DESIGNS["crossed"], n_runs, seed, "crossed")
    for name in ("unscored_10pct", "attrition", "corrected_mean", "crossed_if_clusters_ignored"):
        print(f"{name:<28} {figures[f'coverage_{name}']:.3f}", flush=True)
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
    print(f"lowest conditional coverage {figures['conditional_min']:.3f}")
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
