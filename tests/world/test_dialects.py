"""Dialects of the world's user: wording of their own, truth that is read back exactly, lies, moods, mixtures."""

from __future__ import annotations

from collections import Counter
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate import PROMPTS, converse, draw_personas, flipped, say, score
from test_lexicon_data import fact_words, stem, words

from aloe.errors import ConfigError
from aloe.protocols import PromptMessage
from aloe.types import Message, Persona
from aloe.world.actors import Utterance
from aloe.world.assistant import notice
from aloe.world.dialects.mood import has_walked_out, read_mood
from aloe.world.dialects.user import Said, speak
from aloe.world.judge import form_opinion
from aloe.world.lexicon.dialect_wording import DIALECTS, OWN_WORDING, every_phrase, phrases, said_sentences
from aloe.world.lexicon.index import skeleton
from aloe.world.lexicon.mixture import NAMES, draw, parse_mixture, settle, shares
from aloe.world.lexicon.options import parse_options
from aloe.world.lexicon.scan import tokenize
from aloe.world.lexicon.slots import SLOTS
from aloe.world.lexicon.topics import TOPICS
from aloe.world.lexicon.traits import TRAITS
from aloe.world.lexicon.wording import every
from aloe.world.lies import find_lies
from aloe.world.model import WorldModel
from aloe.world.truth import assess_reply, disclosed, read_known, read_message, read_persona, read_user_message

JUDGES = ("style", "content", "tact")
ASIDES = ("filler", "irritated", "angry", "thawed", "leaving", "again", "taunt")
SEEDS = st.integers(0, 2**31 - 1)


def usual_wording() -> list[str]:
    """Everything that the usual user may say, in both wordings."""
    texts = [t for slot in SLOTS for kind in ("said", "hinted", "other") for t in getattr(slot, kind)]
    texts += [shown for trait in TRAITS for pole in trait.poles for shown in pole.shown]
    texts += [request for topic in TOPICS for request in topic.requests]
    return texts + [t for kind in ("said", "hinted", "other", "shown", "requests", "links") for _, t in every(kind)]


def runs_of_four(text: str) -> set[tuple[str, ...]]:
    tokens = skeleton(text)
    return {tokens[at : at + 4] for at in range(len(tokens) - 3)}


def own_phrases(dialect: str) -> list[str]:
    kinds = [("said", s.name) for s in SLOTS] + [("hinted", s.name) for s in SLOTS] + [("wry", s.name) for s in SLOTS]
    kinds += [("other", s.name) for s in SLOTS] + [("requests", t.name) for t in TOPICS] + [("filler", "")]
    kinds += [("shown", f"{t.name} {p.name}") for t in TRAITS for p in t.poles]
    return list(dict.fromkeys(text for kind, section in kinds for text in phrases(dialect, kind, section)))


# wording ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", OWN_WORDING)
def test_own_wording_is_complete_and_shares_no_phrasing_with_the_usual_one(dialect):
    for slot in SLOTS:
        says = "wry" if dialect == "indirect" else "said"
        assert phrases(dialect, says, slot.name), (dialect, slot.name)
        assert bool(phrases(dialect, "hinted", slot.name)) is bool(slot.hinted)
    assert all(len(phrases(dialect, "shown", f"{t.name} {p.name}")) >= 2 for t in TRAITS for p in t.poles)
    assert all(len(phrases(dialect, "requests", t.name)) >= 2 for t in TOPICS)
    usual = usual_wording()
    taken = {run for text in usual for run in runs_of_four(text)}
    whole = {skeleton(text) for text in usual}
    assert [text for text in own_phrases(dialect) if skeleton(text) in whole or runs_of_four(text) & taken] == []


def test_no_phrase_holds_a_fact_and_each_reads_as_what_it_is():
    taken = {stem(word) for word, _ in fact_words()}
    sentences = [template for _, _, template in said_sentences()]
    asides = [text for dialect in DIALECTS for kind in ASIDES for text in phrases(dialect, kind)]
    quizzes = [text for slot in SLOTS for text in phrases("adversarial", "quiz", slot.name)]
    manners = [(kind, section, text) for kind in ("shown", "requests") for section, text in every_phrase(kind)]
    everything = [*sentences, *asides, *quizzes, *(text for _, _, text in manners)]
    assert [text for text in everything if {stem(word) for word in words(text)} & taken] == []
    anybody = {"he", "him", "his", "they", "them", "their", "himself", "themselves"}  # read as one person
    assert [text for text in sentences if set(words(text)) & anybody] == []
    for kind, section, text in manners:
        reading = read_message(text)
        if kind == "requests":
            assert reading.topic == section and not reading.shown, text
        else:
            assert [(t, p) for t, p, _ in reading.shown] == [tuple(section.split())] and not reading.topic, text
    for text in (*asides, *quizzes):
        reading = read_message(text)
        assert not (reading.mentions or reading.claimed or reading.shown or reading.topic), text


