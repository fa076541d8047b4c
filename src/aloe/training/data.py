"""From stored examples to token sequences: SFT conversations folded into one sequence, DPO pairs as they are.

An SFT example is a history with a preferred reply as its only target. Where the conversation went on from that
reply, its tokens are a prefix of the next example's: such examples are folded into one sequence with several
targets, which gives the same loss for a fraction of the tokens. Prefixes are compared as token ids, so that a
chat template that rewrites earlier turns merely folds less.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aloe.errors import DataError

IGNORED = -100  # the label of a token that is no target


@dataclass(slots=True)
class TokenSequence:
    """Token ids of one training sequence and, for each, whether it is a target."""

    ids: list[int]
    target: list[bool]

    @property
    def labels(self) -> list[int]:
        return [token if on else IGNORED for token, on in zip(self.ids, self.target, strict=True)]


def read_rows(path: str | Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a Parquet or JSONL dataset.

    Raises:
        DataError: no such file, no rows, or a column is missing.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"dataset {file} does not exist", "run the stage that writes it first")
    if file.suffix == ".parquet":
        import pyarrow.parquet as pq

        rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    else:
        import orjson

        rows = [orjson.loads(line) for line in file.read_bytes().splitlines() if line.strip()]
    if not rows:
        raise DataError(f"dataset {file} is empty", "grow more trees, or lower the smallest margin")
    missing = [name for name in columns if name not in rows[0]]
    if missing:
        raise DataError(f"dataset {file} has no column '{missing[0]}'", f"it has: {', '.join(rows[0])}")
    return rows


def tokenize_reply(tokenizer: Any, messages: Sequence[dict[str, str]]) -> tuple[list[int], int]:
    """Token ids of a conversation that ends with a reply, and where the reply's tokens begin.

    Raises:
        DataError: the last message is not the assistant's.
    """
    if not messages or messages[-1]["role"] != "assistant":
        raise DataError("a training conversation does not end with a reply", "see the dataset's 'messages' column")
    prompt = _render(tokenizer, messages[:-1], add_generation_prompt=True)
    whole = _render(tokenizer, messages)
    return whole, common_prefix(prompt, whole)


def _render(tokenizer: Any, messages: Sequence[dict[str, str]], **options: Any) -> list[int]:
    plain = [{"role": m["role"], "content": m["content"]} for m in messages]
    return list(tokenizer.apply_chat_template(plain, return_dict=True, **options)["input_ids"])


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many leading tokens two sequences share."""
    n = min(len(first), len(second))
    return next((i for i in range(n) if first[i] != second[i]), n)


def fold_examples(examples: Iterable[tuple[list[int], int]], trunk_only: bool = False) -> list[TokenSequence]:
    """Examples ``(ids, start of the reply)`` of one tree as few sequences with the same targets.

    Args:
        trunk_only: keep only the longest sequence: replies from which nothing continued are left out.
    """
    folded: list[TokenSequence] = []
    for ids, start in sorted(examples, key=lambda example: -len(example[0])):
        home = next((s for s in folded if s.ids[: len(ids)] == ids), None)
        if home is None:
            if trunk_only and folded:
                continue
            home = TokenSequence(ids, [False] * len(ids))
            folded.append(home)
        home.target[start : len(ids)] = [True] * (len(ids) - start)
    return folded


def sft_sequences(rows: Iterable[dict[str, Any]], tokenizer: Any, trunk_only: bool = False) -> list[TokenSequence]:
    """SFT rows (``messages``, optionally ``tree_id``) as training sequences, in the order of first appearance."""
    by_tree: dict[str, list[tuple[list[int], int]]] = {}
    for number, row in enumerate(rows):
        tree = str(row.get("tree_id") or number)
        by_tree.setdefault(tree, []).append(tokenize_reply(tokenizer, row["messages"]))
    return [sequence for examples in by_tree.values() for sequence in fold_examples(examples, trunk_only)]


def pair_ids(row: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    """A preference row as TRL's DPO columns: ids of the shared prompt and of both replies."""
    prompt = list(row["prompt"])
    chosen, at_chosen = tokenize_reply(tokenizer, [*prompt, *row["chosen"]])
    rejected, at_rejected = tokenize_reply(tokenizer, [*prompt, *row["rejected"]])
    start = min(at_chosen, at_rejected)
    return {
        "prompt_ids": chosen[:start],
        "chosen_ids": chosen[start:],
        "rejected_ids": rejected[start:],
        "length": max(len(chosen), len(rejected)),
    }
