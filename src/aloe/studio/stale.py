"""Marks in replies what they use of a persona that no longer holds, read by the world's exact reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from aloe.report.explorer import KINDS
from aloe.types import Change, Persona
from aloe.world.staleness import stale_items
from aloe.world.timeline import latent_of

_CHANGES = TypeAdapter(tuple[Change, ...])


def mark_stale(persona: Persona, tree: dict[str, Any], nodes: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """``[node, clause, kind, words]`` for each reply and each thing in it that is over by then.

    Args:
        tree: a row of a file of trees or conversations. nodes: the same, packed (``report/explorer.py``).
    """
    try:
        changes = _CHANGES.validate_python(tree.get("timeline") or ())
    except ValidationError:  # of a neighbouring version: nothing can be said of it
        return []
    changing = persona.model_copy(update={"timeline": changes})
    return [
        [place, item.clause, item.kind, item.value if item.kind == "fact" else ""]
        for place, (_, turn, kind, _, text, _) in enumerate(nodes)
        if KINDS[kind] != "user"
        for item in stale_items(latent_of(changing.as_of(turn)), text)
    ]