def test_the_usual_wording_is_read_as_before():
    """No new phrase stands in what the usual user says, so that no scan of it finds another one than before."""
    new = {tokenize(text) for kind in ("shown", "requests") for _, text in every_phrase(kind)}
    frames = {skeleton(template) for _, _, template in said_sentences()}
    for text in usual_wording():
        tokens = tokenize(text)
        assert not {tokens[a:b] for a in range(len(tokens)) for b in range(a + 1, len(tokens) + 1)} & new, text
        assert skeleton(text) not in frames, text


# truth --------------------------------------------------------------------------------------------------------


def say_as(dialect: str, persona: tuple[str, str], history: list[Message], seed: int) -> Said:
    """What a user of a dialect says and means, as ``world:user?dialect=`` would."""
    who = Persona(persona_id="", profile=persona[0], personality=persona[1], profile_id="", personality_id="")
    turns = [PromptMessage(m.role, (m.content,)) for m in flipped(history)]
    prompt = PROMPTS.render("user", history=turns, persona=who)
    options = parse_options(f"dialect={dialect}&distractors=0.3", "test")
    said = speak([Utterance(m.role, m.content) for m in prompt], seed, options)
    assert said.text == say(persona, history, seed, f"world:user?dialect={dialect}&distractors=0.3")
    return said


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=6, deadline=None)
@given(seed=SEEDS)
def test_what_a_user_means_is_what_its_messages_are_read_to_say(dialect, seed):
    persona, other = draw_personas(2, seed)
    latent = read_persona(*persona)
    history: list[Message] = []
    claims: list[tuple[str, str]] = []
    for turn in range(6):
        said = say_as(dialect, persona, history, seed % 1000 + turn)
        meant = {(item.name, item.value, "implied" if implied else "stated") for item, implied in said.told}
        read = read_user_message(said.text, latent)
        assert {(s.item.name, s.item.value, s.status) for s in read if s.item.kind == "fact"} == meant, said.text
        claims += said.claimed
        history.append(Message(role="user", content=said.text))
        mine = [m.content for m in history if m.role == "user"]
        lies = find_lies(mine, {slot: item.value for slot, item in latent.by_slot.items()})
        assert [(lie.slot, lie.value) for lie in lies] == claims
        policy = ("oracle", "generic", "swapped")[turn % 3]
        reply = converse(policy, persona, other, n_turns=1, seed=seed % 997, judged=False).history[-1]
        history.append(reply)


def test_indirect_users_never_state_and_terse_ones_are_short():
    people = draw_personas(3, 3)
    texts = {d: [] for d in DIALECTS}
    for dialect in DIALECTS:
        for number, persona in enumerate(people):
            talk = converse(
                "oracle", persona, people[number - 1], n_turns=6, judged=False, user=f"world:user?dialect={dialect}"
            )
            texts[dialect] += talk.said
            if dialect == "indirect":
                shown = [s for turn in disclosed(read_persona(*persona), talk.said) for s in turn]
                assert shown and all(s.status == "implied" for s in shown)
    length = {dialect: mean(len(text.split()) for text in found) for dialect, found in texts.items()}
    assert length["terse"] < 11 < 40 < length["rambling"]
    assert length["learner"] < length["rambling"] / 2


# lies ---------------------------------------------------------------------------------------------------------


