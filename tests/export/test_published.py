"""The published conversations format: export(import(file)) is the file, whatever is in it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aloe.dialogue.tree_builder import TreePlan
from aloe.errors import DataError
from aloe.export.published import export_file, import_file
from aloe.export.select import Selection, read_data_set
from aloe.store.records import read_jsonl, write_jsonl
from aloe.store.validate import validate_run
from aloe.types import ConversationTree, Label, Persona
from dialogue.growing import grow_into
from helpers import world_personas

# A hint's mark in a message is a breach that the validator is there to find, so messages here hold none.
WORDS = st.text(min_size=1, max_size=12).filter(lambda t: t.strip() and "<" not in t and "@@" not in t)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def turns(draw) -> dict[str, object]:
    preferred, rejected = draw(WORDS), draw(WORDS | st.lists(WORDS, min_size=0, max_size=3))
    replies = [preferred, *(rejected if isinstance(rejected, list) else [rejected])]
    turn: dict[str, object] = {
        "user": draw(WORDS),
        "assistant": {"preferred": preferred, "rejected": rejected},
        "chosen": draw(st.sampled_from(["preferred", "rejected", *replies]) | ANYTHING),
    }
    for name in ("inferred_profile", "inferred_personality", "note"):
        if draw(st.booleans()):
            turn[name] = draw(ANYTHING)
    return turn


CONVERSATION = st.fixed_dictionaries(
    {"profile": WORDS, "personality": WORDS, "conversations": st.lists(turns(), min_size=1, max_size=4)},
    optional={"id": ANYTHING},
)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(CONVERSATION | ANYTHING, max_size=4),
    sure=CONVERSATION,
    lines=st.booleans(),
    indent=st.sampled_from([None, 2, 4]),
    ascii_=st.booleans(),
    end=st.sampled_from(["", "\n"]),
)
def test_import_and_export_give_back_the_file(rows, sure, lines, indent, ascii_, end) -> None:
    rows = [*rows, sure]
    options = {"ensure_ascii": ascii_}
    try:
        if lines and len(rows) > 1:
            text = "\n".join(json.dumps(r, **options) for r in rows) + end
        else:
            text = json.dumps(rows, indent=indent, **options) + end
        text.encode()
    except UnicodeEncodeError:
        return  # half a character, unescaped: no UTF-8 file holds that
    with tempfile.TemporaryDirectory() as name:
        source, run, target = Path(name) / "in.json", Path(name) / "run", Path(name) / "out.json"
        source.write_bytes(text.encode())
        found = import_file(source, run)
        assert export_file(run, target) == len(rows)
        assert target.read_bytes() == text.encode()
        assert validate_run(run).breaches == []
        assert len(found.labels) == sum(1 for _ in read_jsonl(run / "trees" / "labels.jsonl", Label))


ROWS = [
    {
        "profile": "She is a baker.",
        "personality": "She is warm.",
        "conversations": [
            {
                "user": "Hello.",
                "assistant": {"preferred": "Good day!", "rejected": ["Hi.", "Yes?"]},
                "chosen": "Yes?",
                "inferred_profile": [],
            },
            {"user": "Well.", "assistant": {"preferred": "Go on.", "rejected": "So?"}, "chosen": "preferred"},
        ],
    },
    {"profile": "He is a smith.", "personality": "", "conversations": []},
]


def test_what_an_import_makes_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(json.dumps(ROWS))
    found = import_file(tmp_path / "in.json", tmp_path / "run")
    assert found.problems == ["conversation 2: no text in 'personality'; kept as it is, not used"]
    (tree,) = read_jsonl(tmp_path / "run" / "trees" / "trees.jsonl", ConversationTree)
    texts = {n.node_id: n.message.content for n in tree.nodes}
    assert [texts[n.parent_id] for n in tree.nodes if n.parent_id and n.kind == "user"] == ["Yes?"]
    data = read_data_set(tmp_path / "run" / "trees", list(found.personas.values()), Selection())
    assert [(p.turn, p.chosen[0].content, p.rejected[0].content) for p in data.all_pairs] == [
        (1, "Good day!", "Hi."), (1, "Good day!", "Yes?"), (2, "Go on.", "So?"),
    ]  # fmt: skip
    assert [m.content for m in data.all_pairs[2].prompt] == ["Hello.", "Yes?", "Well."]  # what the user answered


def test_own_trees_go_out_and_come_in_again(tmp_path: Path) -> None:
    grow_into(tmp_path / "run" / "trees", TreePlan(n_turns=4, policy="path"), n=8)
    write_jsonl(tmp_path / "run" / "personas" / "personas.jsonl", world_personas(8))
    n = export_file(tmp_path / "run", tmp_path / "out.json")
    rows = json.loads((tmp_path / "out.json").read_text())
    assert 0 < n == len(rows) <= 8
    for row in rows:
        last = row["conversations"][-1]
        assert {t["chosen"] for t in row["conversations"]} <= {"preferred", "rejected"}
        assert all(item in row["profile"] for item in last["inferred_profile"])
        assert len(last["inferred_profile"]) >= len(row["conversations"][0]["inferred_profile"])
    import_file(tmp_path / "out.json", tmp_path / "again")
    export_file(tmp_path / "again", tmp_path / "twice.json")
    assert (tmp_path / "twice.json").read_bytes() == (tmp_path / "out.json").read_bytes()
    personas = {p.profile for p in read_jsonl(tmp_path / "again" / "personas" / "personas.jsonl", Persona)}
    assert personas <= {p.profile for p in world_personas(8)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{oops", "line 1: not valid JSON"),
        ("[]", "contains no conversation"),
        ('[{"profile": 1}]', "no text in 'profile'"),
    ],
)
def test_a_file_that_is_no_such_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "in.json").write_text(text)
    with pytest.raises(DataError, match=says):
        import_file(tmp_path / "in.json", tmp_path / "run")
