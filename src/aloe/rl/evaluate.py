"""Evaluations during training: conversations with held-out personas, every reward by turn, and samples to look at."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from aloe.rl.people import Cast
from aloe.rl.rewards import Rewards
from aloe.rl.rollout import Rollout, Siblings
from aloe.stats import mean_interval
from aloe.training.reinforce.together import gathered
from aloe.training.trl_run import processes

N_SAMPLES = 3  # conversations that are written down at an evaluation


async def evaluate(
    people: Cast, rollout: Rollout, rewards: Rewards, n_turns: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One reply a turn to every held-out persona; the processes share the conversations.

    Args:
        rollout: has the conversations, and then tells which of them a failed call ended.

    Returns:
        The evaluation (means and intervals over personas, curves by turn, of every reward), and samples.
    """
    rank, n = processes().process_index, processes().num_processes
    groups = await rollout.run(people.held_talks()[rank::n])
    rows = [
        {"number": g.talk.number, "turn": g.turn, "terms": g.replies[0].terms, "words": len(g.replies[0].text.split())}
        for g in groups
    ]
    rows = sorted(gathered(rows), key=lambda row: (row["number"], row["turn"]))
    samples = [row for row in gathered(_samples(groups)) if row["conversation"] < N_SAMPLES]
    return _summary(rows, rewards, n_turns), sorted(samples, key=lambda s: (s["conversation"], s["turn"]))


def _summary(rows: Sequence[dict[str, Any]], rewards: Rewards, n_turns: int) -> dict[str, Any]:
    found: dict[str, Any] = {"n_conversations": len({row["number"] for row in rows}), "rewards": {}}
    for name in (term.name for term in rewards.terms):
        by_turn: dict[int, list[float]] = defaultdict(list)
        by_talk: dict[int, list[float]] = defaultdict(list)
        for row in rows:
            if (value := row["terms"].get(name)) is not None:
                by_turn[row["turn"]].append(value)
                by_talk[row["number"]].append(value)
        if not by_talk:
            continue
        interval = mean_interval(np.array([math.fsum(v) / len(v) for v in by_talk.values()]))
        found["rewards"][name] = {
            "mean": _mean([v for values in by_talk.values() for v in values]),
            "low": None if interval is None else round(interval.low, 6),
            "high": None if interval is None else round(interval.high, 6),
            "curve": [_mean(by_turn.get(turn, [])) for turn in range(1, n_turns + 1)],
        }
    found["words"] = _mean([row["words"] for row in rows])
    return found


def _mean(values: Sequence[float]) -> float | None:
    return round(math.fsum(values) / len(values), 6) if values else None


def _samples(groups: Sequence[Siblings]) -> list[dict[str, Any]]:
    return [
        {
            "conversation": g.talk.number,
            "persona_id": g.talk.persona.persona_id,
            "turn": g.turn,
            "user": g.state.messages[-1].content,
            "reply": g.replies[0].text,
            "rewards": {name: None if v is None else round(v, 4) for name, v in g.replies[0].terms.items()},
        }
        for g in groups
        if g.talk.number < N_SAMPLES
    ]