def test_a_lie_may_be_believed_until_it_is_put_right():
    profile = "She works as a baker. She keeps a rabbit as a pet. She lives in Ashcombe."
    latent = read_persona(profile, "She is casual and talks like a pal.")
    asks = "Which recipe should I try next?"

    def user(text: str) -> Message:
        return Message(role="user", content=text)

    lie = user(f"For the record, my job can be filed as dentist. {asks}")
    reply = "You could try a slow stew, with your work as a dentist in mind."
    known = read_known(latent, [lie])
    assert known.facts == {} and [(x.slot, x.value, x.told, x.corrected) for x in known.lies] == [
        ("occupation", "dentist", 1, None)
    ]
    misled = assess_reply(latent, [lie], reply)
    assert (misled.n_false, misled.n_misled, misled.n_outdated) == (0, 1, 0)
    truth = user(f"I lied to see what you would do, my job is baker in truth. {asks}")
    talk = [lie, Message(role="assistant", content=reply), truth]
    known = read_known(latent, talk)
    assert {item.value: how for item, how in known.facts.items()} == {"baker": (2, "stated")}
    assert known.lies[0].corrected == 2
    outdated = assess_reply(latent, talk, reply)
    assert (outdated.n_false, outdated.n_misled, outdated.n_outdated) == (1, 0, 1)
    right = "You could try a slow stew, with your work as a baker in mind."
    persona = (profile, "She is casual and talks like a pal.")
    assert score(persona, talk, right) > score(persona, talk, reply)
    plain = user(f"I am a dentist by trade. {asks}")  # a contradiction in usual words is no lie of this kind
    assert read_known(latent, [plain]).lies == () and assess_reply(latent, [plain], reply).n_false == 1


def test_who_is_told_nothing_believes_a_lie_until_it_is_put_right():
    said = ["Write this down, my pet equals goat.", "I am a baker by trade."]
    assert {i.value for i, *_ in notice(said, hints=True, manner=True)} == {"goat", "baker"}
    said.append("The truth this time, my pet is rabbit, the rest was a trap.")
    assert {i.value for i, *_ in notice(said, hints=True, manner=True)} == {"rabbit", "baker"}


@pytest.mark.parametrize("dialect", ["forgetful", "adversarial"])
def test_lies_are_told_and_put_right(dialect):
    n_lies = n_right = 0
    for number, persona in enumerate(draw_personas(12, 8)):
        talk = converse("generic", persona, persona, seed=number, user=f"world:user?dialect={dialect}", judged=False)
        latent = read_persona(*persona)
        lies = find_lies(talk.said, {slot: item.value for slot, item in latent.by_slot.items()})
        n_lies += len(lies)
        n_right += sum(lie.corrected is not None for lie in lies)
        assert all(lie.corrected is None or lie.corrected > lie.told for lie in lies)
    assert n_lies >= 8 and n_right >= n_lies / 2


# moods --------------------------------------------------------------------------------------------------------


def test_a_moody_user_walks_out_on_who_ignores_it_and_stays_with_who_listens():
    people = draw_personas(5, 4)
    left = Counter()
    for policy in ("oracle", "generic", "swapped"):
        for number, persona in enumerate(people):
            talk = converse(
                policy, persona, people[number - 1], seed=number, user="world:user?dialect=moody", judged=False
            )
            left[policy] += has_walked_out(talk.said[-1])
            gone = [has_walked_out(text) for text in talk.said]
            assert gone == sorted(gone), "who has left is back"
    assert left["oracle"] == 0 and left["generic"] >= 4 and left["swapped"] >= 4


def test_moods_follow_from_the_replies():
    latent = read_persona("She works as a baker. She keeps a rabbit as a pet.", "She is formal in speech and manner.")
    user = Message(role="user", content="I work as a baker. Any idea for dinner this evening?")
    deaf = Message(role="assistant", content="You could try a slow stew.")
    false = Message(role="assistant", content="You could try a slow stew, with your work as a dentist in mind.")
    heard = Message(role="assistant", content="You could try a slow stew, with your work as a baker in mind.")
    assert read_mood(latent, []) == "calm" == read_mood(latent, [user, heard])
    assert read_mood(latent, [user, deaf] * 2) == "irritated" == read_mood(latent, [user, false])
    assert read_mood(latent, [user, deaf] * 3) == "angry"
    assert read_mood(latent, [user, deaf] * 4) == "leaving" == read_mood(latent, [user, false] * 2)
    assert read_mood(latent, [user, deaf, user, deaf, user, heard]) == "thawed"
    assert read_mood(latent, [*[user, deaf] * 4, user, heard]) == "leaving"


# mixtures -----------------------------------------------------------------------------------------------------


