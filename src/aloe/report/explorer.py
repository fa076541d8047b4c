"""Packs conversations for the page: compact, limited in size, with counts for the figures.

One pass over the files, memory bounded by the share of the page that a source may fill. A run that does not fit
shows a sample: first the trees that failed, then trees in the order of a hash of their id, so that the choice is
arbitrary but never changes. Benchmark conversations are trees with one branch and take the same form.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from aloe.report.data import BenchModel, Row, RunData, number, text

MAX_TEXT = 20_000  # characters of one message on the page
#: Further judgements of a reply (``bench/gain.py``) in words.
OTHERS = {"swapped": "for another persona", "persona": "by the whole persona", "revealed": "by what was revealed"}
KINDS = ("user", "tailored", "generic", "responder")


@dataclass(slots=True)
class PackedSource:
    """One collection of conversations: ``items`` are packed JSON objects in the order of the file."""

    source_id: str
    name: str
    n_total: int = 0
    items: list[bytes] = field(default_factory=list)
    persona_ids: set[str] = field(default_factory=set)


@dataclass(slots=True)
class TreeStats:
    """Counts over all trees of a stage, shown or not."""

    n_trees: int = 0
    n_nodes: int = 0
    n_failed: int = 0
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)  # (role, first line) -> n
    outcomes: Counter[str] = field(default_factory=Counter)
    preferred: Counter[str] = field(default_factory=Counter)  # kind of the chosen reply -> n
    continued: Counter[str] = field(default_factory=Counter)
    words: dict[tuple[str, int], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    disclosed: Counter[tuple[str, int]] = field(default_factory=Counter)  # (status or "trait", turn) -> n

    def mean_words(self, kind: str, turn: int) -> float | None:
        total, n = self.words.get((kind, turn), (0, 0))
        return total / n if n else None

    @property
    def turns(self) -> list[int]:
        return sorted({turn for _, turn in self.words})


class _Keeper:
    """The items with the smallest keys whose sizes fit the quota."""

    def __init__(self, quota: int) -> None:
        self.quota = quota
        self.size = 0
        self.heap: list[tuple[tuple[int, int], int, str, bytes]] = []  # largest key first (keys negated)

    def add(self, failed: bool, item_id: str, order: int, persona_id: str, item: bytes) -> None:
        rank = int.from_bytes(hashlib.blake2b(item_id.encode("utf-8", "replace"), digest_size=7).digest(), "big")
        heapq.heappush(self.heap, ((0 if failed else -1, -rank), order, persona_id, item))
        self.size += len(item)
        while self.size > self.quota and len(self.heap) > 1:
            self.size -= len(heapq.heappop(self.heap)[3])

    def fill(self, source: PackedSource) -> None:
        for _, _, persona_id, item in sorted(self.heap, key=lambda entry: entry[1]):
            source.items.append(item)
            source.persona_ids.add(persona_id)


def pack_trees(run: RunData, stage: str, name: str, quota: int) -> tuple[PackedSource, TreeStats]:
    """The trees of a stage (``trees`` or ``rollout``) with what was disclosed and how replies were judged."""
    source, stats = PackedSource(stage, name), TreeStats()
    if not run.has(f"{stage}/trees.jsonl"):
        return source, stats
    disclosures = _group(run.rows(f"{stage}/disclosures.jsonl"))
    labels = _group(run.rows(f"{stage}/labels.jsonl"))
    keeper = _Keeper(quota)
    for tree in run.rows(f"{stage}/trees.jsonl"):
        tree_id = text(tree.get("tree_id"))
        packed = pack_tree(tree, disclosures.pop(tree_id, ()), labels.pop(tree_id, ()))
        _count(stats, packed)
        keeper.add(bool(packed["e"]), tree_id, source.n_total, packed["p"], escape_json(packed))
        source.n_total += 1
    keeper.fill(source)
    return source, stats


def pack_bench(run: RunData, model: BenchModel, quota: int) -> tuple[PackedSource, TreeStats]:
    """The benchmark conversations of one model with the judge's score of every reply."""
    source, stats = PackedSource(f"bench-{model.name}", f"Benchmark: {model.name}"), TreeStats()
    scores: dict[str, list[Row]] = defaultdict(list)
    for row in model.scores:
        scores[text(row.get("tree_id")) or text(row.get("persona_id"))].append(row)
    keeper = _Keeper(quota)
    for tree in run.rows(f"bench/{model.folder.name}/conversations.jsonl"):
        tree_id = text(tree.get("tree_id"))
        packed = pack_conversation(tree, scores.get(tree_id) or scores.get(text(tree.get("persona_id"))) or ())
        _count(stats, packed)
        keeper.add(bool(packed["e"]), tree_id, source.n_total, packed["p"], escape_json(packed))
        source.n_total += 1
    keeper.fill(source)
    return source, stats


