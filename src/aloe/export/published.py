"""The published conversations format, read and written: ``export(import(file)) == file``.

A row is one conversation: ``profile``, ``personality`` and ``conversations``, a list of turns with ``user``,
``assistant`` (``preferred``, and ``rejected`` as a text or a list of texts), ``chosen`` (the reply from which the
conversation went on: ``preferred`` or ``rejected``, or that reply's own text), ``inferred_profile`` and
``inferred_personality``. The file is a JSON list or JSONL.

The texts go into personas, trees and labels. What has no place there (inferences without evidence, fields of others,
the order of the rows) is kept beside the trees in ``published.jsonl``, as the row with its texts taken out; rows that
are not a conversation are kept there whole and reported. Where the file was laid out by a common JSON writer, the bytes
come back too.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aloe.config.files import parse_json, refuse_special
from aloe.dialogue.state import content_id, make_tree_id
from aloe.errors import DataError
from aloe.store.records import atomic_write, read_jsonl, read_rows, write_json, write_jsonl
from aloe.types import ConversationTree, Disclosure, Label, Message, Node, Persona

LABELER = "published"
SIDE, LAYOUT = "published.jsonl", "published.json"
_LAYOUTS: tuple[dict[str, Any], ...] = tuple(
    {"lines": lines, "indent": indent, "ensure_ascii": ascii_, "separators": separators, "end": end}
    for lines in (False, True)
    for indent in ((None,) if lines else (4, 2, None, 1, 3, "\t"))
    for ascii_ in (False, True)
    for separators in (None, [",", ":"])
    for end in ("\n", "")
)


@dataclass(slots=True)
class Imported:
    """What a file held. ``problems`` name the rows that are not a conversation, and what was guessed."""

    personas: dict[str, Persona] = field(default_factory=dict)
    trees: list[ConversationTree] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    side: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def _read_rows(path: Path) -> tuple[list[Any], dict[str, Any]]:
    """The rows and the layout of the file.

    Raises:
        DataError: the file is not valid JSON.
    """
    refuse_special(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}", "give a JSON or JSONL file in UTF-8") from error
    try:
        data = parse_json(text)
        rows = data if isinstance(data, list) else [data]
        lines = not isinstance(data, list)
    except json.JSONDecodeError:
        rows, lines = [], True
        for number, line in enumerate(text.split("\n"), 1):
            try:
                rows += [parse_json(line)] if line.strip() else []
            except json.JSONDecodeError as error:
                raise DataError(f"{path}, line {number}: not valid JSON ({error})", "correct the line") from None
    fitting = (layout for layout in _LAYOUTS if layout["lines"] == lines)
    layout = next((layout for layout in fitting if _dump(rows, layout) == text), None)
    return rows, layout or {"lines": lines, "indent": None if lines else 2, "ensure_ascii": False, "end": "\n"}


def _dump(rows: Sequence[Any], layout: Mapping[str, Any]) -> str:
    separators = layout.get("separators")
    options: dict[str, Any] = {"ensure_ascii": layout["ensure_ascii"], "indent": layout["indent"]}
    options["separators"] = tuple(separators) if separators else None
    if layout["lines"]:
        text = "\n".join(json.dumps(row, **options) for row in rows)
    else:
        text = json.dumps(list(rows), **options)
    return text + str(layout["end"])


def import_rows(rows: Iterable[Any]) -> Imported:
    """Rows as personas, trees and labels."""
    found = Imported()
    seen: Counter[tuple[str, str]] = Counter()
    for number, row in enumerate(rows, 1):
        problem = _problem_of(row)
        if problem:
            found.problems.append(f"conversation {number}: {problem}; kept as it is, not used")
            found.side.append({"raw": json.dumps(row)})
            continue
        profile, personality = row["profile"], row["personality"]
        persona = Persona(
            persona_id=content_id("published", profile, personality),
            profile=profile,
            personality=personality,
            profile_id=content_id("profile", profile),
            personality_id=content_id("personality", personality),
        )
        found.personas[persona.persona_id] = persona
        tree_id = make_tree_id(persona, seen[profile, personality], LABELER)
        seen[profile, personality] += 1
        _add_tree(found, tree_id, persona, row["conversations"], number)
        found.side.append({"tree_id": tree_id, "row": json.dumps(_without_texts(row))})
    return found


def _is_text(value: Any) -> bool:
    """Whether a value is a text that can be stored: not blank, and without half a character (a lone surrogate)."""
    if not isinstance(value, str) or not value.strip():
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _problem_of(row: Any) -> str:
    """Why a row is not a conversation; empty if it is one."""
    if not isinstance(row, dict):
        return "no JSON object"
    for name in ("profile", "personality"):
        if not _is_text(row.get(name)):
            return f"no text in '{name}'"
    turns = row.get("conversations")
    if not isinstance(turns, list) or not turns:
        return "no list of turns in 'conversations'"
    for k, turn in enumerate(turns, 1):
        if not isinstance(turn, dict) or not _is_text(turn.get("user")):
            return f"turn {k} has no user message"
        replies = turn.get("assistant")
        if not isinstance(replies, dict) or not _is_text(replies.get("preferred")):
            return f"turn {k} has no preferred reply"
        rejected = replies.get("rejected")
        several = isinstance(rejected, list) and all(map(_is_text, rejected))
        if not (several or _is_text(rejected)):
            return f"turn {k} has no rejected reply"
    return ""


def _rejected(turn: Mapping[str, Any]) -> list[str]:
    value = turn["assistant"]["rejected"]
    return list(value) if isinstance(value, list) else [value]


def _add_tree(found: Imported, tree_id: str, persona: Persona, turns: Sequence[Mapping[str, Any]], number: int) -> None:
    nodes: list[Node] = []
    at: str | None = None
    for k, turn in enumerate(turns, 1):
        user_id = content_id(tree_id, at or tree_id, "user", turn["user"])
        user = Message(role="user", content=turn["user"])
        nodes.append(Node(node_id=user_id, parent_id=at, turn=k, message=user, continued=True))
        texts = [turn["assistant"]["preferred"], *_rejected(turn)]
        ids = [content_id(tree_id, user_id, "reply", str(i), text) for i, text in enumerate(texts)]
        goes_on, is_sure = _went_on(turn.get("chosen"), texts)
        if not is_sure and k < len(turns):
            what = "'chosen' does not name a reply, the preferred one is taken"
            found.problems.append(f"conversation {number}, turn {k}: {what}")
        for i, (node_id, text) in enumerate(zip(ids, texts, strict=True)):
            reply = Message(role="assistant", content=text)
            nodes.append(
                Node(
                    node_id=node_id, parent_id=user_id, turn=k, message=reply, kind="responder",
                    continued=i == goes_on and k < len(turns),
                )
            )  # fmt: skip
        found.labels += [
            Label(tree_id=tree_id, node_ids=(ids[0], other), chosen=ids[0], rejected=other, labeler=LABELER)
            for other in ids[1:]
        ]
        at = ids[goes_on]
    found.trees.append(ConversationTree(tree_id=tree_id, persona_id=persona.persona_id, seed=0, nodes=tuple(nodes)))


def _went_on(chosen: Any, texts: Sequence[str]) -> tuple[int, bool]:
    """Index of the reply that continued, and whether the file says so."""
    if chosen == "preferred":
        return 0, True
    if chosen == "rejected" and len(texts) > 1:
        return 1, True
    if isinstance(chosen, str) and chosen in texts:
        return texts.index(chosen), True
    return 0, False


def _without_texts(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with the texts that trees and personas hold replaced by None."""
    left = copy.deepcopy(dict(row))
    left["profile"] = left["personality"] = None
    for turn in left["conversations"]:
        rejected = turn["assistant"]["rejected"]
        turn["user"] = turn["assistant"]["preferred"] = None
        turn["assistant"]["rejected"] = [None] * len(rejected) if isinstance(rejected, list) else None
    return left


