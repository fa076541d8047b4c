"""Scores to figures: AL(k), AVG, IR, N-IR, N-R2 and their intervals (section 4 of the paper; RLPA's formulas).

Every figure is a function of the *averaged* curve AL(k) = mean score over personas at turn k:
IR is the slope of its least-squares line, N-IR and N-R2 are slope and R2 after min-max normalisation.
AVG, IR and the late mean are linear in the curve, so their intervals come from one influence value per persona
(see ``curve_interval``); N-IR and N-R2 are not, and are resampled.

Invariants: NaN in, ``None`` out, never NaN or 0 for what is undefined; unscored replies are counted, not filled in.
Shapes: scores are (n_personas, n_turns), or (n_personas, n_samples, n_turns) with several conversations each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from aloe.stats import Clusters, Estimate, Floats, bootstrap_interval, fit_line, is_flat, mean_interval
from aloe.types import AlignmentPoint


@dataclass(frozen=True, slots=True)
class CurveFigures:
    """The figures of one averaged curve; None where undefined (flat curve, nothing scored)."""

    avg: float | None
    ir: float | None
    n_ir: float | None
    n_r2: float | None
    al_1: float | None
    al_k: float | None
    late: float | None  # mean of the last third of the turns (at least one)


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
    """First minus second model on the personas that both have scores for."""

    n_personas: int
    avg: Estimate | None
    ir: Estimate | None
    late: Estimate | None


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def normalise(al: ArrayLike) -> Floats | None:
    """N-AL(k) = (AL(k) - min) / (max - min), in [0, 1]; NaN stays NaN. None for a flat curve."""
    curve = np.asarray(al, dtype=float)
    if is_flat(curve):
        return None
    low, high = np.nanmin(curve), np.nanmax(curve)
    return np.asarray((curve - low) / (high - low), dtype=float)


def late_turns(n_turns: int) -> int:
    """How many turns the late mean covers: the last third, at least one."""
    return max(1, n_turns // 3)


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
    tail = curve[-late_turns(curve.size) :]
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
        known[: known.size - last] = False
    return known / known.sum() if known.any() else None


def influence(table: Floats, weights: Floats) -> Floats:
    """One value per persona whose mean is sum(weights * AL) and whose spread is that estimate's.

    A persona counts n / n_k at turn k, where n_k of n personas are scored there; with nothing unscored the value is
    simply sum(weights * scores) of the persona. A persona with no score at all gets NaN.
    """
    known = np.isfinite(table)
    present = known.any(axis=1)
    curve = averaged_curve(table)
    share = known.sum(axis=0) / max(int(present.sum()), 1)
    used = weights != 0.0
    deviation = np.where(known, table - curve, 0.0)[:, used] / share[used]
    values = float(weights[used] @ curve[used]) + deviation @ weights[used]
    return np.where(present, values, np.nan)


def curve_interval(scores: ArrayLike, weights: Floats | None, clusters: Clusters) -> Estimate | None:
    """Interval of the linear figure sum(weights * AL); None with fewer than two personas or undefined weights."""
    table = average_samples(scores)
    return None if weights is None else mean_interval(influence(table, weights), clusters)


def alignment_points(scores: ArrayLike, clusters: Clusters) -> tuple[AlignmentPoint, ...]:
    """AL(k) with 95% bands. Scored and unscored are counts of replies (personas x samples)."""
    raw = np.asarray(scores, dtype=float)
    raw = raw[:, None, :] if raw.ndim == 2 else raw
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
            )
        )
    return tuple(points)


def bootstrap_normalised(
    scores: ArrayLike, clusters: Clusters, rng: np.random.Generator, n_draws: int
) -> tuple[Floats, Floats]:
    """N-IR and N-R2 of ``n_draws`` resampled benchmarks, each shape (n_draws,); NaN where a draw is undefined."""
    curves = averaged_curve(scores, clusters.draw_weights(rng, n_draws))
    n_ir, n_r2 = np.full(n_draws, np.nan), np.full(n_draws, np.nan)
    for draw, curve in enumerate(curves):
        normal = normalise(curve)
        line = None if normal is None else fit_line(normal)
        if line is not None and line.r2 is not None:
            n_ir[draw], n_r2[draw] = line.slope, line.r2
    return n_ir, n_r2


def measure(
    scores: ArrayLike, clusters: Clusters, rng: np.random.Generator | None = None, n_bootstrap: int = 2000
) -> Measurement:
    """All figures of one model.

    Args:
        scores: (n_personas, n_turns) or (n_personas, n_samples, n_turns), NaN = unscored.
        clusters: of the n_personas.
        rng: for the intervals of N-IR and N-R2; None leaves those two out.
    """
    table = average_samples(scores)
    if table.shape[0] != clusters.n:
        raise ValueError(f"{table.shape[0]} rows of scores, but clusters of {clusters.n} personas")
    curve = averaged_curve(table)
    defined = np.isfinite(curve).tolist()
    n_ir_ci = n_r2_ci = None
    figures = curve_figures(curve)
    if rng is not None and figures.n_ir is not None and figures.n_r2 is not None and table.shape[0] > 1:
        n_ir, n_r2 = bootstrap_normalised(table, clusters, rng, n_bootstrap)
        n_ir_ci, n_r2_ci = bootstrap_interval(figures.n_ir, n_ir), bootstrap_interval(figures.n_r2, n_r2)
        if n_r2_ci is not None:
            n_r2_ci = (max(0.0, n_r2_ci[0]), min(1.0, n_r2_ci[1]))
    return Measurement(
        points=alignment_points(scores, clusters),
        figures=figures,
        avg=curve_interval(table, mean_weights(defined), clusters),
        ir=curve_interval(table, slope_weights(defined), clusters),
        late=curve_interval(table, mean_weights(defined, late_turns(curve.size)), clusters),
        n_ir_ci=n_ir_ci,
        n_r2_ci=n_r2_ci,
    )


def paired_difference(first: ArrayLike, second: ArrayLike, clusters: Clusters) -> PairedDifference:
    """First minus second over the same personas in the same order, with intervals of the difference itself.

    Personas without any score in one of the two are left out of both. What user, persona and opening message do to
    both models alike cancels; that is why the interval is narrower than the two models' own.
    """
    a, b = average_samples(first), average_samples(second)
    if a.shape != b.shape or a.shape[0] != clusters.n:
        raise ValueError(f"scores must have one shape and match the clusters, got {a.shape} and {b.shape}")
    shared = np.asarray(np.isfinite(a).any(axis=1) & np.isfinite(b).any(axis=1))
    a, b, groups = a[shared], b[shared], clusters.take(shared)
    if not shared.any():
        return PairedDifference(0, None, None, None)
    defined = (np.isfinite(averaged_curve(a)) & np.isfinite(averaged_curve(b))).tolist()

    def interval(weights: Floats | None) -> Estimate | None:
        if weights is None:
            return None
        return mean_interval(influence(a, weights) - influence(b, weights), groups)

    return PairedDifference(
        n_personas=int(shared.sum()),
        avg=interval(mean_weights(defined)),
        ir=interval(slope_weights(defined)),
        late=interval(mean_weights(defined, late_turns(len(defined)))),
    )
