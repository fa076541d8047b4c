"""Personas that change: what a drawn timeline says, how users let it be known, how it is read back."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aloe.prompts.render import PromptSet
from aloe.prompts.sections import read_changes
from aloe.protocols import ChatRequest, PromptMessage
from aloe.types import Change, Message, Persona
from aloe.world.assistant import notice
from aloe.world.latent import Latent, draw_facts, draw_traits, fill, read_persona, write_personality, write_profile
from aloe.world.lexicon.changes import CONTEXTS, ENDED, GONE
from aloe.world.lexicon.options import narrow
from aloe.world.model import WorldModel
from aloe.world.reading import read_message
from aloe.world.staleness import use_of_changes
from aloe.world.timeline import latent_of, scope_of, with_timeline
from aloe.world.truth import disclosed, read_known, read_user_message, told_by, weigh

PROMPTS = PromptSet()


def somebody(seed):
    rng, lexicon = Random(seed), narrow()
    profile = write_profile(draw_facts(rng, lexicon), "She", rng, lexicon)
    personality = write_personality(draw_traits(rng, lexicon), "She", rng, lexicon)
    return Persona(
        persona_id=str(seed), profile=profile, personality=personality, profile_id=f"f{seed}", personality_id=f"t{seed}"
    )


def with_changes(*changes, facts=(("pet", "ferret"), ("home", "cottage")), traits=(("pace", "patient"),)):
    lexicon = narrow()
    profile = " ".join(fill(lexicon.by_slot[s].profile[0], v) for s, v in facts)
    personality = write_personality(traits, "She", Random(0), lexicon)
    return Persona(
        persona_id="x", profile=profile, personality=personality, profile_id="f", personality_id="t", timeline=changes
    )


SOLD = Change(
    turn=3, kind="fact", how="announced", was="She keeps a ferret as a pet.", now="She keeps a parrot as a pet."
)


@pytest.mark.parametrize(("kind", "phrases"), [("value", ENDED), ("cue", GONE)])
def test_every_end_of_every_value_is_read_as_an_end_and_as_nothing_else(kind, phrases):
    for slot, templates in phrases.items():
        for value in narrow().by_slot[slot].values:
            if kind == "cue" and not value.cue:
                continue
            for template in templates:
                text = fill(template, value.text, value.cue)
                reading = read_message(f"Hey there. {text} what should I cook tonight?")
                assert reading.mentions == (), text
                over = {(p.name, p.value) for mention in reading.ended for p in mention.payloads}
                assert over == {(slot, value.text)}, text


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(4, 30), st.integers(1, 3))
def test_a_drawn_timeline_is_fixed_by_its_seed_and_says_what_holds_at_each_turn(seed, n, n_turns, n_sessions):
    persona = with_timeline(somebody(seed), n, n_turns, n_sessions, seed)
    assert persona == with_timeline(somebody(seed), n, n_turns, n_sessions, seed)
    turns = [change.turn for change in persona.timeline]
    assert 1 <= len(turns) <= n and len(set(turns)) == len(turns) and turns == sorted(turns)
    assert all(2 <= turn <= n_turns * n_sessions for turn in turns)
    start = latent_of(somebody(seed))
    for turn in (1, *turns, n_turns * n_sessions):
        now = persona.as_of(turn)
        latent = latent_of(now)
        for change in persona.timeline:
            texts = now.profile if change.kind == "fact" else now.personality
            if change.now and max(change.turn, change.since) <= turn:
                assert change.now in texts
            if change.was:
                assert (change.was in texts) == (not change.since or change.since > turn)
        if latent.history is not None:
            assert {i.value for i in latent.history.start.facts} == {i.value for i in start.facts}
            assert {i.value for i in latent.history.start.traits} == {i.value for i in start.traits}
            rendered = PROMPTS.render("user", (), persona=now, release="", task="")[0].content
            assert read_changes(rendered) == (now.timeline, turn)


def test_a_persona_that_never_changes_is_written_as_before():
    assert set(somebody(1).model_dump(mode="json")) == {
        "persona_id", "profile", "personality", "profile_id", "personality_id", "split",
    }  # fmt: skip
    assert somebody(1).as_of(5) == somebody(1)
    changed = with_changes(SOLD)
    assert Persona.model_validate_json(changed.model_dump_json()) == changed


def converse(persona, n_turns, uri="world:user", seed=1):
    """The user's messages, answered by replies that ask for nothing."""
    user, said, history = WorldModel(uri), [], ()
    for turn in range(1, n_turns + 1):
        messages = PROMPTS.render("user", history, persona=persona.as_of(turn), release="", task="")
        text = user.answer(ChatRequest(messages, None, None, None, seed)).text
        said.append(text)
        history += (PromptMessage("assistant", (text,)), PromptMessage("user", ("Tell me more about you?",)))
    return said


@pytest.mark.parametrize("uri", ["world:user", "world:user?wording=wide"])
@pytest.mark.parametrize("seed", range(12))
def test_the_user_lets_every_change_of_a_fact_be_known_at_its_turn_and_never_says_what_is_stale(seed, uri):
    persona = with_timeline(somebody(seed), 4, 10, 1, seed)
    said = converse(persona, 10, uri)
    for change in persona.timeline:
        if change.kind == "fact":
            latent = latent_of(persona.as_of(change.turn))
            reading = read_message(said[change.turn - 1])
            over = {(p.name, p.value) for m in reading.ended for p in m.payloads}
            was = latent_of(persona.as_of(change.turn - 1))
            if change.was:
                assert any(was.by_value[v].clause == change.was for v in over if v in was.by_value)
            if change.now:
                new = {s.item.clause for s in read_user_message(said[change.turn - 1], latent)}
                assert change.now in new
    for turn, text in enumerate(said, 1):
        latent = latent_of(persona.as_of(turn))
        stated = {(p.name, p.value) for m in read_message(text).mentions for p in m.payloads if p.kind == "value"}
        assert not stated & set(latent.past)