def import_file(path: Path, run: Path) -> Imported:
    """Import a published file into the directory ``run`` (``personas/`` and ``trees/``).

    Raises:
        DataError: the file can't be read, or holds no conversation.
    """
    rows, layout = _read_rows(path)
    found = import_rows(rows)
    if not found.trees:
        first = f" ({found.problems[0]})" if found.problems else ""
        raise DataError(f"{path} contains no conversations{first}", "see docs/trees.md for the format")
    write_jsonl(run / "personas" / "personas.jsonl", [found.personas[i] for i in sorted(found.personas)])
    trees = sorted(found.trees, key=lambda t: t.tree_id)
    labels = sorted(found.labels, key=lambda x: x.tree_id)
    write_jsonl(run / "trees" / "trees.jsonl", trees)
    write_jsonl(run / "trees" / "labels.jsonl", labels)
    write_jsonl(run / "trees" / "disclosures.jsonl", [])
    write_jsonl(run / "trees" / SIDE, found.side)
    write_json(run / "trees" / LAYOUT, layout)
    return found


def export_file(run: Path, path: Path) -> int:
    """Write a run's trees in the published format; returns the number of rows.

    Imported trees come back as they were. Of a tree grown here each root-to-leaf path that went on longest is a row:
    the replies of its turns, what was revealed so far as inferences, and which reply continued.

    Raises:
        DataError: a file of the run is missing or damaged.
    """
    personas = {p.persona_id: p for p in read_jsonl(run / "personas" / "personas.jsonl", Persona)}
    trees = {t.tree_id: t for t in read_jsonl(run / "trees" / "trees.jsonl", ConversationTree)}
    labels: dict[str, list[Label]] = {}
    for label in read_jsonl(run / "trees" / "labels.jsonl", Label):
        labels.setdefault(label.tree_id, []).append(label)
    side = run / "trees" / SIDE
    if side.is_file():
        layout = parse_json((run / "trees" / LAYOUT).read_text("utf-8"))
        rows = [_fill(entry, trees, personas, labels) for _, entry in read_rows(side)]
    else:
        layout = {"lines": False, "indent": 2, "ensure_ascii": False, "end": "\n"}
        revealed = _disclosures(run / "trees" / "disclosures.jsonl")
        rows = [
            row
            for tree in trees.values()
            if (row := _row_of(tree, personas[tree.persona_id], labels.get(tree.tree_id, []), revealed)) is not None
        ]
    with atomic_write(path) as file:
        file.write(_dump(rows, layout).encode())
    return len(rows)


