"""What reinforcement learning saw, as rows that other trainings and tools read.

For every message that was answered: a row per reply in the manner of verifiers' saved results (``rollouts``), the best
and the worst of its siblings as TRL's preference columns (``dpo``), and the best one as a conversation (``sft``).
Rewards are those before any shuffling.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from aloe.rl.rollout import DrawnReply, Siblings
from aloe.types import PreferencePair, SFTExample

FOLDER = "replay"
NAMES = ("rollouts", "dpo", "sft")
LABELER = "rl"

Row = dict[str, Any]


def replay_rows(groups: Iterable[Siblings], step: int) -> dict[str, list[Row]]:
    """Rows of an iteration by the names of their files; each has ``step``.

    Replies without a text or a reward are left out, and of siblings with equal rewards no pair and no example is made.
    """
    found: dict[str, list[Row]] = {name: [] for name in NAMES}
    for group in groups:
        scored = [(i, reply) for i, reply in enumerate(group.replies) if reply.text and reply.reward is not None]
        found["rollouts"] += [_rollout(group, index, reply, step) for index, reply in scored]
        ranked = sorted((reply for _, reply in scored), key=lambda reply: reply.reward or 0.0)
        if len(ranked) > 1 and (ranked[-1].reward or 0.0) > (ranked[0].reward or 0.0):
            found["dpo"].append({**_pair(group, ranked), "step": step})
            found["sft"].append({**_example(group, ranked[-1]), "step": step})
    return found


def _said(text: str) -> Row:
    return {"role": "assistant", "content": text}


def _prompt(group: Siblings) -> list[Row]:
    return [{"role": m.role, "content": m.content} for m in group.state.messages]


def _rollout(group: Siblings, index: int, reply: DrawnReply, step: int) -> Row:
    return {
        "example_id": group.state.node_id,
        "task": "aloe",
        "prompt": _prompt(group),
        "completion": [_said(reply.text)],
        "answer": "",
        "reward": reply.reward,
        "metrics": {name: value for name, value in reply.terms.items() if value is not None},
        "info": {
            "tree_id": group.talk.tree_id,
            "persona_id": group.talk.persona.persona_id,
            "turn": group.turn,
            "sibling": index,
            "credit": reply.value,
            "continues_fork_of_turn": group.continues,
        },
        "is_truncated": reply.draw.is_cut,
        "step": step,
    }


def _pair(group: Siblings, ranked: Sequence[DrawnReply]) -> Row:
    best, worst = ranked[-1], ranked[0]
    pair = PreferencePair.model_validate(
        {
            "pair_id": f"{best.node_id}-{worst.node_id}",
            "tree_id": group.talk.tree_id,
            "persona_id": group.talk.persona.persona_id,
            "turn": group.turn,
            "prompt": _prompt(group),
            "chosen": [_said(best.text)],
            "rejected": [_said(worst.text)],
            "margin": (best.reward or 0.0) - (worst.reward or 0.0),
            "labeler": LABELER,
        }
    )
    return pair.model_dump(mode="json")


def _example(group: Siblings, best: DrawnReply) -> Row:
    example = SFTExample.model_validate(
        {
            "example_id": best.node_id,
            "tree_id": group.talk.tree_id,
            "persona_id": group.talk.persona.persona_id,
            "turn": group.turn,
            "messages": [*_prompt(group), _said(best.text)],
        }
    )
    return example.model_dump(mode="json")
