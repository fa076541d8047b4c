"""Conversations of a benchmark as lines of a file, by which they are read back exactly: what its shards leave."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from aloe.bench.conversation import SimulatedConversation
from aloe.dialogue.state import PathState
from aloe.store.merging import merge_lines
from aloe.store.records import write_jsonl
from aloe.types import Judgement, Node, NodeError, Persona


def write_part(path: Path, talks: Iterable[tuple[int, SimulatedConversation]]) -> None:
    """Write some conversations of a benchmark with their places among all."""
    write_jsonl(path, ({"at": at, **_as_row(talk)} for at, talk in sorted(talks, key=lambda item: item[0])))


def read_parts(paths: Sequence[Path], personas: Sequence[Persona], samples: int) -> list[SimulatedConversation]:
    """All conversations of a benchmark from its parts, in order of persona and sample.

    Raises:
        DataError: a part is missing or damaged.
    """
    rows = (orjson.loads(line) for _, line in merge_lines(paths, "at"))
    return [_from_row(row, personas[row["at"] // samples], row["at"] % samples) for row in rows]


def _as_row(talk: SimulatedConversation) -> dict[str, Any]:
    return {
        "tree_id": talk.tree_id,
        "nodes": [node.model_dump(mode="json") for node in talk.nodes],
        "judgements": [judgement.model_dump(mode="json") for judgement in talk.judgements],
        "others": talk.others,
        "session_turns": talk.session_turns,
        "error": talk.error.model_dump(mode="json") if talk.error is not None else None,
        "left": talk.left,
    }


def _from_row(row: dict[str, Any], persona: Persona, sample: int) -> SimulatedConversation:
    return SimulatedConversation(
        persona,
        sample,
        row["tree_id"],
        PathState(row["tree_id"]),  # nobody goes on from here
        [Node.model_validate(node) for node in row["nodes"]],
        [Judgement.model_validate(judgement) for judgement in row["judgements"]],
        row["others"],
        row["session_turns"],
        NodeError.model_validate(row["error"]) if row["error"] is not None else None,
        tuple(row["left"]),
    )
