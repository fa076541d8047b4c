"""Who is shown what: blind pairs, ratings and attention checks, balanced over models, sides and raters.

Over the whole study every two models are compared equally often (within 1), each of their two orders equally often
(within 1), every model is rated equally often (within 1), and each rater has the items in an order of their own. The
first ``shared`` pairs and ratings are the same for all raters, so that agreement can be measured. What a page shows
holds texts only; which model each is stands in the key.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from aloe.bench.compare import find_models, named_folders
from aloe.config import digest
from aloe.errors import DataError
from aloe.seeding import derive_rng
from aloe.store.records import read_jsonl
from aloe.types import ConversationTree, Persona

Kind = Literal["pair", "rating", "check"]
SIDES = ("left", "right")


@dataclass(frozen=True, slots=True)
class StudySize:
    """How much is asked.

    Attributes:
        raters: people. pairs, ratings, checks: items of each. shared: pairs and ratings that all raters have in common,
            at most that many of each: as many as show all models alike.
    """

    raters: int
    pairs: int
    ratings: int
    checks: int
    shared: int


@dataclass(frozen=True, slots=True)
class StudyTalk:
    """A benchmarked conversation: node id, role and text of each message."""

    model: str
    persona_id: str
    nodes: tuple[tuple[str, str, str], ...]

    @property
    def replies(self) -> list[int]:
        return [at for at, (_, role, text) in enumerate(self.nodes) if role == "assistant" and text.strip()]


@dataclass(frozen=True, slots=True)
class StudyItem:
    """What one rater is shown in one place.

    Attributes:
        models: those of the left and the right conversation, or of the rated reply. node_id: the rated reply.
        until: messages of the conversation that are shown with a rated reply, itself included.
        expected: the answer that an attention check asks for.
    """

    kind: Kind
    persona_id: str
    models: tuple[str, ...]
    node_id: str = ""
    until: int = 0
    expected: str = ""


Talks = Mapping[tuple[str, str], StudyTalk]  # (model, persona id) -> its conversation


def read_study_talks(paths: Sequence[str | Path]) -> dict[tuple[str, str], StudyTalk]:
    """The first conversation of each model with each persona that all models have talked to.

    Raises:
        DataError: fewer than two models, or no persona in common.
    """
    found: dict[tuple[str, str], StudyTalk] = {}
    names = []
    for folder, name in named_folders(find_models(paths)):
        names.append(name)
        for tree in read_jsonl(folder / "conversations.jsonl", ConversationTree):
            nodes = tuple((node.node_id, node.message.role, node.message.content) for node in tree.nodes)
            found.setdefault((name, tree.persona_id), StudyTalk(folder.name, tree.persona_id, nodes))
    if len(names) < 2:
        raise DataError("a study compares models, and there is only one", "give a run with several, or several runs")
    shared = set.intersection(*({person for model, person in found if model == name} for name in names))
    kept = {place: talk for place, talk in found.items() if place[1] in shared and talk.replies}
    if not kept:
        raise DataError("the models have no persona in common", "benchmark them with the same personas")
    return kept


def assign(talks: Talks, size: StudySize, seed: int) -> list[list[StudyItem]]:
    """The items of each rater, in the order in which they are shown.

    Raises:
        DataError: nothing to show, or fewer conversations or replies than one rater would be shown.
    """
    if size.raters < 1 or size.pairs + size.ratings < 1 or min(size.pairs, size.ratings, size.checks) < 0:
        raise DataError("a study needs raters and something to rate", "give --raters, and --pairs or --ratings")
    models = list(dict.fromkeys(model for model, _ in talks))
    people = list(dict.fromkeys(person for _, person in talks))
    rng = derive_rng(seed, "study", "draw")
    couples = list(itertools.combinations(models, 2))
    comparisons = [(couple, person) for person in _shuffled(people, rng) for couple in couples]
    comparisons = _shuffled(comparisons, rng, len(couples))
    replies = _replies(talks, models, people, rng)
    for what, wanted, there in (("pairs", size.pairs, comparisons), ("ratings", size.ratings, replies)):
        if wanted > len(there):
            raise DataError(f"{wanted} {what} per rater, but there are {len(there)}", f"give a smaller --{what}")
    leans: dict[object, int] = {}
    common = [size.shared - size.shared % len(kind) for kind in (couples, models)]
    raters = []
    for rater in range(size.raters):
        items = [_pair(couple, person, leans) for couple, person in _share(comparisons, size.pairs, common[0], rater)]
        items += _share(replies, size.ratings, common[1], rater)
        own = derive_rng(seed, "study", "rater", rater)
        ordered = [items[at] for at in own.permutation(len(items)).tolist()]
        raters.append(_with_checks(ordered, size.checks, own))
    return raters


def _shuffled(items: list[Any], rng: np.random.Generator, block: int = 0) -> list[Any]:
    """The items in random order; with ``block``, each run of that many among themselves only."""
    size = block or len(items)
    blocks = [items[at : at + size] for at in range(0, len(items), size)]
    return [part[at] for part in blocks for at in rng.permutation(len(part)).tolist()]


def _share(items: list[Any], n: int, shared: int, rater: int) -> list[Any]:
    """``n`` of the items: the first ``shared`` for everybody, then the rater's own part, going round."""
    common, rest = (items[:shared], items[shared:]) if shared <= n else ([], items)
    n_own = n - len(common)
    return common + [rest[(rater * n_own + at) % len(rest)] for at in range(n_own)]


