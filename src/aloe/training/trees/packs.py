"""Packs conversations under a token budget, in the form that TRL's trainers take.

A pack is what goes through the model at once: whole conversations, laid end to end. Packs of a data set are made
once, in an order of the seed; the trainer shuffles packs. How conversations fall into packs changes no loss: pairs
(targets, in SFT) are weighed equally over an optimiser step, see ``aloe.training.trainers``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray

from aloe.seeding import derive_rng
from aloe.training.data import TokenRows
from aloe.training.trees.model import tree_inputs
from aloe.training.trees.prefixes import join_loose
from aloe.training.trees.trie import build_trie


@dataclass(slots=True)
class Pack:
    """Conversations of one forward pass. ``weight`` 0: only there so that all processes have equally many."""

    conversations: list[TokenRows]
    n_tokens: int  # through the model: nodes of the tries, or tokens of the rows
    weight: float = 1.0
    reference: NDArray[Any] | None = field(default=None)  # (2, pairs) log-probs under the reference model

    @property
    def n_items(self) -> int:
        """Pairs, or rows where there are none."""
        return sum(len(c.pairs) or len(c.rows) for c in self.conversations)

    @property
    def n_targets(self) -> int:
        """Tokens of the chosen replies, or of all replies where there are no pairs."""
        return sum(
            len(c.rows[i]) - c.starts[i]
            for c in self.conversations
            for i in ([one for one, _ in c.pairs] or range(len(c.rows)))
        )


@dataclass(frozen=True, slots=True)
class PackStatistics:
    """Sizes of a data set. Tokens are those that go through the model, without padding."""

    n_conversations: int
    n_items: int
    n_packs: int
    tokens_expanded: int
    tokens_packed: int
    longest_row: int

    @property
    def packing_ratio(self) -> float:
        return self.tokens_expanded / max(1, self.tokens_packed)

    def as_dict(self) -> dict[str, Any]:
        return {
            "n_conversations": self.n_conversations,
            "n_packs": self.n_packs,
            "tokens_expanded": self.tokens_expanded,
            "tokens_packed": self.tokens_packed,
            "packing_ratio": round(self.packing_ratio, 3),
            "longest_row": self.longest_row,
        }


def make_packs(
    conversations: Sequence[TokenRows], *, seed: int, budget: int, items: int, trees: bool
) -> tuple[list[Pack], PackStatistics]:
    """Whole conversations, in an order of the seed, as long as they stay within ``budget`` tokens and ``items``.

    A conversation that alone is larger than either is a pack of its own. Loose rows are joined to conversations by the
    prefixes that they share, see ``prefixes``. ``trees`` False: rows as they are.
    """
    if trees:
        conversations = join_loose(conversations, budget, items)
    order = derive_rng(seed, "packs").permutation(len(conversations))
    packs: list[Pack] = []
    n_packed = n_expanded = n_items = 0
    for number in order:
        conversation = conversations[number]
        expanded = conversation.n_expanded
        size = len(build_trie(conversation.rows)) if trees else expanded
        count = len(conversation.pairs) or len(conversation.rows)
        last = packs[-1] if packs else None
        if last is not None and last.n_tokens + size <= budget and last.n_items + count <= items:
            last.conversations.append(conversation)
            last.n_tokens += size
        else:
            packs.append(Pack([conversation], size))
        n_packed, n_expanded, n_items = n_packed + size, n_expanded + expanded, n_items + count
    longest = max((len(row) for c in conversations for row in c.rows), default=0)
    return packs, PackStatistics(len(conversations), n_items, len(packs), n_expanded, n_packed, longest)


def packs_per_step(packs: Sequence[Pack], batch_size: int, n_processes: int = 1) -> int:
    """Packs of each process in an optimiser step of about ``batch_size`` items over all processes."""
    mean = sum(p.n_items for p in packs) / len(packs)
    return max(1, round(batch_size / (mean * n_processes)))


def pad_packs(packs: list[Pack], multiple: int) -> list[Pack]:
    """``packs`` with copies of weight 0 at the end, so that their number divides by ``multiple``."""
    missing = -len(packs) % multiple
    return packs + [Pack(packs[i % len(packs)].conversations, 0, 0.0) for i in range(missing)]


@dataclass(slots=True)
class Collator:
    """Packs into a batch of a TRL trainer.

    With trees, rows are cut down to the reply and the token before it, and ``tree`` holds the rest; without, they
    are whole. DPO: ``input_ids``, ``attention_mask``, ``completion_mask`` with the chosen rows first and
    the rejected ones after them, as TRL's own collator has it. SFT: ``input_ids``, ``attention_mask``, ``labels``.
    """

    packs: Sequence[Pack]
    pad: int
    trees: bool

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        packs = [self.packs[example["pack"]] for example in examples]
        conversations = [c for pack in packs for c in pack.conversations]
        order = _row_order(conversations)
        rows = [row for c in conversations for row in c.rows]
        starts = [start for c in conversations for start in c.starts]
        batch: dict[str, Any] = {}
        if self.trees:
            tree = tree_inputs([build_trie(c.rows) for c in conversations], [c.starts for c in conversations])
            tree.scatter = tree.scatter[order]
            batch["tree"] = tree
            rows = [row[start - 1 :] for row, start in zip(rows, starts, strict=True)]
            starts = [1] * len(rows)
        rows, starts = [rows[i] for i in order], [starts[i] for i in order]
        batch["input_ids"] = self._padded(rows, self.pad)
        batch["attention_mask"] = self._padded([[1] * len(row) for row in rows], 0)
        is_reply = self._padded([[0] * s + [1] * (len(row) - s) for row, s in zip(rows, starts, strict=True)], 0)
        batch["weight"] = torch.tensor([pack.weight for pack in packs])
        if not any(c.pairs for c in conversations):
            batch["labels"] = batch["input_ids"].masked_fill(is_reply == 0, -100)
            if not all(pack.weight for pack in packs):
                batch["labels"] = torch.full_like(batch["labels"], -100)
                if self.trees:
                    batch["tree"].scatter.fill_(-1)
            return batch
        batch["completion_mask"] = is_reply
        if all(pack.reference is not None for pack in packs):
            chosen, rejected = torch.cat([torch.as_tensor(pack.reference) for pack in packs], 1)
            batch["ref_chosen_logps"], batch["ref_rejected_logps"] = chosen, rejected
        return batch

    @staticmethod
    def _padded(rows: Iterable[Sequence[int]], value: int) -> torch.Tensor:
        tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)


def _row_order(conversations: Sequence[TokenRows]) -> list[int]:
    """Numbers of the rows: chosen ones of all pairs, then rejected ones; without pairs as they come."""
    chosen, rejected, offset = [], [], 0
    for c in conversations:
        chosen += [offset + one for one, _ in c.pairs]
        rejected += [offset + two for _, two in c.pairs]
        offset += len(c.rows)
    return chosen + rejected or list(range(offset))