def test_a_mixture_has_one_form_and_its_shares():
    assert parse_mixture("moody:1,terse:2", "x") == "terse:2,moody" == parse_mixture("terse:2.0,moody", "x")
    assert parse_mixture("plain", "x") == "" == parse_mixture("", "x")
    assert parse_mixture("terse:5", "x") == "terse"
    assert shares("terse:2,moody") == (("terse", 2 / 3), ("moody", 1 / 3))
    assert [draw("terse:2,moody", p) for p in (0.0, 0.66, 0.67, 0.999)] == ["terse", "terse", "moody", "moody"]
    assert settle("world:user?hints=0.2&dialect=plain,terse:3&leak=0.1", 0.9) == (
        "world:user?hints=0.2&dialect=terse&leak=0.1"
    )
    assert settle("world:user?dialect=plain,terse", 0.1) == "world:user"
    assert settle("world:user?dialect=terse", 0.1) == "world:user?dialect=terse"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ters", "terse"),
        ("terse:0", "above 0"),
        ("terse:x", "above 0"),
        ("moody,moody", "twice"),
        ("moody:inf", "0"),
    ],
)
def test_a_wrong_mixture_is_refused_in_one_line(text, said):
    with pytest.raises(ConfigError, match=said):
        WorldModel(f"world:user?dialect={text}")


def test_the_plain_dialect_is_the_usual_user_and_others_have_a_revision_of_their_own():
    persona = draw_personas(1, 2)[0]
    assert WorldModel("world:user?dialect=plain").revision == WorldModel("world:user").revision
    assert WorldModel("world:user?dialect=terse").revision.startswith(WorldModel("world:user").revision + "-")
    for seed in range(3):
        assert say(persona, [], seed, "world:user?dialect=plain") == say(persona, [], seed)


def test_without_a_harness_each_persona_has_its_draw_throughout():
    mixture = ",".join(NAMES[1:5])
    seen = set()
    for number, persona in enumerate(draw_personas(16, 6)):
        talk = converse("oracle", persona, persona, n_turns=3, seed=number, user=f"world:user?dialect={mixture}")
        own = {d: {tokenize(t) for t in phrases(d, "requests", "dinner")} for d in OWN_WORDING}
        assert own
        by_words = [
            {d for d in OWN_WORDING for _, topic in [(0, t.name) for t in TOPICS] for p in phrases(d, "requests", topic)
             if p.lower() in text.lower()} for text in talk.said
        ]  # fmt: skip
        assert all(len(found) == 1 for found in by_words) and len(set().union(*by_words)) == 1, talk.said
        seen |= by_words[0]
    assert len(seen) >= 3


# known groups -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", NAMES)
def test_known_groups_hold_in_every_dialect_under_every_judge(dialect):
    people = draw_personas(6, 11)
    user = "world:user" if dialect == "plain" else f"world:user?dialect={dialect}"
    found: dict[str, dict[str, float]] = {judge: {} for judge in ("", *JUDGES)}
    for policy in ("oracle", "knows-all", "generic", "swapped"):
        scores: dict[str, list[float]] = {judge: [] for judge in found}
        for number, persona in enumerate(people):
            talk = converse(policy, persona, people[number - 1], seed=number, user=user, judged=False)
            latent = read_persona(*persona)
            for at in range(1, len(talk.history), 2):
                known = read_known(latent, talk.history[:at])
                for judge, values in scores.items():
                    opinion = form_opinion(known, talk.history[at].content, "revealed", judge)
                    values.append(1.0 if has_walked_out(known.said[-1]) else opinion.score)
        for judge, values in scores.items():
            found[judge][policy] = mean(values)
    for judge, average in found.items():
        assert average["oracle"] > average["knows-all"] > average["generic"] > average["swapped"], (judge, average)


def test_the_three_judges_care_for_different_things():
    profile = "She works as a baker. She keeps a rabbit as a pet. She keeps to a vegan diet. She lives in Ashcombe."
    persona = (profile, "She is casual and talks like a pal.")
    said = "Hey there. I work as a baker. My meals must be vegan. I live in Ashcombe. Which recipe should I try next?"
    talk = [Message(role="user", content=said)]
    latent = read_persona(*persona)
    assert len(read_known(latent, talk).facts) == 3
    manner = "How about a slow stew?"
    facts = "You could try a slow stew, with your work as a baker in mind, in keeping with your vegan diet."

    def of(judge: str, reply: str) -> float:
        return score(persona, talk, reply, uri=f"world:judge?weighing={judge}")

    assert of("style", manner) > of("style", facts)
    assert of("content", facts) > of("content", manner)
    told_two = "How about a slow stew, with your work as a baker in mind, in keeping with your vegan diet?"
    told_three = told_two.replace("diet?", "diet, with the best of Ashcombe?")
    gain = {judge: of(judge, told_three) - of(judge, told_two) for judge in JUDGES}
    assert 0 < gain["tact"] < gain["content"]
