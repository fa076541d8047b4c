"""Checks a result against the files that it was made from: was it edited, or made from other conversations?

Ids of messages are digests of their content and of what came before, so an edited message breaks the chain. The
average is computed again from ``scores.jsonl``. Where the judge is the simulated world's and the personas are at hand
as they were, the replies are judged again. A judge that is a language model is not asked again: of its scores nothing
more is known than that the average fits them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aloe.bench.compare import Scored, read_scored
from aloe.bench.metrics import measure
from aloe.bench.setting import digest_of_people
from aloe.dialogue.state import content_id
from aloe.errors import DataError
from aloe.stats import Clusters
from aloe.store.records import read_jsonl
from aloe.types import BenchScore, ConversationTree, Persona
from aloe.world.judge import form_opinion
from aloe.world.lexicon.options import parse_options
from aloe.world.timeline import latent_of
from aloe.world.truth import read_known

_NEAR, N_REJUDGED = 1e-6, 400


def audit(folder: Path) -> list[str]:
    """What is wrong with a ``bench/MODEL`` folder, a line each; nothing where all fits.

    Raises:
        DataError: a file is missing or damaged.
    """
    scored = read_scored(folder)
    if scored.result is None:
        return ["there is no result.json"]
    conversations = folder / "conversations.jsonl"
    if not conversations.is_file():
        return ["there are no conversations to check it against"]
    trees = {tree.tree_id: tree for tree in read_jsonl(conversations, ConversationTree)}
    rows = list(read_jsonl(folder / "scores.jsonl", BenchScore))
    return [*_average(scored), *_chains(trees), *_nodes(trees, rows), *_rejudged(folder, scored, trees, rows)]


def _average(scored: Scored) -> list[str]:
    labels = [scored.groups[p] for p in scored.persona_ids]
    clusters = Clusters([a for a, _ in labels], [b for _, b in labels])
    again, said = measure(scored.scores, clusters).figures.avg, scored.result.avg if scored.result else None
    if (again is None) != (said is None) or (again is not None and said is not None and abs(again - said) > _NEAR):
        return [f"result.json says AVG {said}, its scores give {again}"]
    return []


def _chains(trees: Mapping[str, ConversationTree]) -> list[str]:
    """Conversations in which a message is not the one that its id was made of."""
    n_broken = 0
    for tree in trees.values():
        before = tree.tree_id
        for node in tree.nodes:
            if node.node_id != content_id(before, node.message.role, node.message.content):
                n_broken += 1
                break
            before = node.node_id
    return [f"{n_broken} of {len(trees)} conversations hold messages that were changed"] if n_broken else []


def _nodes(trees: Mapping[str, ConversationTree], rows: list[BenchScore]) -> list[str]:
    known = {node.node_id for tree in trees.values() for node in tree.nodes}
    n_lost = sum(row.tree_id not in trees or (row.node_id != "" and row.node_id not in known) for row in rows)
    return [f"{n_lost} scores are of replies that are in no conversation"] if n_lost else []


def _personas(folder: Path) -> dict[str, Persona]:
    path = folder.parent.parent / "personas" / "personas.jsonl"
    try:
        return {p.persona_id: p for p in read_jsonl(path, Persona)} if path.is_file() else {}
    except DataError:
        return {}


def _rejudged(folder: Path, scored: Scored, trees: Mapping[str, ConversationTree], rows: list[BenchScore]) -> list[str]:
    """Scores that the world's judge does not give, of at most ``N_REJUDGED`` replies spread over the file."""
    result = scored.result
    personas = _personas(folder)
    if result is None or result.scale != "1-5" or not personas or not result.judge_model.startswith("world:judge"):
        return []
    people = [personas[i] for i in scored.persona_ids if i in personas]
    if result.setting.get("personas", "") not in ("", digest_of_people(people)):  # they changed, or were others
        return []
    if "," in result.judge_model:  # a panel, or several judges of which each was asked in turn
        return []
    options = parse_options(result.judge_model.partition("?")[2], result.judge_model)
    able = [row for row in rows if row.outcome == "scored" and row.persona_id in personas and row.tree_id in trees]
    picked = able[:: max(1, -(-len(able) // N_REJUDGED))]
    n_other = 0
    for row in picked:
        tree = trees[row.tree_id]
        said = [node.message for node in tree.nodes[: 2 * row.turn]]
        known = read_known(latent_of(personas[row.persona_id].as_of(row.turn)), said[:-1])
        again = form_opinion(known, said[-1].content.strip(), result.scope, options.weighing).score
        n_other += row.score is None or abs(again - row.score) > 0.011
    return [f"{n_other} of {len(picked)} scores are not what the judge gives"] if n_other else []
