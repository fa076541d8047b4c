"""Splits off evaluation data that shares no profile, persona or conversation with training.

Rows with an equal key (profile, persona, conversation) stay together, also if only some rows have the key. Rows without
any key are grouped by the beginning of their conversation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aloe.errors import DataError
from aloe.seeding import derive_rng
from aloe.store.records import read_jsonl
from aloe.types import Persona

Rows = list[dict[str, Any]]
KEYS = ("profile", "persona_id", "tree_id", "opening")


@dataclass(frozen=True, slots=True)
class Split:
    """Rows for training and for evaluation.

    Attributes:
        key: one of ``KEYS``: the coarsest that every row has; ``mixed``: there is no such key; ``given``: the data
            brought its own split; ``none``: nothing was split.
        n_groups: how many different values of it there are. n_held: how many of them are for evaluation.
    """

    train: Rows
    held: Rows
    key: str = "none"
    n_groups: int = 0
    n_held: int = 0

    def say(self) -> str:
        """One line for people."""
        n = len(self.train) + len(self.held)
        if self.key == "given":
            return f"evaluation on the data's own test split ({len(self.held)} rows)"
        what = (
            f"evaluation by {self.key}: {self.n_held} of {self.n_groups} are kept apart ({len(self.held)} of {n} rows)"
        )
        return what if self.key == "profile" else f"{what}; the data names no profiles"

    def as_dict(self) -> dict[str, Any]:
        return {"eval_split": self.key, "n_eval_rows": len(self.held)} if self.held else {}


def find_profiles(dataset: Any) -> dict[str, str]:
    """The profile of each persona of the run that a data set's path lies in; empty where it is in none."""
    if not isinstance(dataset, (str, Path)):
        return {}
    place = Path(dataset).resolve()
    for folder in (place, *place.parents[:3]):
        file = folder / "personas" / "personas.jsonl"
        if file.is_file():
            return {persona.persona_id: persona.profile_id for persona in read_jsonl(file, Persona)}
    return {}


def opening(row: Mapping[str, Any]) -> str:
    """How a row's conversation begins, up to the first user message: the same for all turns of one conversation."""
    messages = row.get("messages") or row.get("prompt") or ()
    said = [(m.get("role"), m.get("content")) for m in messages if isinstance(m, dict)]
    first = next((i for i, (role, _) in enumerate(said) if role == "user"), 0)
    return repr(said[: first + 1])


def _keys(row: Mapping[str, Any], profiles: Mapping[str, str]) -> dict[str, str]:
    persona = row.get("persona_id")
    known = {
        "profile": row.get("profile_id") or row.get("profile") or profiles.get(str(persona)),
        "persona_id": persona,
        "tree_id": row.get("tree_id"),
    }
    found = {key: str(value) for key, value in known.items() if value}
    return found or {"opening": opening(row)}


def split_rows(
    rows: Sequence[dict[str, Any]], share: float, seed: int, profiles: Mapping[str, str] | None = None
) -> Split:
    """Keep about ``share`` of the profiles (personas, conversations) apart, at least one and never all.

    Args:
        profiles: profile of each persona id; rows may also name it in a column ``profile_id`` or ``profile``.

    Raises:
        DataError: all rows belong together.
    """
    if not share:
        return Split(list(rows), [])
    keys = [_keys(row, profiles or {}) for row in rows]
    above: dict[tuple[str, str], tuple[str, str]] = {}

    def root(key: tuple[str, str]) -> tuple[str, str]:
        while (over := above.setdefault(key, key)) != key:
            above[key] = above[over]
            key = over
        return key

    for found in keys:
        first, *others = found.items()
        for other in others:
            above[root(other)] = root(first)
    coarsest = next((name for name in KEYS if all(name in found for found in keys)), "mixed")
    places = [root(next(iter(found.items()))) for found in keys]
    names: dict[tuple[str, str], str] = {}  # a group is named by its least value of the coarsest key that it has
    for found, place in zip(keys, places, strict=True):
        value = next(iter(found.values()))
        names[place] = min(names.get(place, value), value)
    groups = sorted(names, key=lambda place: (names[place], place))
    if len(groups) < 2:
        raise DataError(
            f"eval_share: all {len(rows)} rows belong together (by {coarsest})",
            "provide a test split, a tree_id or a persona_id column, or set eval_share = 0",
        )
    n = min(len(groups) - 1, max(1, round(share * len(groups))))
    held = {groups[i] for i in derive_rng(seed, "eval-split").permutation(len(groups))[:n]}
    sides: tuple[Rows, Rows] = ([], [])
    for row, place in zip(rows, places, strict=True):
        sides[place in held].append(row)
    return Split(*sides, coarsest, len(groups), n)
