"""The policy-gradient loss of replies with advantages: PPO's clipped ratio per token or reply, KL by the k3 estimator.

With the policy that drew the replies all ratios are 1, and the gradient is that of REINFORCE with the advantages given.
All denominators are constants or counts, never the number of a length or of an outcome that the policy could shift,
unless ``normaliser`` asks for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from aloe.config import RLConfig

LARGEST_LOG_RATIO = 20.0  # beyond it a ratio is as good as infinite, and its exponential would overflow


@dataclass(frozen=True, slots=True)
class Objective:
    """What is optimised; the options of the same names, see ``RLConfig``.

    Attributes:
        low, high: how far the ratio may move from 1 before it is clipped. length: tokens that a reply's loss is divided
            by where ``normaliser`` is ``constant`` or ``batch``. cap: largest importance weight, see ``importance``.
    """

    ratio: str = "token"
    low: float = 0.2
    high: float = 0.2
    normaliser: str = "constant"
    length: float = 1.0
    kl: float = 0.0
    cap: float = 2.0

    @classmethod
    def of(cls, section: RLConfig, mean_length: float) -> Objective:
        """As the options say; ``mean_length``: tokens of a reply, over the whole batch."""
        length = mean_length if section.normaliser == "batch" else float(section.max_new_tokens)
        in_loss = section.kl if section.kl_in == "loss" else 0.0
        high = section.clip_high or section.clip
        return cls(section.ratio, section.clip, high, section.normaliser, length, in_loss, section.importance_cap)


@dataclass(slots=True)
class Tally:
    """Sums over tokens, to be divided by ``tokens``; ``largest`` is a maximum."""

    tokens: float = 0.0
    entropy: float = 0.0
    ratio: float = 0.0
    ratio_squared: float = 0.0
    clipped: float = 0.0
    largest: float = 0.0

    def add(self, other: Sequence[float]) -> None:
        """Add the values of another tally, in the order of the fields."""
        for field, value in zip(fields(self), other, strict=True):
            mine = getattr(self, field.name)
            setattr(self, field.name, max(mine, value) if field.name == "largest" else mine + value)

    def values(self) -> list[float]:
        return [float(getattr(self, field.name)) for field in fields(self)]


def k3(log_probs: Any, reference: Any) -> Any:
    """Schulman's third estimator of KL(policy, reference) per token, >= 0; of drawn tokens' log-probabilities."""
    gap = (reference - log_probs).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    return gap.exp() - gap - 1


def importance(old: Any, drawn: Any, mask: Any, objective: Objective) -> Any:
    """Weights for replies that another model drew: its tokens' probability under ``old`` over its own, cut at a cap.

    Per token, which forgets that the tokens before were drawn by the other model too; of the whole reply, which does
    not but varies more, where ``ratio`` is ``sequence``. All shapes are (replies, tokens).

    Args:
        drawn: log-probabilities by the model that drew them; NaN: drawn by the trained one itself.
    """
    gap = torch.where(mask & ~drawn.isnan(), old - drawn, torch.zeros((), dtype=old.dtype, device=old.device))
    if objective.ratio == "sequence":
        gap = gap.sum(1, keepdim=True).expand_as(gap)
    return gap.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp().clamp(max=objective.cap)


def policy_loss(
    log_probs: Any, old: Any, mask: Any, advantages: Any, objective: Objective, *, reference: Any = None,
    drawn: Any = None,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Loss of each reply, to be minimised.

    Shapes: ``log_probs``, ``old``, ``reference`` and ``mask`` (replies, tokens), ``advantages`` (replies,).

    Args:
        log_probs: of the drawn tokens under the policy that is trained, with gradients.
        old: the same under the policy that drew them. reference: under the starting model; None: no KL term.
        drawn: the same by the model that drew them, where that is another than ``old``, see ``importance``.
        mask: bool, which places hold a token.

    Returns:
        ``(loss, ratio, clipped)``: (replies,); (replies, tokens), without gradient; and where the clip took the
        gradient away, bool.
    """
    zero = torch.zeros((), dtype=log_probs.dtype, device=log_probs.device)
    gap = torch.where(mask, log_probs - old, zero)
    lengths = mask.sum(1)
    if objective.ratio == "sequence":
        gap = gap.sum(1, keepdim=True).expand_as(gap)
    elif objective.ratio == "geometric":
        gap = (gap.sum(1) / lengths.clamp(min=1))[:, None].expand_as(gap)
    ratio = gap.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp()
    gain = advantages[:, None]
    bounded = ratio.clamp(1 - objective.low, 1 + objective.high)
    clipped = mask & (bounded * gain < ratio * gain)
    each = -torch.minimum(ratio * gain, bounded * gain)
    if drawn is not None:
        each = each * importance(old, drawn, mask, objective)
    if objective.ratio == "sequence":  # one term per reply, whose gradient is that of all its tokens
        share = lengths.clamp(min=1)[:, None]
        each = each / share
    if objective.kl and reference is not None:
        each = each + objective.kl * k3(log_probs, reference)
    divisor = lengths.clamp(min=1) if objective.normaliser == "reply" else objective.length
    return torch.where(mask, each, zero).sum(1) / divisor, ratio.detach(), clipped.detach()