def _pair(couple: tuple[str, str], person: str, leans: dict[object, int]) -> StudyItem:
    """The comparison with its sides such that the couple's two orders, and then this person's, come equally often.

    Args:
        leans: by couple and by (couple, person): how much more often the first model was on the left so far.
    """
    lean = leans.get(couple, 0) or leans.get((couple, person), 0)
    step = -1 if lean > 0 else 1
    for key in (couple, (couple, person)):
        leans[key] = leans.get(key, 0) + step
    return StudyItem("pair", person, couple if step > 0 else (couple[1], couple[0]))


def _replies(talks: Talks, models: list[str], people: list[str], rng: np.random.Generator) -> list[StudyItem]:
    """Replies to rate, the models in turn: of each conversation one, at a turn drawn for it."""
    found = []
    for person in _shuffled(people, rng):
        for model in _shuffled(models, rng):
            talk = talks[model, person]
            at = talk.replies[int(rng.integers(len(talk.replies)))]
            found.append(StudyItem("rating", person, (model,), talk.nodes[at][0], at + 1))
    return found


def _with_checks(items: list[StudyItem], n: int, rng: np.random.Generator) -> list[StudyItem]:
    found = list(items)
    for _ in range(n):
        check = StudyItem("check", "", (), expected=SIDES[int(rng.integers(2))])
        found.insert(int(rng.integers(1, len(found) + 1)), check)
    return found


def shown_items(items: Sequence[StudyItem], talks: Talks, people: Mapping[str, Persona]) -> list[dict[str, Any]]:
    """What a page holds of a rater's items: texts, and nothing that says which model they are of.

    Raises:
        DataError: a persona that is not among ``people``.
    """
    return [_shown(item, talks, people) for item in items]


def _shown(item: StudyItem, talks: Talks, people: Mapping[str, Persona]) -> dict[str, Any]:
    if item.kind == "check":
        return {"kind": "check", "ask": item.expected}
    persona = people.get(item.persona_id)
    if persona is None:
        raise DataError(f"persona {item.persona_id} is not known", "give its persona file with --personas")
    who = {"profile": persona.profile, "personality": persona.personality}
    sides = [[[role, text] for _, role, text in talks[model, item.persona_id].nodes] for model in item.models]
    if item.kind == "pair":
        return {"kind": "pair", **who, "left": sides[0], "right": sides[1]}
    return {"kind": "rating", **who, "talk": sides[0][: item.until]}


def study_id(raters: Sequence[Sequence[StudyItem]], seed: int) -> str:
    """A name for a study that says nothing of it."""
    return digest([seed, [[[i.kind, i.persona_id, i.models, i.node_id, i.expected] for i in r] for r in raters]])[:12]
