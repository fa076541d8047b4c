"""Selects what goes into a data set: labeler, pairs, splits, and the balance of lengths.

A dropped pair is counted under one reason, the first that applies, so that the counts add up. Splits are by profile: no
profile is in both, whatever its personalities.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aloe.dialogue.pairs import labels_by_tree, tree_to_pairs, tree_to_sft
from aloe.errors import DataError, nearest
from aloe.seeding import derive_seed
from aloe.store.records import read_jsonl, read_rows
from aloe.types import ConversationTree, Label, Persona, PreferencePair, SFTExample


@dataclass(frozen=True, slots=True)
class Selection:
    """Which pairs are wanted.

    Attributes:
        labeler: whose labels; None = the labeler of the first label (those made with the trees).
        min_margin: smallest margin; labels without one pass.
        max_length_ratio: longer over shorter reply in characters, at most; 0 = any.
        evidenced: only turns at which something was revealed (with evidence, as all disclosures have).
        validation: share of the profiles set apart, in [0, 1).
    """

    labeler: str | None = None
    min_margin: float = 0.0
    max_length_ratio: float = 0.0
    evidenced: bool = False
    validation: float = 0.0
    seed: int = 0


@dataclass(slots=True)
class DataSet:
    """Selected rows by split (``train``, ``validation``), and what was left out and why."""

    pairs: dict[str, list[PreferencePair]] = field(default_factory=dict)
    examples: dict[str, list[SFTExample]] = field(default_factory=dict)
    labeler: str = ""
    dropped: Counter[str] = field(default_factory=Counter)
    n_trees: int = 0

    @property
    def all_pairs(self) -> list[PreferencePair]:
        return [pair for rows in self.pairs.values() for pair in rows]

    @property
    def all_examples(self) -> list[SFTExample]:
        return [example for rows in self.examples.values() for example in rows]


def choose_labeler(labels: Iterable[Label], wanted: str | None) -> str:
    """The labeler to use.

    Raises:
        DataError: there are no labels, or none by ``wanted``.
    """
    names = list(dict.fromkeys(label.labeler for label in labels))
    if not names:
        raise DataError("the run has no labels", "run stage trees, or 'aloe relabel'")
    if wanted is None:
        return names[0]
    if wanted not in names:
        raise DataError(f"no labels by '{wanted}'{nearest(wanted, names)}", f"use one of: {', '.join(names)}")
    return wanted


def split_profiles(personas: Sequence[Persona], share: float, seed: int) -> frozenset[str]:
    """Profile ids of the validation split: ``share`` of all profiles rounded up, drawn by seed."""
    profiles = sorted({p.profile_id for p in personas})
    if share <= 0 or len(profiles) < 2:
        return frozenset()
    n = min(len(profiles) - 1, math.ceil(share * len(profiles)))
    ranked = sorted(profiles, key=lambda p: (derive_seed(seed, "validation", p), p))
    return frozenset(ranked[:n])


def revealing_nodes(path: Path) -> set[str]:
    """User messages that revealed something."""
    return {row["node_id"] for _, row in read_rows(path)} if path.is_file() else set()


def length_ratio(pair: PreferencePair) -> float:
    """Characters of the longer reply over those of the shorter."""
    lengths = sorted(len(messages[-1].content) for messages in (pair.chosen, pair.rejected))
    return lengths[1] / max(1, lengths[0])


def read_data_set(folder: Path, personas: Sequence[Persona], selection: Selection) -> DataSet:
    """Pairs and SFT conversations from the trees, labels and disclosures in ``folder``.

    Raises:
        DataError: a file is missing or damaged, or the labeler is unknown.
    """
    labels = list(read_jsonl(folder / "labels.jsonl", Label))
    labeler = choose_labeler(labels, selection.labeler)
    revealing = revealing_nodes(folder / "disclosures.jsonl") if selection.evidenced else None
    profile_of = {p.persona_id: p.profile_id for p in personas}
    held_out = split_profiles(personas, selection.validation, selection.seed)
    splits = ("train", "validation") if held_out else ("train",)
    found = DataSet({s: [] for s in splits}, {s: [] for s in splits}, labeler)
    grouped = labels_by_tree(label for label in labels if label.labeler == labeler)
    for tree in read_jsonl(folder / "trees.jsonl", ConversationTree):
        found.n_trees += 1
        split = "validation" if profile_of.get(tree.persona_id, tree.persona_id) in held_out else "train"
        _add_tree(found, split, tree, grouped.get(tree.tree_id, []), selection, revealing)
    return found


def _add_tree(
    found: DataSet,
    split: str,
    tree: ConversationTree,
    labels: Sequence[Label],
    selection: Selection,
    revealing: set[str] | None,
) -> None:
    wanted: list[Label] = []
    for label in labels:
        if label.chosen is None:
            found.dropped[label.outcome] += 1
        elif revealing is not None and tree.by_id[label.chosen].parent_id not in revealing:
            found.dropped["nothing revealed"] += 1
        elif label.margin is not None and label.margin < selection.min_margin:
            found.dropped["margin"] += 1
        else:
            wanted.append(label)
    kept: list[Label] = []
    for label in wanted:
        pair = next(tree_to_pairs(tree, [label]), None)
        if pair is None:
            found.dropped["equal texts"] += 1
        elif selection.max_length_ratio and length_ratio(pair) > selection.max_length_ratio:
            found.dropped["length ratio"] += 1
        else:
            found.pairs[split].append(pair)
            kept.append(label)
    found.examples[split].extend(tree_to_sft(tree, kept if selection.max_length_ratio else wanted))


def length_report(pairs: Sequence[PreferencePair]) -> dict[str, float | None]:
    """How length correlates with preference: a judge (or a model trained on it) may merely prefer long replies.

    ``mean_chosen`` and ``mean_rejected`` in characters, their ratio, the share of pairs whose chosen reply is longer,
    and ``length_accuracy``: how often "the longer one" or "the shorter one", whichever is better, names the chosen.
    """
    if not pairs:
        names = ("mean_chosen", "mean_rejected", "ratio", "chosen_longer", "length_accuracy")
        return dict.fromkeys(names)
    lengths = [(len(p.chosen[-1].content), len(p.rejected[-1].content)) for p in pairs]
    chosen, rejected = (sum(x) / len(pairs) for x in zip(*lengths, strict=True))
    longer = sum(a > b for a, b in lengths) / len(pairs)
    shorter = sum(a < b for a, b in lengths) / len(pairs)
    return {
        "mean_chosen": round(chosen, 1),
        "mean_rejected": round(rejected, 1),
        "ratio": round(chosen / rejected, 3) if rejected else None,
        "chosen_longer": round(longer, 3),
        "length_accuracy": round(max(longer, shorter), 3),
    }


def count_by_turn(pairs: Sequence[PreferencePair]) -> Mapping[int, int]:
    """Pairs per turn, in order."""
    return dict(sorted(Counter(p.turn for p in pairs).items()))
