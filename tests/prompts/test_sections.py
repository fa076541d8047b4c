"""Tagged sections: nothing put into one can end it, and reading gives back what was put in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aloe.dialogue.state import PathState
from aloe.errors import ConfigError
from aloe.prompts import PromptSet
from aloe.prompts.catalog import CATALOG
from aloe.prompts.render import packaged_source
from aloe.prompts.sections import (
    SECTION_NAMES,
    conversation_slots,
    escape,
    read_attribute,
    read_conversation,
    read_section,
    unescape,
)
from aloe.types import Message, Persona
from prompts.write_goldens import golden_of, rendered_text

PROMPTS = PromptSet()
TAGS = st.sampled_from([f"<{s}{n}{e}" for n in SECTION_NAMES for s in ("", "/") for e in (">", " x=1>", "")])
HOSTILE = st.lists(
    st.one_of(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12), TAGS, st.sampled_from(
        ["&lt;user", "&amp;lt;/persona>", "{{ 7*7 }}", "@@ system", "\n@@ user\n", "<script>", "\n"])),
    max_size=8,
).map("".join)  # fmt: skip


def described(profile: str, personality: str) -> Persona:
    return Persona(persona_id="p", profile=profile, personality=personality, profile_id="", personality_id="")


@given(HOSTILE)
def test_escape_has_an_exact_inverse(text: str) -> None:
    assert unescape(escape(text)) == text


@given(st.lists(HOSTILE.filter(lambda t: t.strip()), min_size=1, max_size=6), HOSTILE, HOSTILE)
def test_a_conversation_is_read_back_whatever_it_says(texts: list[str], profile: str, reply: str) -> None:
    messages = [Message(role="user" if i % 2 == 0 else "assistant", content=t) for i, t in enumerate(texts)]
    rendered = PROMPTS.render(
        "judge_score",
        persona=described(profile, "x"),
        conversation=messages,
        reply=reply,
        scope="revealed",
    )
    assert [m.role for m in rendered] == ["system", "user"]
    assert read_conversation(rendered[1].content) == tuple(messages)
    assert read_section(rendered[0].content, "profile") == profile
    assert (read_section(rendered[1].content, "reply", 'id="only"') or "").strip("\n") == reply.strip("\n")
    assert read_attribute(rendered[0].content, "rubric", "scope") == "revealed"


def test_history_goes_in_as_messages_and_notes_come_last() -> None:
    from aloe.protocols import PromptMessage

    history = (PromptMessage("user", ("hi",)), PromptMessage("assistant", ("hello",)))
    rendered = PROMPTS.render("tailored", history=history, last="and now?", revealed=())
    assert [m.role for m in rendered] == ["system", "user", "assistant", "user"]
    assert rendered[1] is history[0]
    assert rendered[3].content.startswith("and now?") and "nothing yet" in rendered[3].content


def test_storage_of_a_growing_conversation_is_linear() -> None:
    """Parts repeat from turn to turn, so that the journal stores each only once."""
    seen: set[str] = set()
    new_parts = []
    messages: list[Message] = []
    for turn in range(20):
        messages += [Message(role="user", content=f"u{turn}"), Message(role="assistant", content=f"a{turn}")]
        rendered = PROMPTS.render("inducer", persona=described("p", "q"), conversation=messages)
        parts = {part for m in rendered for part in m.parts}
        new_parts.append(len(parts - seen))
        seen |= parts
    assert max(new_parts[1:]) == 2


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("name", CATALOG)
def test_prompts_match_their_goldens(name: str, version: str) -> None:
    """A changed prompt changes what models are asked: it must be on purpose."""
    golden = golden_of(name, version)
    assert golden.is_file(), f"no golden for {name}; write it with: python tests/prompts/write_goldens.py"
    assert rendered_text(PromptSet(version=version), name) == golden.read_text("utf-8")


def test_no_prompt_of_version_2_holds_a_placeholder_that_a_model_could_copy() -> None:
    for name in CATALOG:
        text = packaged_source(name, "2")
        assert '"..."' not in text and "the user's words\"" not in text and 'one sentence"' not in text, name


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("judge_compare", ("<persona>", "<person>"), "lacks the section <persona>"),
        ("inducer", ("{{ conversation }}", "{{ convers }}"), "'convers' is undefined"),
        ("inducer", ("{{ conversation }}", "nothing"), "never uses {{ conversation }}"),
        ("user", ("@@ history", ""), "has no '@@ history' line"),
        ("tailored", ("{{ last }}", "{{ last"), "line"),
        (
            "tailored",
            ("{{ last }}", "{{ last }}{{ ''.__class__.__mro__ }}"),
            "'getattr' is not allowed",
        ),
        ("tailored", ("{{ last }}", "{{ last }}{% include 'x' %}"), "'include' is not allowed"),
        ("tailored", ("{{ last }}", "{{ last }}{{ 1 // 0 }}"), "'floordiv' is not allowed"),
    ],
)
def test_an_unusable_prompt_file_is_refused_when_loaded(tmp_path, name, change, says) -> None:
    (tmp_path / f"{name}.jinja").write_text(packaged_source(name).replace(*change))
    prompts = PromptSet(tmp_path)  # digests alone run nothing
    with pytest.raises(ConfigError, match=says) as caught:
        prompts.check()
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_template_that_reaches_out_in_a_branch_is_refused_before_it_runs(tmp_path) -> None:
    hidden = "{% if scope == 'later' %}{{ scope.__init__.__globals__ }}{% endif %}"
    text = packaged_source("judge_compare").replace("{{ conversation }}", "{{ conversation }}" + hidden)
    (tmp_path / "judge_compare.jinja").write_text(text)
    values = {"persona": described("p", "q"), "conversation": [], "first": "a", "second": "b"}
    with pytest.raises(ConfigError, match=r"judge_compare\.jinja, line \d+: 'getattr' is not allowed"):
        PromptSet(tmp_path).render("judge_compare", scope="persona", **values)


def test_a_file_that_is_no_prompt_is_refused(tmp_path) -> None:
    (tmp_path / "judge_scor.jinja").write_text("x")
    with pytest.raises(ConfigError, match="did you mean 'judge_score'"):
        PromptSet(tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.lists(HOSTILE, min_size=1, max_size=7), st.lists(HOSTILE, max_size=3))
def test_a_conversation_that_grows_is_read_as_it_is_wherever_it_was_read_before(
    texts: list[str], others: list[str]
) -> None:
    def shown(said: list[str]) -> str:
        state = PathState("t")
        for number, text in enumerate(said):
            state = state.with_reply("r", text) if number % 2 else state.with_user("u", text)
        assert state.shown == conversation_slots(state.messages)
        return f"<conversation>\n{''.join(state.shown.parts)}\n</conversation>"

    for end in (*range(1, len(texts) + 1), 1, len(texts)):
        for said in (texts[:end], [*texts[: end - 1], *others]):
            found = [m.content for m in read_conversation(shown(said))]
            assert found == [unescape(escape(text)) for text in said]