def test_a_reply_with_what_is_over_is_untrue_unless_it_only_speaks_of_what_the_user_has_just_said():
    persona = with_changes(SOLD)
    before, after = latent_of(persona.as_of(2)), latent_of(persona.as_of(3))
    told = [Message(role="user", content="I keep a ferret as a pet. What should I do this weekend?")]
    reply = "You could try a picnic in the park, with your ferret by your side."
    assert weigh(read_known(before, told), reply).n_false == 0
    ended = [*told, Message(role="assistant", content=reply)]
    ended.append(Message(role="user", content="I had to give my ferret away. Any plans you can suggest for Saturday?"))
    known = read_known(after, ended)
    assert known.facts == {}
    assert weigh(known, reply).n_false == 1
    assert [(use.stale, use.fresh) for use in use_of_changes(known, reply)] == [(True, False)]
    fresh = reply.replace("ferret", "parrot")
    assert [(use.stale, use.fresh) for use in use_of_changes(known, fresh)] == [(False, True)]
    sorry = "Sorry to hear about the ferret. You could try a picnic in the park."
    assert weigh(known, sorry).n_false == 0
    assert not use_of_changes(known, sorry)[0].stale


def test_both_manners_suit_while_one_turns_into_the_other_and_then_only_the_new():
    pace = narrow().by_trait["pace"].poles
    was, now = (next(p for p in pace if p.name == name) for name in ("patient", "impatient"))
    change = Change(turn=2, until=4, kind="trait", how="gradual", was=fill(was.persona[0]), now=fill(now.persona[0]))
    persona = with_changes(change).model_copy(update={"personality": fill(was.persona[0])})
    latents = {turn: latent_of(persona.as_of(turn)) for turn in (1, 2, 3, 4)}
    assert [latents[t].poles["pace"].value for t in (1, 3, 4)] == ["patient", "patient", "impatient"]
    assert [bool(latents[t].turning) for t in (1, 2, 3, 4)] == [False, True, True, False]
    assert ("pace", "patient") in latents[4].past


def test_a_manner_that_depends_on_the_context_is_never_stale_and_shows_where_it_holds():
    poles = {p.name: fill(p.persona[0]) for p in narrow().by_trait["humour"].poles}
    context = f"practical matters: {', '.join(CONTEXTS['practical matters'])}"
    change = Change(turn=2, kind="trait", how="contextual", was=poles["playful"], now=poles["serious"], context=context)
    persona = with_changes(change).model_copy(update={"personality": poles["playful"]})
    latent = latent_of(persona.as_of(5))
    assert not latent.past
    shown = set()
    for seed in range(8):
        for turn, text in enumerate(converse(persona, 8, seed=seed), 1):
            reading = read_message(text)
            manner = {pole for trait, pole, _ in reading.shown if trait == "humour"}
            wanted = "serious" if turn > 1 and reading.topic in CONTEXTS["practical matters"] else "playful"
            assert manner <= {wanted}
            shown |= manner
    assert shown == {"playful", "serious"}


def test_a_persona_in_its_own_words_can_end_a_fact_too():
    text = "Nora restores old clocks. She swims in the lake at dawn. She is raising two llamas."
    persona = somebody(3).model_copy(update={"profile": text})
    changed = with_timeline(persona, 1, 10, 1, 4)
    (change,) = changed.timeline
    assert change.now == "" and change.was in text
    said = converse(changed, change.turn)
    assert "no longer" in said[-1]
    assert read_persona(changed.as_of(change.turn).profile, "").facts != read_persona(text, "").facts


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 12), max_size=6))
def test_reading_a_conversation_again_says_the_same_whatever_was_read_before(seed, lengths):
    persona = somebody(seed % 20)
    said = converse(persona, 12, seed=seed % 3)
    kept = latent_of(persona)
    for n in lengths:
        fresh = Latent(kept.facts, kept.traits)
        assert disclosed(kept, said[:n]) == disclosed(fresh, said[:n])
        assert told_by(tuple(said[:n]), kept) == told_by(tuple(said[:n]), Latent(kept.facts, kept.traits))


@pytest.mark.parametrize("seed", range(20))
def test_in_a_small_world_changes_are_drawn_from_it_and_nothing_is_implied_where_users_never_hint(seed):
    small = "values=4&slots=pet,diet,hobby,drink"
    scope = scope_of(f"world:persona-writer?{small}", f"world:user?{small}&hints=0")
    rng = Random(seed)
    profile = write_profile(draw_facts(rng, scope.lexicon)[:2], "She", rng, scope.lexicon)
    persona = somebody(seed).model_copy(update={"profile": profile})
    changed = with_timeline(persona, 6, 10, 1, seed, scope)
    known = {(slot.name, value.text) for slot in scope.lexicon.slots for value in slot.values}
    for turn in range(11):
        assert {(item.name, item.value) for item in latent_of(changed.as_of(turn)).facts} <= known
    assert {c.how for c in changed.timeline if c.kind == "fact"} == {"announced"}
    assert scope_of("openai:writer", "openai:user").implied


@pytest.mark.parametrize("seed", range(4))
def test_what_is_noticed_turn_by_turn_is_what_is_noticed_at_once(seed):
    said = converse(with_timeline(somebody(seed), 4, 14, 1, seed), 14)
    at_once = {n: notice(said[:n], hints=True, manner=True) for n in range(14, 0, -1)}
    assert at_once == {n: notice(said[:n], hints=True, manner=True) for n in range(1, 15)}
    assert len({tuple(map(str, entries)) for entries in at_once.values()}) > 5
