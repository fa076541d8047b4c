"""Judges' answers to scores: whatever a judge returns is a score on the scale or unscored, never a crash."""

import asyncio
import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aloe.bench.scales import SCALES
from aloe.bench.scoring import score_reply
from aloe.config import load_config
from aloe.dialogue.judge import Candidate
from aloe.dialogue.state import PathState
from aloe.errors import ParseError
from aloe.models.caller import Caller
from aloe.models.registry import register_scheme
from aloe.prompts.alternatives import expected_score
from aloe.prompts.parsers import parse_score
from aloe.protocols import Completion


def score(raw, scale="1-5"):
    try:
        return parse_score(raw, SCALES[scale].low, SCALES[scale].high)[0]
    except ParseError:
        return None


LONG = "The reply is fine in many ways. " * 320


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("4", 4),
        ("4/5", 4),
        ("4.5/5", 4.5),
        ("Score: 4.", 4),
        ("Score: 4, because it is kind", 4),
        ("Score: 4 - good", 4),
        ("**Score:** 4", 4),
        ("score = 3.5", 3.5),
        ("five", 5),
        ("Five.", 5),
        ("four out of five", 4),
        ("I would rate this reply a 4. It is warm.", 4),
        ("I'd give it a four, it is friendly.", 4),
        ("Overall, this deserves 3 out of 5.", 3),
        ('{"score": 4}', 4),
        ('{"score": "4/5"}', 4),
        ('{"score": "four"}', 4),
        ('Sure! ```json\n{"reason": "ok", "style": 9, "score": 2.5}\n```', 2.5),
        ("<think>5? no</think>Score: 2", 2),
        (LONG + "Score: 3", 3),
        ("", None),
        (" \n ", None),
        ("The reply is warm and suits the user.", None),
        ("I'm sorry, but I can't rate people.", None),
        ("6", None),
        ("0", None),
        ("-3", None),
        ("Score: 45", None),
        ("Score: 4/10", None),
        ("on a scale from 1 to 5", None),
        ("Score: 1 to 5", None),
        ("Score: 4 or, overall: 2", None),
        ('{"score": null}', None),
        ('{"score": true}', None),
        ('{"score": NaN}', None),
        ('{"score": 1e999}', None),
        ('{"score": ' + "9" * 400 + "}", None),
        ('{"score": ' + "9" * 9000 + "}", None),
        ("Score: " + "9" * 9000, None),
        ("[" * 9000, None),
        (LONG, None),
        ("\ud800 4/5", 4),
    ],
)
def test_what_judges_say(raw, expected):
    assert score(raw) == expected


@pytest.mark.parametrize(
    ("raw", "scale", "expected"),
    [
        ("87", "1-100", 87),
        ("Score: 87/100", "1-100", 87),
        ("4/5", "1-100", None),
        ("80%", "1-100", 80),
        ("Rating: 3 (of 5)", "1-100", None),
        ("Rating: 3 (of 5)", "1-5", 3),
        ("It uses 3 of 5 facts. Score: 4", "1-5", 4),
        ("101", "1-100", None),
        ('{"score": 1}', "binary", 1),
        ("yes", "binary", 1),
        ("No.", "binary", 0),
        ('{"score": false}', "binary", 0),
        ('{"score": "yes"}', "binary", 1),
        ("2", "binary", None),
        ("maybe", "binary", None),
    ],
)
def test_other_scales(raw, scale, expected):
    assert score(raw, scale) == expected


def test_fuzzed_replies_never_crash():
    rng = Random(11)
    pieces = [
        "Score", "score:", "4", "5", "/5", "out of", ".", "-", "{", "}", "[", "]", '"score"', ":", "null", "NaN", "1e9",
        "five", "```json", "```", "<think>", "</think>", "\n", "\\", "\x00", "\ud800", "é", "٤", "𝟜", "²", "9" * 50,
        '{"score": 3', '"parts": {', "sorry", "true", " ", "rating is", ",",
    ]  # fmt: skip
    for _ in range(10_000):
        raw = "".join(rng.choice(pieces) for _ in range(rng.randrange(14)))
        for scale in SCALES.values():
            found = score(raw, scale.name)
            assert found is None or (scale.low <= found <= scale.high and math.isfinite(found)), raw


@given(st.text(max_size=60))
def test_any_text(raw):
    found = score(raw)
    assert found is None or 1 <= found <= 5


