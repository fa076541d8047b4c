"""A conversation of a persona that changes, as the page gets it: timeline, sessions, stale marks."""

from __future__ import annotations

from pathlib import Path

import pytest

from aloe.store.records import write_jsonl
from aloe.studio.index import IndexedSource
from aloe.studio.people import People
from aloe.types import Change, ConversationTree, Message, Node, Persona
from aloe.world.latent import fill
from aloe.world.lexicon.options import narrow

LEXICON = narrow()
FERRET, PARROT = (fill(LEXICON.by_slot["pet"].profile[0], pet) for pet in ("ferret", "parrot"))
SOLD = Change(turn=3, kind="fact", how="announced", was=FERRET, now=PARROT)


def advice(pet: str) -> str:
    """A reply that ties a pet to what it advises."""
    use = fill(LEXICON.by_slot["pet"].uses[0], pet)
    return f"{LEXICON.by_topic['weekend'].advice[0]}, {use[:1].lower()}{use[1:]}."


@pytest.fixture
def source(tmp_path: Path) -> IndexedSource:
    persona = Persona(persona_id="p", profile=FERRET, personality="", profile_id="f", personality_id="t")
    said = [("Hello.", advice("ferret")), ("And?", advice("parrot")), ("It is gone.", "Good day."),
            ("Well?", advice("ferret")), ("Now?", advice("parrot"))]  # fmt: skip
    nodes: list[Node] = []
    for turn, texts in enumerate(said, 1):
        for role, content in zip(("user", "assistant"), texts, strict=True):
            nodes.append(
                Node.model_construct(
                    node_id=f"{role}{turn}", parent_id=nodes[-1].node_id if nodes else None, turn=turn, continued=True,
                    message=Message.model_construct(role=role, content=content), generation=None,
                    kind="user" if role == "user" else "responder",
                )
            )  # fmt: skip
    tree = ConversationTree.model_construct(
        tree_id="t", persona_id="p", seed=0, nodes=tuple(nodes), errors=(), timeline=(SOLD,), session_turns=2
    )
    write_jsonl(tmp_path / "personas.jsonl", [persona])
    write_jsonl(tmp_path / "conversations.jsonl", [tree])
    (tmp_path / "scores.jsonl").touch()
    files = {"trees": tmp_path / "conversations.jsonl", "scores": tmp_path / "scores.jsonl"}
    found = IndexedSource("bench-x", "x", files, People(tmp_path / "personas.jsonl"))
    assert found.refresh(60)
    return found


def test_what_is_over_is_marked_from_the_turn_on_from_which_it_is(source: IndexedSource) -> None:
    packed = source.conversation("t")
    assert packed is not None
    assert packed["c"] == [[3, "fact", "announced", FERRET, PARROT, 0, ""]] and packed["h"] == 2
    assert packed["x"] == [[7, FERRET, "fact", "ferret"]]  # not at turn 1, when it held