def _disclosures(path: Path) -> dict[str, list[Disclosure]]:
    found: dict[str, list[Disclosure]] = {}
    for _, row in read_rows(path) if path.is_file() else ():
        row.pop("tree_id", None)
        disclosure = Disclosure.model_validate(row)
        found.setdefault(disclosure.node_id, []).append(disclosure)
    return found


def _main_path(tree: ConversationTree) -> list[tuple[Node, tuple[Node, ...]]]:
    """(user message, replies) from the root along the replies that went on, the first where there are several."""
    path: list[tuple[Node, tuple[Node, ...]]] = []
    at: str | None = None
    while users := tree.children(at):
        replies = tree.children(users[0].node_id)
        path.append((users[0], replies))
        following = next((r for r in replies if r.continued), None)
        if following is None:
            break
        at = following.node_id
    return path


def _fill(
    entry: Mapping[str, Any],
    trees: Mapping[str, ConversationTree],
    personas: Mapping[str, Persona],
    labels: Mapping[str, Sequence[Label]],
) -> Any:
    """An imported row with its texts put back."""
    if "raw" in entry:
        return parse_json(entry["raw"])
    tree, row = trees[entry["tree_id"]], parse_json(entry["row"])
    persona = personas[tree.persona_id]
    row["profile"], row["personality"] = persona.profile, persona.personality
    preferred = {x.chosen for x in labels.get(tree.tree_id, ()) if x.labeler == LABELER}
    for turn, (user, replies) in zip(row["conversations"], _main_path(tree), strict=True):
        best = next((r for r in replies if r.node_id in preferred), replies[0])
        others = [r.message.content for r in tree.siblings(best.node_id)]
        turn["user"] = user.message.content
        turn["assistant"]["preferred"] = best.message.content
        listed = isinstance(turn["assistant"]["rejected"], list)
        turn["assistant"]["rejected"] = others if listed else others[0]
    return row


def _row_of(
    tree: ConversationTree, persona: Persona, labels: Sequence[Label], revealed: Mapping[str, Sequence[Disclosure]]
) -> dict[str, Any] | None:
    """A tree grown here as one row; None where a turn has no preference before any turn has one."""
    by_user = {tuple(sorted(x.node_ids)): x for x in reversed(labels)}
    facts: list[str] = []
    traits: list[str] = []
    turns: list[dict[str, Any]] = []
    for user, replies in _main_path(tree):
        for disclosure in revealed.get(user.node_id, ()):
            (facts if disclosure.kind == "fact" else traits).append(disclosure.item)
        label = by_user.get(tuple(sorted(r.node_id for r in replies)))
        if label is None or label.chosen is None:
            break  # a turn without preference cannot be told in this format
        rejected = [r.message.content for r in tree.siblings(label.chosen)]
        went_on = next((r for r in replies if r.continued), None)
        chosen = "preferred" if went_on is None or went_on.node_id == label.chosen else went_on.message.content
        if went_on is not None and len(rejected) == 1 and chosen != "preferred":
            chosen = "rejected"
        turns.append(
            {
                "user": user.message.content,
                "assistant": {
                    "preferred": tree.by_id[label.chosen].message.content,
                    "rejected": rejected[0] if len(rejected) == 1 else rejected,
                },
                "chosen": chosen,
                "inferred_profile": list(facts),
                "inferred_personality": list(traits),
            }
        )
    if not turns:
        return None
    return {"profile": persona.profile, "personality": persona.personality, "conversations": turns}