def pack_tree(tree: Row, disclosures: Iterable[Row], labels: Iterable[Row]) -> dict[str, Any]:
    """One tree as the page's script reads it (see ``templates/thread.js``)."""
    packed, places = _pack_nodes(tree)
    packed["d"] = [_pack_disclosure(row, places) for row in disclosures]
    packed["l"] = [_pack_label(row, places) for row in labels]
    return packed


def pack_conversation(tree: Row, scores: Iterable[Row]) -> dict[str, Any]:
    """One benchmark conversation in the same form, with the rows of its scores."""
    packed, places = _pack_nodes(tree)
    packed["s"] = [score for row in scores if (score := _pack_score(row, packed["n"], places))]
    return packed


def pack_personas(run: RunData, sources: Iterable[PackedSource]) -> tuple[dict[str, list[str]], Counter[str]]:
    """Profile and personality of every persona that a source shows, and the number of personas by split."""
    wanted: set[str] = set().union(*(source.persona_ids for source in sources))
    found: dict[str, list[str]] = {}
    splits: Counter[str] = Counter()
    for row in run.rows("personas/personas.jsonl"):
        splits[text(row.get("split")) or "train"] += 1
        if (persona_id := text(row.get("persona_id"))) in wanted:
            found[persona_id] = [clip(row.get("profile")), clip(row.get("personality"))]
    return found, splits


def escape_json(value: Any) -> bytes:
    """JSON that can stand inside a script element: no character in it can end or open markup."""
    data = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    for raw, escaped in ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026")):
        data = data.replace(raw, escaped)
    return data.replace("\u2028".encode(), b"\\u2028").replace("\u2029".encode(), b"\\u2029")


def clip(value: Any, limit: int = MAX_TEXT) -> str:
    """Text of at most ``limit`` characters; what was cut is said."""
    found = text(value)
    return found if len(found) <= limit else f"{found[:limit]} […] ({len(found):,} characters in all)"


