"""From scores to figures: AL(k), AVG, IR, N-IR, N-R2 and their intervals (paper section 4, RLPA).

Every figure is a function of the *averaged* curve AL(k) = mean score over personas at turn k:
IR is the slope of its least-squares line, N-IR and N-R2 are slope and R2 after min-max normalisation.
AVG, the late mean, IR and guarded IR are linear in the curve, so their intervals come from one influence value per
persona (see ``curve_interval``); N-IR and N-R2 are not, and are resampled.

Invariants: unscored is NaN in arrays; an undefined figure is ``None``, never NaN or 0; unscored replies are counted,
not filled in; a turn at which fewer than ``MIN_SCORED`` conversations were scored is shown, but is in no figure of the
curve. Shapes: scores are (n_personas, n_turns), or (n_personas, n_samples, n_turns) with several conversations each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from aloe.stats import Clusters, Estimate, Floats, bootstrap_interval, fit_line, is_flat, mean_interval
from aloe.types import AlignmentPoint

RULES = 2  # by which figures are made, see ``BenchmarkResult``
LATE_TURNS = 3  # of the late mean
MIN_SCORED = 10  # scored conversations below which a turn says too little


@dataclass(frozen=True, slots=True)
class CurveFigures:
    """The figures of one averaged curve; None where undefined (flat curve, nothing scored)."""

    avg: float | None
    ir: float | None
    n_ir: float | None
    n_r2: float | None
    al_1: float | None
    al_k: float | None
    late: float | None  # mean of the last three turns


@dataclass(frozen=True, slots=True)
class Measurement:
    """Everything that scores alone can say about one model."""

    points: tuple[AlignmentPoint, ...]
    figures: CurveFigures
    avg: Estimate | None
    ir: Estimate | None
    late: Estimate | None
    n_ir_ci: tuple[float, float] | None
    n_r2_ci: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """First minus second model on the personas that both have scores for.

    ``guarded``: of guarded IR; with the generic control as second model it is the first one's guarded IR itself.
    ``is_paired``: false where they have no personas in common (``bench/unpaired.py``).
    """

    n_personas: int
    avg: Estimate | None = None
    late: Estimate | None = None
    ir: Estimate | None = None
    guarded: Estimate | None = None
    is_paired: bool = True


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def normalise(al: ArrayLike) -> Floats | None:
    """N-AL(k) = (AL(k) - min) / (max - min), in [0, 1]; NaN stays NaN. None for a flat curve."""
    curve = np.asarray(al, dtype=float)
    if is_flat(curve):
        return None
    low, high = np.nanmin(curve), np.nanmax(curve)
    return np.asarray((curve - low) / (high - low), dtype=float)


def usable_turns(scores: ArrayLike) -> list[bool]:
    """Which turns are in the figures of a curve: those with ``MIN_SCORED`` scored conversations.

    Where there are fewer conversations than that with any score, more than half of them must be there.

    Args:
        scores: (n_personas, n_turns) or (n_personas, n_samples, n_turns), NaN = unscored.
    """
    known = np.isfinite(np.asarray(scores, dtype=float))
    known = known.reshape(-1, known.shape[-1])
    n = int(known.any(axis=1).sum())
    needed = MIN_SCORED if n >= MIN_SCORED else n // 2 + 1
    return [bool(count >= needed) for count in known.sum(axis=0)]


def curve_figures(al: ArrayLike) -> CurveFigures:
    """The figures of an averaged curve of shape (n_turns,); turn k is at position k-1, unscored turns are NaN."""
    curve = np.asarray(al, dtype=float)
    if curve.ndim != 1:
        raise ValueError(f"a curve is one list of numbers, got shape {curve.shape}")
    known = curve[np.isfinite(curve)]
    if known.size == 0:
        return CurveFigures(None, None, None, None, None, None, None)
    line = fit_line(curve)
    normal = normalise(curve)
    n_line = None if normal is None else fit_line(normal)
    tail = curve[-LATE_TURNS:]
    tail = tail[np.isfinite(tail)]
    return CurveFigures(
        avg=float(known.mean()),
        ir=None if line is None else line.slope,
        n_ir=None if n_line is None else n_line.slope,
        n_r2=None if n_line is None else n_line.r2,
        al_1=_number(curve[0]),
        al_k=_number(curve[-1]),
        late=float(tail.mean()) if tail.size else None,
    )


def average_samples(scores: ArrayLike) -> Floats:
    """Scores per persona and turn, (n_personas, n_turns): the mean over the samples that were scored."""
    table = np.asarray(scores, dtype=float)
    if table.ndim == 2:
        return table
    if table.ndim != 3:
        raise ValueError(f"scores are (personas, turns) or (personas, samples, turns), got shape {table.shape}")
    known = np.isfinite(table)
    count = known.sum(axis=1)
    total = np.where(known, table, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def averaged_curve(scores: ArrayLike, weights: Floats | None = None) -> Floats:
    """AL(k), shape (n_turns,), NaN where nobody was scored; with ``weights`` (n_draws, n_personas) one per draw."""
    table = average_samples(scores)
    known = np.isfinite(table)
    by = np.ones((1, table.shape[0])) if weights is None else weights
    count = by @ known
    total = by @ np.where(known, table, 0.0)
    curves = np.where(count > 0, total / np.where(count > 0, count, 1.0), np.nan)
    return np.asarray(curves[0] if weights is None else curves, dtype=float)


def slope_weights(defined: Sequence[bool]) -> Floats | None:
    """Weights w with sum(w * AL) = IR, shape (n_turns,), 0 at undefined turns. None with fewer than two turns."""
    known = np.asarray(defined, dtype=bool)
    if known.sum() < 2:
        return None
    k = np.arange(1, known.size + 1, dtype=float)
    dx = np.where(known, k - k[known].mean(), 0.0)
    return dx / float(dx @ dx)


def guarded_weights(defined: Sequence[bool]) -> Floats | None:
    """Weights w with sum(w * (AL - floor)) = guarded IR, shape (n_turns,), 0 at undefined turns and never negative.

    None where no turn after the first is defined.
    """
    known = np.asarray(defined, dtype=bool)
    k = np.where(known, np.arange(1, known.size + 1, dtype=float), 0.0)
    passed = float(np.sum(k * np.maximum(k - 1.0, 0.0)))
    return k / passed if passed > 0.0 else None


def guarded_ir(al: ArrayLike, floor: ArrayLike) -> float | None:
    """The improvement rate that can't be bought with bad early replies: rise over run from a start held at ``floor``.

    sum k (AL(k) - floor) / sum k (k - 1) over the turns where both are defined: the mean height above the floor by
    the mean number of turns since the first, later turns counting more. It equals IR for a curve that starts at the
    floor and rises evenly, and no AL(k) that is raised ever lowers it (IR falls where an early one is raised).

    Args:
        al: shape (n_turns,), NaN = unscored.
        floor: what a model that answers everybody alike scores under the same judge: a number, or by turn.

    Returns:
        None where no turn after the first is defined.
    """
    curve = np.asarray(al, dtype=float)
    if curve.ndim != 1:
        raise ValueError(f"a curve is one list of numbers, got shape {curve.shape}")
    height = curve - np.broadcast_to(np.asarray(floor, dtype=float), curve.shape)
    known = np.isfinite(height)
    weights = guarded_weights(known.tolist())
    return None if weights is None else float(weights[known] @ height[known])


def mean_weights(defined: Sequence[bool], last: int | None = None) -> Floats | None:
    """Weights of the mean over defined turns, of the ``last`` turns only if given; None if there are none."""
    known = np.array(defined, dtype=bool)
    if last is not None:
        known[: max(known.size - last, 0)] = False
    return known / known.sum() if known.any() else None


def influence(table: Floats, weights: Floats) -> Floats:
    """One value per persona whose mean is sum(weights * AL) and whose spread is that estimate's.

    A persona counts n / n_k at turn k, where n_k of n personas are scored there; with nothing unscored the value is
    simply sum(weights * scores) of the persona. Deviations from the mean of few are widened by sqrt(n_k / (n_k - 1)),
    less what the spread over all n is widened by anyway. A persona with no score at all gets NaN.
    """
    known = np.isfinite(table)
    present = known.any(axis=1)
    curve = averaged_curve(table)
    n, count = max(int(present.sum()), 1), known.sum(axis=0)
    used = weights != 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        wider = np.sqrt(np.where(count > 1, count / (count - 1.0) * (n - 1.0) / n, 1.0))
        factor = (wider * n / count)[used]
    deviation = np.where(known, table - curve, 0.0)[:, used] * factor
    values = float(weights[used] @ curve[used]) + deviation @ weights[used]
    return np.where(present, values, np.nan)


def precision(table: Floats, weights: Floats) -> float:
    """Degrees of freedom of the spread of ``influence``, n - 1 where nothing is unscored (Satterthwaite).

    Few personas that count for many make the spread as uncertain as if there were only them.
    """
    known = np.isfinite(table)
    present = known.any(axis=1)
    count = np.maximum(known.sum(axis=0), 1)
    variance = (known * (weights / count) ** 2).sum(axis=1)[present]
    total = float(variance.sum())
    return max(1.0, total**2 / float(variance @ variance) - 1.0) if total > 0.0 else float(max(present.sum() - 1, 1))


def curve_interval(scores: ArrayLike, weights: Floats | None, clusters: Clusters) -> Estimate | None:
    """Interval of the linear figure sum(weights * AL); None with fewer than two personas or undefined weights."""
    table = average_samples(scores)
    if weights is None:
        return None
    return mean_interval(influence(table, weights), clusters, df=precision(table, weights))


def alignment_points(scores: ArrayLike, clusters: Clusters) -> tuple[AlignmentPoint, ...]:
    """AL(k) with 95% bands. Scored and unscored are counts of replies (personas x samples)."""
    raw = np.asarray(scores, dtype=float)
    raw = raw[:, None, :] if raw.ndim == 2 else raw
    usable = usable_turns(raw)
    table = average_samples(raw)
    curve = averaged_curve(table)
    points = []
    for turn in range(table.shape[1]):
        scored = int(np.isfinite(raw[:, :, turn]).sum())
        interval = mean_interval(table[:, turn], clusters)
        points.append(
            AlignmentPoint(
                k=turn + 1,
                al=_number(curve[turn]),
                ci_low=None if interval is None else interval.low,
                ci_high=None if interval is None else interval.high,
                n_scored=scored,
                n_unscored=raw.shape[0] * raw.shape[1] - scored,
                in_figures=usable[turn],
            )
        )
    return tuple(points)


def normalised_figures(curves: Floats) -> tuple[Floats, Floats]:
    """N-IR and N-R2 of each of ``curves`` (n, n_turns), each shape (n,); NaN where undefined."""
    known = np.isfinite(curves)
    low = np.where(known, curves, np.inf).min(axis=1, initial=np.inf)
    high = np.where(known, curves, -np.inf).max(axis=1, initial=-np.inf)
    size = np.where(known, np.abs(curves), 0.0).max(axis=1, initial=0.0)
    curved = (known.sum(axis=1) >= 2) & (high - low > 1e-9 * size)  # as in is_flat
    known, low, high = known[curved], low[curved, None], high[curved, None]

    def centred(values: Floats) -> Floats:
        mean = np.where(known, values, 0.0).sum(axis=1, keepdims=True) / known.sum(axis=1, keepdims=True)
        return np.where(known, values - mean, 0.0)

    dx = centred(np.broadcast_to(np.arange(1.0, curves.shape[1] + 1), known.shape))
    dy = centred((curves[curved] - low) / (high - low))
    slope = (dx * dy).sum(axis=1) / (dx * dx).sum(axis=1)
    rest = dy - slope[:, None] * dx
    n_ir, n_r2 = np.full((2, curves.shape[0]), np.nan)
    n_ir[curved], n_r2[curved] = slope, 1.0 - (rest * rest).sum(axis=1) / (dy * dy).sum(axis=1)
    return n_ir, n_r2


def _normalised_intervals(
    table: Floats, figures: CurveFigures, ir: Estimate | None, draws: Floats
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """Intervals of N-IR and N-R2 (within [0, 1]) from bootstrap counts of the personas (n_draws, n_personas).

    Few groups that are drawn again don't show how uncertain they are. IR has an interval that does: what the draws'
    spread of IR is short of that, or over, the other two are taken to be too.
    """
    if figures.n_ir is None or figures.n_r2 is None or ir is None:
        return None, None
    curves = averaged_curve(table, draws)
    n_ir, n_r2 = normalised_figures(curves)
    weights = slope_weights(np.isfinite(averaged_curve(table)).tolist())
    plain = None if weights is None else bootstrap_interval(ir.value, curves[:, weights != 0] @ weights[weights != 0])
    if plain is None or plain[0] == plain[1]:
        return None, None
    wider = (ir.high - ir.low) / (plain[1] - plain[0])

    def scaled(value: float, drawn: Floats) -> tuple[float, float] | None:
        found = bootstrap_interval(value, drawn)
        return None if found is None else (value - wider * (value - found[0]), value + wider * (found[1] - value))

    r2 = scaled(figures.n_r2, n_r2)
    return scaled(figures.n_ir, n_ir), None if r2 is None else (max(0.0, r2[0]), min(1.0, r2[1]))


def measure(
    scores: ArrayLike, clusters: Clusters, rng: np.random.Generator | None = None, n_bootstrap: int = 2000
) -> Measurement:
    """All figures of one model.

    Args:
        scores: (n_personas, n_turns) or (n_personas, n_samples, n_turns), NaN = unscored.
        clusters: of the n_personas.
        rng: for the intervals of N-IR and N-R2; None leaves those two out.
    """
    whole = average_samples(scores)
    if whole.shape[0] != clusters.n:
        raise ValueError(f"{whole.shape[0]} rows of scores, but clusters of {clusters.n} personas")
    usable = usable_turns(scores)
    table = np.where(usable, whole, np.nan)
    figures = curve_figures(averaged_curve(table))
    ir = curve_interval(table, slope_weights(usable), clusters)
    n_ir_ci, n_r2_ci = (None, None)
    if rng is not None:
        n_ir_ci, n_r2_ci = _normalised_intervals(table, figures, ir, clusters.draw_weights(rng, n_bootstrap))
    return Measurement(
        points=alignment_points(scores, clusters),
        figures=figures,
        avg=curve_interval(table, mean_weights(usable), clusters),
        ir=ir,
        late=curve_interval(table, mean_weights(usable, LATE_TURNS), clusters),
        n_ir_ci=n_ir_ci,
        n_r2_ci=n_r2_ci,
    )


def paired_difference(first: ArrayLike, second: ArrayLike, clusters: Clusters) -> PairedDifference:
    """First minus second over the same personas in the same order, with intervals of the difference itself.

    Personas without any score in one of the two are left out of both, and turns with too few scores in one of them.
    What user, persona and opening message do to both models alike cancels; that is why the interval is narrower than
    the two models' own.
    """
    a, b = average_samples(first), average_samples(second)
    if a.shape != b.shape or a.shape[0] != clusters.n:
        raise ValueError(f"scores must have one shape and match the clusters, got {a.shape} and {b.shape}")
    shared = np.asarray(np.isfinite(a).any(axis=1) & np.isfinite(b).any(axis=1))
    a, b, groups = a[shared], b[shared], clusters.take(shared)
    if not shared.any():
        return PairedDifference(0)
    usable = [x and y for x, y in zip(usable_turns(a), usable_turns(b), strict=True)]

    def interval(weights: Floats | None) -> Estimate | None:
        if weights is None:
            return None
        df = min(precision(a, weights), precision(b, weights))
        return mean_interval(influence(a, weights) - influence(b, weights), groups, df=df)

    return PairedDifference(
        n_personas=int(shared.sum()),
        avg=interval(mean_weights(usable)),
        late=interval(mean_weights(usable, LATE_TURNS)),
        ir=interval(slope_weights(usable)),
        guarded=interval(guarded_weights(usable)),
    )


def result_figures(measured: Measurement) -> dict[str, object]:
    """The part of a BenchmarkResult that comes from scores alone."""
    figures = measured.figures

    def bounds(estimate: Estimate | None) -> tuple[float, float] | None:
        return None if estimate is None else (estimate.low, estimate.high)

    return {
        "rules": RULES,
        "points": measured.points,
        "avg": figures.avg,
        "avg_ci": bounds(measured.avg),
        "late_mean": figures.late,
        "late_mean_ci": bounds(measured.late),
        "ir": figures.ir,
        "ir_ci": bounds(measured.ir),
        "n_ir": figures.n_ir,
        "n_ir_ci": measured.n_ir_ci,
        "n_r2": figures.n_r2,
        "n_r2_ci": measured.n_r2_ci,
    }
