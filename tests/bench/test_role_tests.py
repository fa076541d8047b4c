"""``aloe prompts test``: the world plays its roles nearly perfectly, and faulty players show in the figures."""

from __future__ import annotations

import json

import pytest

from aloe.__main__ import main
from aloe.bench.role_cases import copies_placeholder, role_cases
from aloe.dialogue.inducer import keep_supported
from aloe.dialogue.user import asks_for_something, plays_assistant
from aloe.errors import ConfigError
from aloe.types import Disclosure


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
