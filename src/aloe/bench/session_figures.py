"""Figures of conversations with several sessions: AL by session, loss at the boundary, use of facts by session lag.

All but the use of facts are linear in AL(k), so their intervals are those of ``metrics.curve_interval``. Use of facts
is exact, and for personas in the world's language only (``ground_truth``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from aloe.bench.ground_truth import has_ground_truth
from aloe.bench.metrics import average_samples, averaged_curve, curve_interval, usable_turns
from aloe.config.options import BenchConfig
from aloe.stats import Clusters, Estimate, Floats, ratio_interval
from aloe.types import Message, Persona, SessionFigures, Usage
from aloe.world.timeline import latent_of
from aloe.world.truth import assess_reply

EDGE = 3  # turns before and after a boundary


class Conversation(Protocol):
    """What the figures need of one."""

    @property
    def persona(self) -> Persona: ...

    @property
    def messages(self) -> list[Message]: ...


def session_figures(
    talks: Sequence[Conversation], scores: Floats, clusters: Clusters, options: BenchConfig, usage: Mapping[str, Usage]
) -> SessionFigures:
    """The figures of one model.

    Args:
        talks: in the order of personas and samples.
        scores: (n_personas, n_samples, n_turns x n_sessions), NaN = unscored.
        usage: by role; the tokens of ``responder`` count all calls of a model, those of its memory among them.
    """
    table = np.where(usable_turns(scores), average_samples(scores), np.nan)
    each, n = options.n_turns, options.sessions
    by_session = [_mean(table, range(s * each, (s + 1) * each), clusters) for s in range(n)]
    loss, loss_ci = _boundary_loss(table, each, n, clusters)
    shares, intervals, overall = _use_by_lag(talks, options, clusters)
    n_replies = sum(len(talk.messages) // 2 for talk in talks)
    tokens = usage["responder"].prompt_tokens / n_replies if n_replies and "responder" in usage else None
    return SessionFigures(
        n_turns=each,
        al=tuple(value for value, _ in by_session),
        al_ci=tuple(interval for _, interval in by_session),
        boundary_loss=loss,
        boundary_loss_ci=loss_ci,
        fact_use_by_session_lag=shares,
        fact_use_by_session_lag_ci=intervals,
        prompt_tokens_per_turn=tokens,
        use_per_1000_tokens=1000 * overall / tokens if overall is not None and tokens else None,
    )


def _bounds(estimate: Estimate | None) -> tuple[float, float] | None:
    return None if estimate is None else (estimate.low, estimate.high)


def _linear(table: Floats, weights: Floats, clusters: Clusters) -> tuple[float | None, tuple[float, float] | None]:
    """A figure sum(weights * AL) with its interval; None where a turn with a weight has no AL."""
    curve, used = averaged_curve(table), weights != 0
    if not used.any() or not np.isfinite(curve[used]).all():
        return None, None
    return float(weights[used] @ curve[used]), _bounds(curve_interval(table, weights, clusters))


def _mean(table: Floats, turns: range, clusters: Clusters) -> tuple[float | None, tuple[float, float] | None]:
    known = np.isfinite(averaged_curve(table))
    chosen = np.zeros(table.shape[1])
    chosen[[t for t in turns if known[t]]] = 1.0
    return _linear(table, chosen / max(chosen.sum(), 1.0), clusters)


def _boundary_loss(
    table: Floats, each: int, n_sessions: int, clusters: Clusters
) -> tuple[float | None, tuple[float, float] | None]:
    edge, n = min(EDGE, each), max(n_sessions - 1, 1)
    weights = np.zeros(table.shape[1])
    for start in range(each, n_sessions * each, each):
        weights[start - edge : start] += 1 / (edge * n)
        weights[start : start + edge] -= 1 / (edge * n)
    return _linear(table, weights, clusters)


def _use_by_lag(
    talks: Sequence[Conversation], options: BenchConfig, clusters: Clusters
) -> tuple[tuple[float | None, ...], tuple[tuple[float, float] | None, ...], float | None]:
    """Share of expected facts used, by sessions since they were revealed, with intervals; and over all lags."""
    by_persona: list[Counter[tuple[str, int]]] = []
    for number, talk in enumerate(talks):
        if number % options.samples == 0:
            by_persona.append(Counter())
        _count_lags(talk, options.n_turns, by_persona[-1])
    shares: list[float | None] = []
    intervals: list[tuple[float, float] | None] = []
    for lag in range(options.sessions):
        used, of = ([counts[key, lag] for counts in by_persona] for key in ("used", "of"))
        shares.append(sum(used) / sum(of) if sum(of) else None)
        intervals.append(_bounds(ratio_interval(used, of, clusters)) if sum(of) else None)
    total: Counter[str] = Counter()
    for counts in by_persona:
        for (key, _), value in counts.items():
            total[key] += value
    return tuple(shares), tuple(intervals), total["used"] / total["of"] if total["of"] else None


def _count_lags(talk: Conversation, each: int, counts: Counter[tuple[str, int]]) -> None:
    if not has_ground_truth(latent_of(talk.persona)):
        return
    messages = talk.messages
    for turn in range(1, len(messages) // 2 + 1):
        truth = assess_reply(
            latent_of(talk.persona.as_of(turn)), messages[: 2 * turn - 1], messages[2 * turn - 1].content
        )
        for lag, used in truth.lags:
            sessions = (turn - 1) // each - (turn - lag - 1) // each
            counts["of", sessions] += 1
            counts["used", sessions] += used
