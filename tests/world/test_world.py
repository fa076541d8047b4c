"""The world as a model: determinism, how users react, what the judge prefers, faults on demand, bad URIs."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest
from simulate import ask, converse, draw_personas, flipped, induce, notes, say, score

from aloe.errors import ConfigError
from aloe.prompts import parsers
from aloe.protocols import ChatModel, ChatRequest, PromptMessage
from aloe.types import Message
from aloe.world.lexicon.options import Options, narrow
from aloe.world.model import WorldModel, actor_names
from aloe.world.truth import (
    Shown,
    assess_reply,
    disclosed,
    read_known,
    read_message,
    read_persona,
    read_reply,
    read_user_message,
    swap,
)

TRAITS = ("formality", "warmth", "thinking", "humour")
PEOPLE = draw_personas(40, seed=11)
FERRET = (
    "She keeps a ferret as a pet. She is 34 years old. She keeps to a vegan diet. She lives in Orford.",
    "She is blunt and says things to people's faces. She is playful and jokes at every turn.",
)


def write(kind: str, n: int, seed: int, uri: str = "world:persona-writer", examples: tuple[str, ...] = ()):
    raw = ask(uri, "writer", seed=seed, examples=examples, kind=kind, n=n, words=50, population="")
    return parsers.parse_descriptions(raw)


def mean(values):
    return sum(values) / len(values)


def test_an_answer_depends_on_content_and_seed_only():
    first = converse("tailored", PEOPLE[0], PEOPLE[1], seed=3)
    converse("generic", PEOPLE[2], PEOPLE[3], seed=9)
    assert converse("tailored", PEOPLE[0], PEOPLE[1], seed=3) == first
    assert converse("tailored", PEOPLE[0], PEOPLE[1], seed=4).said != first.said


def test_parts_of_a_message_make_no_difference_and_complete_equals_answer():
    model = WorldModel("world:user")
    assert isinstance(model, ChatModel)
    text = "<persona>\n<profile>She lives in Orford.</profile></persona>"
    whole = ChatRequest((PromptMessage("system", (text,)), PromptMessage("user", ("Write.",))), seed=5)
    split = ChatRequest(
        (PromptMessage("system", (text[:20], text[20:])), PromptMessage("user", ("Wri", "te."))), seed=5
    )
    assert asyncio.run(model.complete(whole)) == model.answer(split)
    short = model.answer(ChatRequest(whole.messages, seed=5, max_tokens=2))
    assert short.finish_reason == "length" and len(short.text) == 8


def test_policies_come_out_in_the_known_order_with_gaps():
    talks = {
        policy: [converse(policy, p, PEOPLE[i - 1], seed=i) for i, p in enumerate(PEOPLE)]
        for policy in ("oracle", "tailored", "knows-all", "generic", "swapped")
    }
    average = {policy: mean([mean(t.scores) for t in found]) for policy, found in talks.items()}
    assert average["oracle"] > average["knows-all"] + 0.3
    assert average["knows-all"] > average["generic"] + 0.3
    assert average["generic"] > average["swapped"] + 0.3
    assert average["oracle"] >= average["tailored"] > average["knows-all"]
    curve = [mean([t.scores[k] for t in talks["oracle"]]) for k in range(10)]
    assert 2.2 < curve[0] < 3.2 and curve[-1] > 4.6
    flat = [mean([t.scores[k] for t in talks["generic"]]) for k in range(10)]
    assert max(flat) - min(flat) < 0.1 and 2.0 < mean(flat) < 2.4
    oracle = [truth for t in talks["oracle"] for truth in t.truths]
    assert sum(t.n_used for t in oracle) == sum(t.n_relevant for t in oracle)
    assert not any(t.n_false or t.n_premature or t.n_style_mismatch for t in oracle)
    assert all(t.on_topic for t in oracle)
    assert sum(t.n_premature for found in talks["knows-all"] for t in found.truths) > 100


def test_under_the_whole_persona_who_knows_all_is_near_the_top_at_once():
    talks = [converse("knows-all", p, PEOPLE[i - 1], seed=i, scope="persona") for i, p in enumerate(PEOPLE[:15])]
    assert mean([t.scores[0] for t in talks]) > 4.7


def test_a_tailored_user_tells_more_than_an_ignored_one_and_branches_differ():
    def n_told(policy):
        talks = [(p, converse(policy, p, PEOPLE[0], seed=i, judged=False)) for i, p in enumerate(PEOPLE[:20])]
        return mean([len(read_known(read_persona(*p), t.history).facts) for p, t in talks])

    assert n_told("oracle") > n_told("generic") + 1
    start = [Message(role="user", content=say(FERRET, [], 1))]
    after = {
        reply: say(FERRET, [*start, Message(role="assistant", content=reply)], 1)
        for reply in ("You could try a hot bath.", "Fine. Where are you based?", "Fine. How old are you?")
    }
    latent = read_persona(*FERRET)
    known = {s.item.name for s in read_user_message(start[0].content, latent)}
    for reply, slot in (("Fine. Where are you based?", "city"), ("Fine. How old are you?", "age")):
        told = {(s.item.name, s.status) for s in read_user_message(after[reply], latent)}
        assert slot in known or (slot, "stated") in told
    assert len({read_message(text).topic for text in after.values()}) == 1  # the topic depends on no reply


def test_an_ignored_user_is_often_silent_about_itself_and_terser():
    latents = [read_persona(*p) for p in PEOPLE]
    silent, told, lengths = 0, 0, {True: [], False: []}
    for persona, latent in zip(PEOPLE, latents, strict=True):
        history = [Message(role="user", content=say(persona, [], 1))]
        for engaged in (True, False):
            reply = "Tell me more about you?" if engaged else "You could try a hot bath."
            text = say(persona, [*history, Message(role="assistant", content=reply)], 1)
            facts = [s for s in read_user_message(text, latent) if s.item.kind == "fact"]
            lengths[engaged].append(len(text.split()))
            if engaged:
                told += bool(facts)
            else:
                silent += not facts
    assert told == len(PEOPLE)
    assert 0.4 * len(PEOPLE) < silent < 0.8 * len(PEOPLE)
    assert mean(lengths[True]) > mean(lengths[False]) + 2


def test_messages_have_the_size_of_chat_and_hints_and_distractors_their_rates():
    talks = [(p, converse("oracle", p, PEOPLE[0], seed=i, judged=False)) for i, p in enumerate(PEOPLE)]
    texts = [text for _, t in talks for text in t.said]
    assert 12 < mean([len(text.split()) for text in texts]) < 22
    assert max(len(text.split()) for text in texts) < 45
    facts = [s for p, t in talks for new in disclosed(read_persona(*p), t.said) for s in new if s.item.kind == "fact"]
    assert 0.08 < mean([s.status == "implied" for s in facts]) < 0.3  # 35% of the slots that have cues
    with_facts = [read_message(text) for text in texts if read_message(text).mentions]
    assert 0.06 < mean([bool(r.others) for r in with_facts]) < 0.2
    assert not any(s.item.name == "age" and s.status == "implied" for s in facts)
    plain = [
        t
        for i, p in enumerate(PEOPLE[:10])
        for t in converse("oracle", p, p, seed=i, user="world:user?hints=0&distractors=0", judged=False).said
    ]
    assert not any(read_message(text).others for text in plain)
    assert not any(p.kind == "cue" for text in plain for m in read_message(text).mentions for p in m.payloads)


def test_the_writer_draws_values_and_poles_evenly():
    poles: Counter[tuple[str, str]] = Counter()
    slots: Counter[str] = Counter()
    pronouns: Counter[str] = Counter()
    for seed in range(60):
        for text in write("personality", 20, seed, "world:persona-writer?flaws=0"):
            latent = read_persona("", text)
            assert 4 <= len(latent.traits) <= 6
            poles.update((t.name, t.value) for t in latent.traits)
            pronouns.update([text.split()[0]])
        for text in write("profile", 20, seed, "world:persona-writer?flaws=0"):
            facts = read_persona(text, "").facts
            assert len(facts) == 8
            slots.update(f.name for f in facts)
    assert len(poles) == 24 and len(slots) == len(narrow().slots)
    for trait in narrow().traits:
        one, two = (poles[trait.name, pole.name] for pole in trait.poles)
        assert abs(one - two) < 5 * (one + two) ** 0.5
    assert max(slots.values()) < 1.25 * min(slots.values())


def test_a_narrow_writer_and_a_flawed_one():
    uri = "world:persona-writer?traits=formality,warmth,thinking,humour&slots=pet,diet&values=5&flaws=0"
    for text in write("personality", 10, 1, uri):
        assert len(read_persona("", text).traits) == 4
    assert {f.name for text in write("profile", 10, 1, uri) for f in read_persona(text, "").facts} == {"pet", "diet"}
    example = "She lives in Orford. She is 34 years old."
    flawed = [write("profile", 5, s, "world:persona-writer?flaws=1", (example,)) for s in range(10)]
    n_facts = [min(len(read_persona(t, "").facts) for t in texts) for texts in flawed]
    assert all(n < 8 for n in n_facts)
    assert any(example in texts for texts in flawed)


def test_the_inducer_is_conservative_and_misses_some_hints():
    n_implied = n_found = 0
    for i, persona in enumerate(PEOPLE):
        talk = converse("oracle", persona, persona, seed=i, judged=False)
        history = talk.history[:-1]
        truth = {s.item.clause: s for new in disclosed(read_persona(*persona), talk.said) for s in new}
        found = induce(persona, history)
        assert {d.item for d in found} <= set(truth)
        for d in found:
            turn = int(d.node_id.removeprefix("turn:"))
            assert d.evidence in talk.said[turn - 1]
            assert d.item in " ".join(persona)
        stated = {c for c, s in truth.items() if s.status == "stated" or s.item.kind == "trait"}
        assert stated <= {d.item for d in found}
        n_implied += len(truth) - len(stated)
        n_found += len({d.item for d in found} - stated)
        assert {d.item for d in induce(persona, history, "world:inducer?miss=0")} == set(truth)
        assert all(len(induce(persona, history[:k])) <= len(found) for k in (1, 3, 5))
    assert 0.7 < n_found / n_implied < 0.97


def test_an_inducer_that_invents_is_one():
    history = [Message(role="user", content="What should I cook tonight?")]
    assert induce(FERRET, history) == ()
    assert len(induce(FERRET, history, "world:inducer?invent=1")) == 6


def test_faulty_users_and_a_biased_judge():
    talk = converse("generic", PEOPLE[0], PEOPLE[1], user="world:user?leak=1", n_turns=1, judged=False)
    assert len(read_known(read_persona(*PEOPLE[0]), talk.history[:1]).facts) == 8
    same = converse("generic", PEOPLE[0], PEOPLE[1], user="world:user?repeat=1", n_turns=4, judged=False)
    assert len(set(same.said)) == 1
    turned = converse("generic", PEOPLE[0], PEOPLE[1], user="world:user?flip=1", n_turns=3, judged=False)
    assert read_message(turned.said[2]).topic is None
    assert (
        compare(FERRET, "I keep a ferret as a pet.", "Boo.", "With your ferret by your side, a hot bath.") == "second"
    )
    bias = "world:judge?bias=first"
    assert compare(FERRET, "I keep a ferret as a pet.", "Boo.", "With your ferret in mind.", uri=bias) == "first"


def compare(persona, message, first, second, scope="revealed", uri="world:judge"):
    raw = ask(
        uri, "judge_compare", persona=persona, first=first, second=second, scope=scope,
        conversation=[Message(role="user", content=message)],
    )  # fmt: skip
    assert json.loads(raw)["reason"]
    return parsers.parse_verdict(raw)[0]


def test_the_judge_rewards_what_was_revealed_and_counts_guesses_and_untruths_against_a_reply():
    asked = [
        Message(role="user", content="Skip the niceties. I keep a ferret as a pet. How should I unwind after today?")
    ]
    generic = score(FERRET, asked, "You could try a hot bath this very evening.")
    fitting = score(FERRET, asked, "Let me be direct. You could try a hot bath, with your ferret by your side.")
    assert fitting > generic + 0.5
    assert score(FERRET, asked, "You deserve something nice. You could try a hot bath with some salt.") < generic
    assert score(FERRET, asked, "You could try a hot bath, with your rabbit by your side.") < generic - 0.3
    assert score(FERRET, asked, "You could try a hot bath, with your ferret by your side.") > generic + 0.2
    off_topic = "Let me be direct. You could try a monthly savings plan, with your ferret by your side."
    assert score(FERRET, asked, off_topic) < fitting - 0.3
    guess = "You could try a hot bath, just right at the age of 34."
    assert score(FERRET, asked, guess) < generic <= score(FERRET, asked, guess, scope="persona")
    unshown = "You could try a hot bath this very evening. No capes required."
    assert score(FERRET, asked, unshown) == generic < score(FERRET, asked, unshown, scope="persona")
    told = asked[0].content
    assert (
        compare(FERRET, told, "You could try a hot bath today, friend.", "You might look at a hot bath today.") == "tie"
    )


def test_the_judge_minds_a_clause_said_twice():
    asked = [Message(role="user", content="I keep a ferret as a pet. How should I unwind after today?")]
    once = "You could try a hot bath, with your ferret by your side, because it simply feels right."
    twice = "You could try a hot bath, with your ferret by your side, with your ferret by your side."
    assert score(FERRET, asked, once) == pytest.approx(score(FERRET, asked, twice) + 0.15)
    assert score(FERRET, asked, "Well, well. " + once) == score(FERRET, asked, once)


def test_a_steady_reply_uses_what_its_topic_lists_first_and_every_mark_of_manner():
    order = narrow().by_topic["dinner"].slots
    for number, person in enumerate(draw_personas(20, options=Options(traits=TRAITS))):
        latent = read_persona(*person)
        told = notes([Shown(item, "stated", "") for item in (*latent.facts, *latent.traits)])
        last = "Any idea for dinner this evening?"
        text = ask("world:tailored?steady=1", "tailored", seed=number, last=last, revealed=told)
        reading = read_reply(text)
        wanted = [slot for slot in order if slot in latent.by_slot][:3]
        assert [payloads[0].name for payloads in reading.values] == wanted
        assert {trait for trait, _ in reading.fits} == set(latent.poles)


def replies_that_leave_out(option, chances):
    """(chance, whom the reply is to, what it holds): people of whom all is known, asked for a dinner."""
    for number, person in enumerate(draw_personas(120, options=Options(traits=TRAITS))):
        latent = read_persona(*person)
        told = notes([Shown(item, "stated", "") for item in (*latent.facts, *latent.traits)])
        for chance in chances:
            uri = f"world:tailored?steady=1&{option}={chance}"
            text = ask(uri, "tailored", seed=number, last="Any idea for dinner this evening?", revealed=told)
            yield chance, latent, read_reply(text)


def test_a_forgetful_reply_leaves_each_fact_out_on_its_own():
    used = dict.fromkeys((0.0, 0.3, 1.0), 0)
    whole = 0
    for lapse, latent, reading in replies_that_leave_out("lapse", used):
        used[lapse] += len(reading.values)
        relevant = {item.name for item in latent.facts} & set(narrow().by_topic["dinner"].slots)
        whole += lapse == 0.3 and 0 < len(reading.values) < min(3, len(relevant))
        assert {trait for trait, _ in reading.fits} == set(latent.poles)  # manners are not forgotten
    assert used[1.0] == 0 and 0.6 < used[0.3] / used[0.0] < 0.8
    assert whole, "not all or nothing"


def test_a_slipping_reply_leaves_each_mark_of_manner_out_on_its_own():
    shown = dict.fromkeys((0.0, 0.5, 1.0), 0)
    counts = set()
    for slip, latent, reading in replies_that_leave_out("slip", shown):
        marks = {trait for trait, _ in reading.fits}
        assert marks <= set(latent.poles)
        shown[slip] += len(marks)
        if slip == 0.5:
            counts.add(len(marks))
        relevant = {item.name for item in latent.facts} & set(narrow().by_topic["dinner"].slots)
        assert len(reading.values) == min(3, len(relevant))  # facts do not slip
    assert shown[1.0] == 0 and 0.42 < shown[0.5] / shown[0.0] < 0.58
    assert counts == {0, 1, 2, 3, 4}, "not all or nothing"


def test_somebody_elses_fact_used_as_the_users_is_false_memory():
    message = "I keep a ferret as a pet. My cousin lives in Ashcombe. What should I do this weekend?"
    talk = [Message(role="user", content=message)]
    latent = read_persona(*FERRET)
    assert [s.item.value for s in read_user_message(message, latent)] == ["ferret"]
    truth = assess_reply(latent, talk, "You could try a long walk outside, not far from Ashcombe.")
    assert (truth.n_used, truth.n_false, truth.n_relevant) == (0, 1, 1)


def test_ground_truth_of_a_reply():
    latent = read_persona(*FERRET)
    talk = [
        Message(role="user", content="Skip the niceties. My meals have to be vegan. What should I cook tonight?"),
        Message(role="assistant", content="You could try a slow stew."),
        Message(role="user", content="I keep a ferret as a pet. How should I unwind after today?"),
    ]  # fmt: skip
    reply = "Let me be direct. You could try a hot bath, with your ferret by your side, easy to find in Orford."
    reply += " No capes required."
    truth = assess_reply(latent, talk, reply)
    assert (truth.n_relevant, truth.n_used, truth.n_false, truth.n_premature, truth.n_mentions) == (1, 1, 0, 1, 2)
    assert (truth.n_style_expected, truth.n_style_match, truth.n_style_mismatch) == (1, 1, 0)
    assert truth.lags == ((0, True),) and truth.on_topic
    late = [
        *talk,
        Message(role="assistant", content="Fine."),
        Message(role="user", content="What should I cook tonight?"),
    ]
    assert assess_reply(latent, late, "You could try a slow stew.").lags == ((2, False),)
    assert not assess_reply(latent, late, "").on_topic


def test_swapping_gives_the_other_ones_items_for_the_same_slots():
    mine, other = (read_persona(*p) for p in PEOPLE[:2])
    shown = [s for new in disclosed(mine, converse("oracle", PEOPLE[0], PEOPLE[1], judged=False).said) for s in new]
    swapped = swap(shown, other)
    assert {s.item for s in swapped} <= {*other.facts, *other.traits}
    assert len({s.item for s in swapped}) == len(swapped)
    same = [s for s in shown if s.item.name in other.by_slot]
    assert [s.item.name for s in swap(same, other)] == [s.item.name for s in same]


def test_responders_answer_bare_histories_and_other_words():
    bare = [Message(role="user", content="What should I cook tonight?")]
    assert "dinner" in read_reply_topics(ask("world:generic", "responder", bare))
    assert ask("world:generic", "generic", [Message(role="user", content="zzz")])
    reply = ask("world:tailored", "tailored", [], last="zzz", revealed=())
    assert reply.startswith("You could try")
    asked = ask("world:oracle", "tailored", [], last=bare[0].content, revealed=notes(()))
    assert "dinner" in read_reply_topics(asked)


def read_reply_topics(text):
    from aloe.world.truth import read_reply

    return read_reply(text).advised


def test_the_users_state_is_in_its_own_messages():
    history = []
    for turn in range(3):
        history.append(Message(role="user", content=say(FERRET, history, turn)))
        history.append(Message(role="assistant", content="Tell me more about you?"))
    assert [m.role for m in flipped(history)][:2] == ["assistant", "user"]
    told = [s.item for new in disclosed(read_persona(*FERRET), [m.content for m in history[::2]]) for s in new]
    assert len([i for i in told if i.kind == "fact"]) >= 3


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("world:usr", "did you mean 'user'"),
        ("world:user?hnts=0.1", "did you mean 'hints'"),
        ("world:user?hints=2", "a probability from 0 to 1"),
        ("world:user?phrasings=x", "a whole number"),
        ("world:persona-writer?traits=formalty", "did you mean 'formality'"),
        ("world:persona-writer?without_slots=pets", "did you mean 'pet'"),
        ("world:judge?bias=third", "use first or second"),
    ],
)
def test_bad_uris_name_the_nearest(uri, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        WorldModel(uri)


def test_options_are_all_parsed():
    model = WorldModel("world:user?values=8&phrasings=2&hold_out=1&hints=0.5&topics=dinner,trip")
    assert model.name == "world:user?values=8&phrasings=2&hold_out=1&hints=0.5&topics=dinner,trip"
    assert model.revision == WorldModel("world:judge").revision
    assert set(actor_names()) >= {"user", "oracle", "knows-all", "persona-writer"}
    assert len(narrow(Options(topics=("dinner", "trip"))).topics) == 2


def test_the_attentive_one_notices_without_being_told():
    said = (PromptMessage("user", "Skip the niceties. I keep a ferret as a pet. How should I unwind after today?"),)
    reading = read_reply(WorldModel("world:attentive?steady=1").answer(ChatRequest(said, seed=1)).text)
    assert [payloads[0].value for payloads in reading.values] == ["ferret"] and reading.fits
    plain = read_reply(WorldModel("world:assistant").answer(ChatRequest(said, seed=1)).text)
    assert not plain.values and not plain.fits


def test_a_judge_that_adds_is_kinder_to_what_is_half_right() -> None:
    said = [Message(role="user", content="I have a ferret at home. What should I do this weekend?")]
    plain = "You could try a long walk outside."
    by_product, by_sum = (score(FERRET, said, plain, uri=f"world:judge?weighing={w}") for w in ("product", "sum"))
    assert by_product == score(FERRET, said, plain) < by_sum
    other = "world:judge?weighing=sum"
    assert by_sum < score(FERRET, said, f"{plain[:-1]}, with your ferret in mind.", uri=other)


def test_a_weighing_that_is_not_one_is_named() -> None:
    with pytest.raises(ConfigError, match=r"weighing is 'mean'.*use product or sum"):
        WorldModel("world:judge?weighing=mean")
