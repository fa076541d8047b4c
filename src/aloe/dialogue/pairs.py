"""From trees and labels to training data: preference pairs and SFT conversations.

A pair's prompt is the history that the user really answered. An SFT example is that history with the preferred
reply as its last message; only this last message is a target.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from aloe.dialogue.state import content_id
from aloe.types import ConversationTree, Label, Message, PreferencePair, SFTExample


def labels_by_tree(labels: Iterable[Label]) -> dict[str, list[Label]]:
    grouped: dict[str, list[Label]] = {}
    for label in labels:
        grouped.setdefault(label.tree_id, []).append(label)
    return grouped


def tree_to_pairs(
    tree: ConversationTree, labels: Sequence[Label], min_margin: float = 0.0, labeler: str | None = None
) -> Iterator[PreferencePair]:
    """One pair per label that prefers a reply; equal texts make no pair (there is nothing to learn)."""
    nodes = tree.by_id
    for label in labels:
        if label.chosen is None or label.rejected is None or (labeler is not None and label.labeler != labeler):
            continue
        if label.margin is not None and label.margin < min_margin:
            continue
        chosen, rejected = nodes[label.chosen], nodes[label.rejected]
        if chosen.message.content == rejected.message.content:
            continue
        yield PreferencePair(
            pair_id=content_id(label.labeler, chosen.node_id, rejected.node_id),
            tree_id=tree.tree_id,
            persona_id=tree.persona_id,
            turn=chosen.turn,
            prompt=tuple(n.message for n in tree.path_to(chosen.parent_id)),
            chosen=(chosen.message,),
            rejected=(rejected.message,),
            margin=label.margin,
            labeler=label.labeler,
        )


def tree_to_sft(tree: ConversationTree, labels: Sequence[Label]) -> Iterator[SFTExample]:
    """One example per preferred reply."""
    seen: set[str] = set()
    for label in labels:
        if label.chosen is None or label.chosen in seen:
            continue
        seen.add(label.chosen)
        chosen = tree.by_id[label.chosen]
        yield SFTExample(
            example_id=content_id("sft", chosen.node_id),
            tree_id=tree.tree_id,
            persona_id=tree.persona_id,
            turn=chosen.turn,
            messages=tuple(n.message for n in tree.path_to(chosen.node_id)),
        )


def as_row(record: PreferencePair | SFTExample) -> dict[str, Any]:
    """The record as a plain row (messages as lists of ``{role, content}``), as TRL reads it."""
    return record.model_dump(mode="json")


def messages_schema() -> Any:
    """Arrow type of a list of messages."""
    import pyarrow as pa

    return pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def dpo_schema() -> Any:
    """Arrow schema of ``datasets/dpo.parquet``."""
    import pyarrow as pa

    text, messages = pa.string(), messages_schema()
    return pa.schema(
        [
            ("pair_id", text), ("tree_id", text), ("persona_id", text), ("turn", pa.int32()),
            ("prompt", messages), ("chosen", messages), ("rejected", messages),
            ("margin", pa.float64()), ("labeler", text),
        ]
    )  # fmt: skip


def sft_schema() -> Any:
    """Arrow schema of ``datasets/sft.parquet``."""
    import pyarrow as pa

    text, messages = pa.string(), messages_schema()
    return pa.schema(
        [("example_id", text), ("tree_id", text), ("persona_id", text), ("turn", pa.int32()), ("messages", messages)]
    )  # fmt: skip


def check_messages(messages: Sequence[Message]) -> str:
    """Why a history is not alternating user/assistant beginning with the user, or an empty string."""
    for index, message in enumerate(messages):
        expected = "user" if index % 2 == 0 else "assistant"
        if message.role != expected:
            return f"message {index + 1} has role {message.role}, expected {expected}"
        if not message.content.strip():
            return f"message {index + 1} is empty"
    return ""