def _group(rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        for judgement in row.get("judgements") or ():
            if isinstance(judgement, dict):
                judgement.pop("generation", None)
        row.pop("generation", None)  # provenance stays in the files
        groups[text(row.get("tree_id"))].append(row)
    return groups


def _pack_nodes(tree: Row) -> tuple[dict[str, Any], dict[str, int]]:
    """``{i, p, n: [[parent, turn, kind, continued, text, model], ...], e}`` and node id -> place in ``n``."""
    nodes: list[list[Any]] = []
    places: dict[str, int] = {}
    for node in tree.get("nodes") or ():
        if not isinstance(node, dict):
            continue
        message = node.get("message")
        content = clip(message.get("content")) if isinstance(message, dict) else ""
        kind = node.get("kind")
        generation = node.get("generation")
        model = clip(generation.get("model"), 160) if isinstance(generation, dict) else ""
        places[text(node.get("node_id"))] = len(nodes)
        nodes.append(
            [
                places.get(text(node.get("parent_id")), -1),
                int(number(node.get("turn")) or 0),
                KINDS.index(kind) if kind in KINDS else 0,
                int(bool(node.get("continued"))),
                content,
                model,
            ]
        )
    errors = [
        [int(number(e.get("turn")) or 0), clip(e.get("role"), 40), clip(e.get("error"), 500)]
        for e in tree.get("errors") or ()
        if isinstance(e, dict)
    ]
    packed: dict[str, Any] = {
        "i": text(tree.get("tree_id")), "p": text(tree.get("persona_id")), "n": nodes, "e": errors,
    }  # fmt: skip
    if changes := [_pack_change(row) for row in tree.get("timeline") or () if isinstance(row, dict)]:
        packed["c"] = changes
    if each := int(number(tree.get("session_turns")) or 0):
        packed["h"] = each
    return packed, places


def _pack_change(row: Row) -> list[Any]:
    """``[turn, kind, how, was, now, until or 0, context]`` of a change of the persona"""
    turn, until = (int(number(row.get(key)) or 0) for key in ("turn", "until"))
    return [
        turn,
        *(clip(row.get(key), 500) for key in ("kind", "how", "was", "now")),
        until,
        clip(row.get("context"), 500),
    ]


def _pack_disclosure(row: Row, places: dict[str, int]) -> list[Any]:
    """``[node, item, kind, status, evidence, evidence nodes]``"""
    evidence = [places[node] for node in row.get("evidence_node_ids") or () if node in places]
    return [
        places.get(text(row.get("node_id")), -1),
        clip(row.get("item"), 500),
        text(row.get("kind")),
        text(row.get("status")),
        clip(row.get("evidence"), 500),
        evidence,
    ]


def _pack_label(row: Row, places: dict[str, int]) -> list[Any]:
    """``[nodes, chosen or -1, outcome, margin, labeler, [[nodes, verdict, score, reason], ...]]``"""
    judgements = [
        [
            [places.get(node, -1) for node in j.get("node_ids") or ()],
            clip(j.get("verdict"), 40),
            number(j.get("score")),
            clip(j.get("reason"), 1000) or ("" if j.get("verdict") or j.get("score") else clip(j.get("raw"), 300)),
        ]
        for j in row.get("judgements") or ()
        if isinstance(j, dict)
    ]
    return [
        [places.get(node, -1) for node in row.get("node_ids") or ()],
        places.get(text(row.get("chosen")), -1),
        text(row.get("outcome")) or "preferred",
        number(row.get("margin")),
        clip(row.get("labeler"), 160),
        judgements,
    ]


def _pack_score(row: Row, nodes: list[list[Any]], places: dict[str, int]) -> list[Any] | None:
    """``[node, score or null, parts, reason]``, or None where the reply is not in the conversation."""
    place = places.get(text(row.get("node_id")))
    if place is None:
        turn = number(row.get("turn"))
        place = next((i for i, node in enumerate(nodes) if node[1] == turn and node[2] != 0), None)
    if place is None:
        return None
    parts = row.get("parts")
    kept = {k: number(v) for k, v in parts.items()} if isinstance(parts, dict) else {}
    others = row.get("others")
    if isinstance(others, dict):
        kept |= {OTHERS[k]: number(v) for k, v in others.items() if k in OTHERS}
    return [place, number(row.get("score")), kept, clip(row.get("reason"), 1000) or clip(row.get("raw"), 300)]


def _count(stats: TreeStats, packed: dict[str, Any]) -> None:
    stats.n_trees += 1
    stats.n_nodes += len(packed["n"])
    stats.n_failed += bool(packed["e"])
    for _, role, error in packed["e"]:
        stats.errors[role, error.splitlines()[0][:160] if error else ""] += 1
    for _, turn, kind, continued, content, _ in packed["n"]:
        entry = stats.words[KINDS[kind], turn]
        entry[0] += len(content.split())
        entry[1] += 1
        if continued and kind:
            stats.continued[KINDS[kind]] += 1
    for _, chosen, outcome, _, _, _ in packed.get("l", ()):
        stats.outcomes[outcome] += 1
        if 0 <= chosen < len(packed["n"]):
            stats.preferred[KINDS[packed["n"][chosen][2]]] += 1
    for node, _, kind, status, _, _ in packed.get("d", ()):
        turn = packed["n"][node][1] if 0 <= node < len(packed["n"]) else 0
        stats.disclosed["trait" if kind == "trait" else status, turn] += 1
