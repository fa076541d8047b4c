"""``aloe validate``: checks the files of a run against each other and lists what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from aloe.errors import DataError
from aloe.store.content import digest_file
from aloe.store.records import read_jsonl, read_rows
from aloe.store.rundir import RunDir
from aloe.types import ConversationTree, Disclosure, Label, Node, Persona, PoolEntry

M = TypeVar("M", bound=BaseModel)
HINT_MARKS = ("<revealed>", "</revealed>", "<persona>", "</persona>", "<rubric", "<conversation>", "@@ user")


@dataclass(slots=True)
class Report:
    """Breaches as one line each, and what was looked at."""

    breaches: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str, n: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + n


def validate_run(run: Path) -> Report:
    """Check personas, trees, disclosures, labels and benchmark conversations of a run directory."""
    report = Report()
    _check_inputs(run, report)
    personas = _check_personas(run / "personas", report)
    for stage in ("trees", "rollout"):
        if (run / stage / "trees.jsonl").is_file():
            _check_forest(run / stage, personas, report)
    for path in sorted((run / "bench").glob("*/conversations.jsonl")) if (run / "bench").is_dir() else []:
        for tree in _read(path, ConversationTree, report):
            report.count("benchmark conversations")
            _check_tree(tree, f"bench/{path.parent.name}", report)
            if any(len(tree.children(n.node_id)) > 1 for n in tree.nodes):
                report.breaches.append(
                    f"bench/{path.parent.name}: conversation {tree.tree_id} has more than one branch"
                )
    return report


def _check_inputs(run: Path, report: Report) -> None:
    """What each stage was made from must still be there; labels may be added to (``aloe relabel``)."""
    try:
        stages = RunDir(run).manifest().get("stages", {})
    except DataError as error:
        report.breaches.append(str(error))
        return
    for stage, state in stages.items():
        for name, digest in state.get("inputs", {}).items() if isinstance(state, dict) else ():
            if (run / name).is_file() and not name.endswith("labels.jsonl") and digest_file(run / name) != digest:
                report.breaches.append(f"{stage}: made from another {name} than the one that is there; run it again")


def _read(path: Path, model: type[M], report: Report) -> Iterator[M]:
    try:
        yield from read_jsonl(path, model)
    except DataError as error:
        report.breaches.append(str(error))


def _check_personas(folder: Path, report: Report) -> set[str]:
    ids: set[str] = set()
    texts: dict[str, set[str]] = {"train": set(), "bench": set()}
    if not folder.is_dir():
        return ids
    for persona in _read(folder / "personas.jsonl", Persona, report):
        report.count("personas")
        if persona.persona_id in ids:
            report.breaches.append(f"personas: duplicate persona_id {persona.persona_id}")
        ids.add(persona.persona_id)
        texts[persona.split] |= {persona.profile_id, persona.personality_id}
    for shared in sorted(texts["train"] & texts["bench"]):
        report.breaches.append(f"personas: {shared} is in training and in the benchmark")
    if (folder / "pool.jsonl").is_file():
        seen: set[str] = set()
        for entry in _read(folder / "pool.jsonl", PoolEntry, report):
            report.count("pool entries")
            if entry.entry_id in seen:
                report.breaches.append(f"pool: duplicate entry_id {entry.entry_id}")
            if entry.reason:
                report.breaches.append(f"pool: {entry.entry_id} is a member with a reason for rejection")
            seen.add(entry.entry_id)
    return ids


def _check_forest(folder: Path, personas: set[str], report: Report) -> None:
    nodes: dict[str, Mapping[str, Node]] = {}
    homes: dict[str, str] = {}
    for tree in _read(folder / "trees.jsonl", ConversationTree, report):
        report.count("trees" if folder.name == "trees" else f"{folder.name} trees")
        where = f"{folder.name}: tree {tree.tree_id}"
        if tree.tree_id in nodes:
            report.breaches.append(f"{where} is there twice")
        if personas and tree.persona_id not in personas:
            report.breaches.append(f"{where} has an unknown persona {tree.persona_id}")
        _check_tree(tree, folder.name, report)
        nodes[tree.tree_id] = tree.by_id
        for node_id in nodes[tree.tree_id]:
            home = homes.setdefault(node_id, tree.tree_id)
            if home != tree.tree_id:
                report.breaches.append(f"{where}: node {node_id} is in tree {home} too")
    if (folder / "labels.jsonl").is_file():
        judged: set[tuple[str, ...]] = set()
        for label in _read(folder / "labels.jsonl", Label, report):
            report.count("labels")
            place = (label.labeler, *label.node_ids)
            if place in judged:
                report.breaches.append(f"{folder.name}: {label.labeler} labels {','.join(label.node_ids)} twice")
            judged.add(place)
            _check_label(label, nodes.get(label.tree_id), folder.name, report)
    if (folder / "disclosures.jsonl").is_file():
        _check_disclosures(folder, nodes, report)


def _check_tree(tree: ConversationTree, where: str, report: Report) -> None:
    where = f"{where}: tree {tree.tree_id}"
    seen: dict[str, Node] = {}
    for node in tree.nodes:
        report.count("nodes")
        at = f"{where}, node {node.node_id}"
        if node.node_id in seen:
            report.breaches.append(f"{at}: duplicate node_id")
        parent = seen.get(node.parent_id) if node.parent_id is not None else None
        if node.parent_id is not None and parent is None:
            report.breaches.append(f"{at}: its parent {node.parent_id} does not come before it")
        expected = "user" if parent is None or parent.message.role == "assistant" else "assistant"
        if node.message.role != expected:
            report.breaches.append(f"{at}: role {node.message.role}, expected {expected}")
        turn = 1 if parent is None else parent.turn + (node.message.role == "user")
        if node.turn != turn:
            report.breaches.append(f"{at}: turn {node.turn}, expected {turn}")
        if node.continued != bool(tree.children(node.node_id)):
            report.breaches.append(
                f"{at}: continued is {node.continued}, but it has {'' if node.continued else 'a '}child"
            )
        if not node.message.content.strip():
            report.breaches.append(f"{at}: empty message")
        for mark in HINT_MARKS:
            if mark in node.message.content:
                report.breaches.append(f"{at}: hint text {mark} in the message")
        seen[node.node_id] = node
    if len(tree.children(None)) > 1:
        report.breaches.append(f"{where}: more than one opening message")


def _check_label(label: Label, nodes: Mapping[str, Node] | None, where: str, report: Report) -> None:
    at = f"{where}: label on {','.join(label.node_ids)}"
    if nodes is None:
        report.breaches.append(f"{at}: unknown tree {label.tree_id}")
        return
    missing = [i for i in label.node_ids if i not in nodes]
    if missing:
        report.breaches.append(f"{at}: unknown nodes {', '.join(missing)}")
        return
    if len({nodes[i].parent_id for i in label.node_ids}) != 1:
        report.breaches.append(f"{at}: the replies are not siblings")
    for end in (label.chosen, label.rejected):
        if end is not None and end not in label.node_ids:
            report.breaches.append(f"{at}: {end} was not among those judged")
    if (label.chosen is None) != (label.outcome != "preferred"):
        report.breaches.append(f"{at}: outcome {label.outcome} with chosen {label.chosen}")


def _check_disclosures(folder: Path, nodes: Mapping[str, Mapping[str, Node]], report: Report) -> None:
    path = folder / "disclosures.jsonl"
    try:
        for number, row in read_rows(path):
            tree_id = row.pop("tree_id", None)
            try:
                disclosure = Disclosure.model_validate(row)
            except ValidationError as error:
                report.breaches.append(f"{path}, line {number}: {error.errors()[0]['msg'].lower()}")
                continue
            report.count("disclosures")
            _check_disclosure(disclosure, nodes.get(tree_id, {}), f"{folder.name}: line {number}", report)
    except DataError as error:
        report.breaches.append(str(error))


def _check_disclosure(disclosure: Disclosure, nodes: Mapping[str, Node], at: str, report: Report) -> None:
    node = nodes.get(disclosure.node_id)
    if node is None:
        report.breaches.append(f"{at}: disclosure at an unknown node {disclosure.node_id}")
        return
    if node.message.role != "user":
        report.breaches.append(f"{at}: disclosure at a reply")
    if not disclosure.evidence.strip() or not disclosure.evidence_node_ids:
        report.breaches.append(f"{at}: disclosure without evidence")
        return
    plain = " ".join(disclosure.evidence.lower().split()).strip(" .!?,")
    words = [" ".join(nodes[i].message.content.lower().split()) for i in disclosure.evidence_node_ids if i in nodes]
    if not any(plain in text for text in words):
        report.breaches.append(f"{at}: the evidence {disclosure.evidence[:60]!r} is not in the user's words")