def tokens(*texts, top=None):
    """Log-probabilities of an answer; ``top``: alternatives at the token that is a score."""
    rows = []
    for text in texts:
        options = top if top and text.strip(' "').isdigit() else {text: 1.0}
        alternatives = [{"token": t, "logprob": math.log(p)} for t, p in options.items()]
        rows.append({"token": text, "logprob": math.log(options.get(text, 1.0)), "top_logprobs": alternatives})
    return rows


def test_expected_score():
    five = (1.0, 5.0)
    top = {"4": 0.6, "5": 0.3, "3": 0.1}
    assert expected_score(tokens('{"', "score", '":', " ", "4", "}", top=top), five) == pytest.approx(4.2)
    assert expected_score(tokens("4", top=top), five) == pytest.approx(4.2)
    assert expected_score(tokens("4", top={"4": 0.4, "the": 0.6}), five) is None  # too little on scores
    assert expected_score(tokens("4", top={"4": 0.6, "9": 0.4}), five) == 4  # 9 is no score
    assert expected_score(tokens("score", ": ", "4", ".", "5", top=top), five) is None  # decimals have no one token
    assert expected_score(tokens("score", ": ", "4", ".", top=top), five) == pytest.approx(4.2)
    assert expected_score(tokens("style", ": ", "2", ", score", ": ", "4", top=top), five) == pytest.approx(4.2)
    assert expected_score(tokens("good"), five) is None
    assert expected_score([], five) is None
    percent = (1.0, 100.0)
    assert expected_score(tokens("score", ": ", "87", top={"87": 0.5, "90": 0.5}), percent) == pytest.approx(88.5)
    assert expected_score(tokens("score", ": ", "8", "7", top={"8": 1.0}), percent) is None
    assert expected_score(tokens("score", ": ", "1", top={"1": 0.7, "0": 0.3}), (0.0, 1.0)) == pytest.approx(0.7)


def ask(persona, answer, logprobs=None):
    class Judge:
        name, revision = "scoring-test:judge", "1"

        async def complete(self, request):
            return Completion(answer, logprobs=logprobs)

        async def aclose(self):
            return None

    register_scheme("scoring-test", lambda config: Judge())
    config = load_config(overrides={"roles": {"judge": "scoring-test:judge"}})

    async def work():
        caller = Caller.open(config, None, seed=0)
        try:
            state = PathState("t").with_user("u", "Hello.")
            return await score_reply(caller, persona, state, Candidate("r", "Hi."), "revealed", SCALES["1-5"])
        finally:
            await caller.aclose()

    return asyncio.run(work())


def test_unparsed_is_unscored_and_keeps_the_words(personas):
    judgement = ask(personas[0], "I'd rather not say.")
    assert judgement.score is None
    assert judgement.raw == "I'd rather not say."


def test_log_probabilities_give_the_expected_score(personas):
    rows = tokens('{"', "score", '":', " ", "4", "}", top={"4": 0.5, "5": 0.5})
    judgement = ask(personas[0], '{"score": 4}', logprobs=rows)
    assert judgement.score == pytest.approx(4.5)
    assert judgement.parts["written"] == 4


@pytest.mark.parametrize("scale", ["1-5", "1-100", "binary"])
def test_the_worlds_judge_keeps_to_the_scale(scale, personas, bench, tmp_path):
    uris = ["world:oracle", "world:swapped"]
    results = bench(personas[:6], uris, tmp_path, bench__scale=scale)
    low, high = SCALES[scale].low, SCALES[scale].high
    assert all(low <= p.al <= high and p.n_unscored == 0 for r in results.values() for p in r.points)
    assert results["world:oracle"].avg > results["world:swapped"].avg
    assert results["world:oracle"].scale == scale
    assert set(results["world:oracle"].parts) == {"style", "content", "natural"}


def test_same_call_as_the_trees_judge_on_the_default_scale(personas):
    """So that a rollout's and a benchmark's scores of one reply are one call in the journal."""
    from aloe.dialogue.judge import score_once

    config = load_config()

    async def work():
        caller = Caller.open(config, None, seed=0)
        state = PathState("t").with_user("u", "Hello.")
        mine = await score_reply(caller, personas[0], state, Candidate("r", "Hi."), "revealed", SCALES["1-5"])
        theirs = await score_once(caller, personas[0], state, Candidate("r", "Hi."), "revealed")
        await caller.aclose()
        return mine, theirs, caller.stats["judge"]

    mine, theirs, stats = asyncio.run(work())
    assert mine == theirs
    assert stats.n_replayed == 1
