"""Rows that share prefixes are computed once: a batch as a trie, attention along its branches (DESIGN, trees).

The pairs of one conversation repeat its history once per reply. Here a batch of padded rows is turned into one
packed sequence per conversation: each token of the rows' trie once, positions by depth, attention to ancestors
only. The results are read back at the rows' own places, so that the trainer's loss code sees what it always
sees. Equal by construction: a row's tokens, positions and visible tokens are the same as without packing. Only
the tokens that are targets go through the language-model head.

Boundary to TRL 1.16: it calls ``model(input_ids, attention_mask, labels, fused_lm_head=True)`` and reads
``loss``, ``log_probs``, ``entropy``, ``mean_logits`` and ``is_top1``, each (rows, columns - 1).
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Pack:
    """Some rows as one trie.

    Attributes:
        ids: token of each node, parents first. depths: its distance from the root (its position id).
        visible: (nodes, nodes) bool, which nodes each one attends to: its ancestors and itself.
        rows: numbers of the rows. places: for each row, the node of each of its tokens.
    """

    ids: list[int]
    depths: list[int]
    visible: NDArray[np.bool_]
    rows: list[int]
    places: list[list[int]]


def group_rows(rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """Numbers of rows that share at least half of the shorter one with a neighbour in dictionary order.

    A wrong guess costs time, never correctness.
    """
    order = sorted(range(len(rows)), key=lambda i: tuple(rows[i]))
    groups: list[list[int]] = []
    for number, i in enumerate(order):
        if number:
            one, two = rows[order[number - 1]], rows[i]
            shorter = min(len(one), len(two))
            need = (shorter + 1) // 2
            if list(one[:need]) == list(two[:need]):
                groups[-1].append(i)
                continue
        groups.append([i])
    return groups


def build_pack(rows: Sequence[Sequence[int]], numbers: Sequence[int]) -> Pack:
    """The trie of the rows with these numbers."""
    children: dict[tuple[int, int], int] = {}
    ids: list[int] = []
    depths: list[int] = []
    parents: list[int] = []
    places: list[list[int]] = []
    for number in numbers:
        node, place = -1, []
        for depth, token in enumerate(rows[number]):
            key = (node, token)
            found = children.get(key)
            if found is None:
                found = children[key] = len(ids)
                ids.append(token)
                depths.append(depth)
                parents.append(node)
            node = found
            place.append(node)
        places.append(place)
    visible = np.zeros((len(ids), len(ids)), dtype=np.bool_)
    for node, parent in enumerate(parents):
        if parent >= 0:
            visible[node, :node] = visible[parent, :node]
        visible[node, node] = True
    return Pack(ids, depths, visible, list(numbers), places)


def pack_tensors(packs: Sequence[Pack]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids (packs, nodes), position ids of the same shape, and a bool mask (packs, 1, nodes, nodes)."""
    width = max(len(pack.ids) for pack in packs)
    ids = torch.zeros(len(packs), width, dtype=torch.long)
    positions = torch.zeros(len(packs), width, dtype=torch.long)
    # padding sees itself, so that no row of the softmax is empty
    mask = torch.eye(width, dtype=torch.bool).repeat(len(packs), 1, 1)
    for i, pack in enumerate(packs):
        n = len(pack.ids)
        ids[i, :n] = torch.tensor(pack.ids)
        positions[i, :n] = torch.tensor(pack.depths)
        mask[i, :n, :n] = torch.from_numpy(pack.visible)
    return ids, positions, mask[:, None]


def can_pack(model: Any) -> bool:
    """Whether the model is plain enough: full causal attention, an unscaled head, no router."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    special = ("final_logit_softcapping", "logit_scale", "lm_head_multiplier", "logits_scaling", "output_multiplier")
    return (
        kinds == {"full_attention"}
        and not getattr(config, "sliding_window", None)
        and hasattr(config, "num_attention_heads")
        and not any(getattr(config, name, None) for name in special)
        and not hasattr(config, "router_aux_loss_coef")
        and model.config._attn_implementation in ("sdpa", "eager")
    )


def add_packing(model: Any) -> None:
    """Make ``model(..., fused_lm_head=True)`` compute shared prefixes once. Other calls stay as they were."""
    plain_forward = model.forward

    def forward(self: Any, *args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head or args or kwargs.get("labels") is None:
            return plain_forward(*args, fused_lm_head=fused_lm_head, **kwargs)
        return _packed_forward(
            self,
            kwargs["input_ids"],
            kwargs["labels"],
            kwargs.get("attention_mask"),
            kwargs.get("num_items_in_batch"),
        )

    # generate() and the trainer look at the signature
    forward.__signature__ = inspect.signature(plain_forward)  # type: ignore[attr-defined]
    model.forward = types.MethodType(forward, model)


def _packed_forward(
    model: Any, input_ids: torch.Tensor, labels: torch.Tensor, attention_mask: Any, n_items: Any
) -> Any:
    from trl.trainer.utils import FusedCausalLMOutput

    device = input_ids.device
    valid = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    columns = [torch.nonzero(row)[:, 0].tolist() for row in valid.cpu()]
    rows = [ids[at].tolist() for ids, at in zip(input_ids.cpu(), columns, strict=True)]
    packs = [build_pack(rows, numbers) for numbers in group_rows(rows)]
    ids, positions, mask = (part.to(device) for part in pack_tensors(packs))
    branching = any(len(pack.rows) > 1 for pack in packs)  # else plain causal attention, which is faster
    hidden = model.base_model(
        input_ids=ids, position_ids=positions, attention_mask=mask if branching else None, use_cache=False
    ).last_hidden_state
    where, at_pack, at_node = _targets(packs, columns, labels.cpu())
    states = hidden[at_pack.to(device), at_node.to(device)]
    logits = model.get_output_embeddings()(states).float()
    shifted = labels[:, 1:]
    place = (where[0].to(device), where[1].to(device))
    logs = torch.log_softmax(logits, -1)
    wanted = shifted[place]
    picked = logs.gather(-1, wanted[:, None])[:, 0]

    def spread(values: torch.Tensor) -> torch.Tensor:
        return torch.zeros(shifted.shape, dtype=values.dtype, device=device).index_put(place, values)

    log_probs = spread(picked)
    counted = shifted != IGNORED
    total = counted.sum().clamp(min=1) if n_items is None else n_items
    with torch.no_grad():
        entropy = spread(-(logs.exp() * logs).sum(-1))
        mean_logits = spread(logits.mean(-1))
        is_top1 = spread(logits.argmax(-1) == wanted)
    return FusedCausalLMOutput(
        loss=-log_probs.sum() / total,
        log_probs=log_probs,
        entropy=entropy,
        mean_logits=mean_logits,
        is_top1=is_top1,
        label_mask=counted,
    )


def _targets(
    packs: Sequence[Pack], columns: Sequence[Sequence[int]], labels: torch.Tensor
) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor, torch.Tensor]:
    """Where targets are in the shifted labels, and the pack and node that predict each of them."""
    rows, shifted, at_pack, at_node = [], [], [], []
    for p, pack in enumerate(packs):
        for row, place in zip(pack.rows, pack.places, strict=True):
            wanted = (labels[row] != IGNORED).tolist()
            for i in range(1, len(place)):
                column = columns[row][i]
                if wanted[column]:
                    rows.append(row)
                    shifted.append(column - 1)
                    at_pack.append(p)
                    at_node.append(place[i - 1])
    return (torch.tensor(rows), torch.tensor(shifted)), torch.tensor(at_pack), torch.tensor(at_node)
