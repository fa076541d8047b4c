"""Checks whether a judge is fit to measure: order swaps, repeats and items whose answer is known.

Known-answer items are conversations in the world's language (plain English) with replies whose better one is certain:

- ``tailored/swapped``: written for this user, or in the same way for somebody else.
- ``tailored/generic``: written for this user, or for anybody.
- ``generic/swapped``: for anybody, or with another person's facts and against this user's manner.
- ``tailored/off-topic``: an answer to what was asked, or to something else.

For each item the judge compares the two replies in both orders and once more under another sampling seed, and scores
both, the better one twice. Abstention is a tie or an answer that can't be read; neither is ever counted as right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any, TypeVar

import numpy as np

from aloe.bench.controls import as_disclosures
from aloe.bench.scales import Scale
from aloe.bench.scoring import score_reply
from aloe.config import Config
from aloe.dialogue.judge import Candidate
from aloe.dialogue.state import PathState, content_id
from aloe.models.caller import Caller
from aloe.prompts import PromptSet
from aloe.prompts.catalog import GENERIC, JUDGE_COMPARE, TAILORED, USER, Prompt
from aloe.protocols import ChatRequest, PromptMessage
from aloe.stats import Estimate, share_interval
from aloe.types import Persona
from aloe.world.latent import Latent, draw_facts, draw_traits, write_personality, write_profile
from aloe.world.lexicon.options import narrow
from aloe.world.model import WorldModel
from aloe.world.truth import Shown, disclosed, read_message, read_persona, swap

T = TypeVar("T")
KINDS = ("tailored/swapped", "tailored/generic", "generic/swapped", "tailored/off-topic")
_DECIDED = ("good", "bad")
N_TURNS = 4  # of an item's conversation; by then there is something to tailor to


@dataclass(frozen=True, slots=True)
class KnownItem:
    """Two replies to one conversation, of which ``good`` is certainly the better one for this user."""

    kind: str
    persona: Persona
    state: PathState
    good: Candidate
    bad: Candidate


@dataclass(frozen=True, slots=True)
class Answers:
    """What the judge made of one item. Verdicts: the candidate's name (``good``, ``bad``), ``tie``, None = unparsed."""

    item: KnownItem
    forward: str | None  # good shown first
    backward: str | None  # bad shown first
    repeated: str | None  # as forward, another seed
    score_good: float | None
    score_bad: float | None
    score_again: float | None


@dataclass(frozen=True, slots=True)
class Fitness:
    """The figures of a judge; shares in [0, 1] with intervals over items, None where nothing could be counted.

    Attributes:
        consistency: same winner (or twice a tie) in both orders. repeatability: same verdict under another seed.
        position: share of an item's decided orders won by what was shown first, mean over items; 0.5 is fair.
        abstention: ties and unparsed among comparisons. unparsed: unparsed among all answers.
        sensitivity: items whose better reply won in both orders; by_kind: per kind of item.
        score_sensitivity: items whose better reply scored higher, equal scores half.
        score_gap: mean difference of the two scores. score_noise: standard deviation of one score under repetition.
    """

    n_items: int
    consistency: Estimate | None
    repeatability: Estimate | None
    position: Estimate | None
    abstention: Estimate | None
    unparsed: Estimate | None
    sensitivity: Estimate | None
    by_kind: dict[str, Estimate | None]
    score_sensitivity: Estimate | None
    score_gap: float | None
    score_noise: float | None


def world_persona(rng: Random, name: str) -> Persona:
    """A persona in the world's language, drawn by ``rng``."""
    lexicon = narrow()
    profile = write_profile(draw_facts(rng, lexicon), "She", rng, lexicon)
    personality = write_personality(draw_traits(rng, lexicon), "She", rng, lexicon)
    ids = (f"{name}-profile", f"{name}-personality")
    return Persona(persona_id=name, profile=profile, personality=personality, profile_id=ids[0], personality_id=ids[1])


@lru_cache(maxsize=1)
def _packaged() -> PromptSet:
    return PromptSet()


def say(actor: str, seed: int, prompt: Prompt[Any], history: Sequence[PromptMessage], **values: Any) -> str:
    """What an actor of the world answers to a packaged prompt."""
    messages = _packaged().render(prompt.name, history, **values)
    return WorldModel(f"world:{actor}").answer(ChatRequest(messages, seed=seed)).text


def told_reply(state: PathState, shown: Sequence[Shown], seed: int) -> str:
    """A reply by a responder that is told what ``shown`` says."""
    notes = as_disclosures(shown, state.node_id)
    return say("oracle", seed, TAILORED, state.history[:-1], last=state.messages[-1].content, revealed=notes)


def known_items(n: int, seed: int) -> list[KnownItem]:
    """``n`` items, the kinds in turn; the same for every judge and whatever prompts are in use.

    Args:
        seed: of the personas, conversations and replies.
    """
    items: list[KnownItem] = []
    number = 0
    while len(items) < n:
        rng = Random(f"{seed}/{number}")
        item = _make_item(KINDS[len(items) % len(KINDS)], rng, f"check-{seed}-{number}")
        if item is not None:
            items.append(item)
        number += 1
    return items


def _make_item(kind: str, rng: Random, name: str) -> KnownItem | None:
    """One item; None where the conversation revealed too little for the order to be certain."""
    persona, other = world_persona(rng, name), world_persona(rng, f"{name}-other")
    latent = read_persona(persona.profile, persona.personality)
    state = PathState(name)
    for turn in range(1, N_TURNS + 1):
        text = say("user", rng.randrange(2**31), USER, state.flipped, persona=persona, release="")
        state = state.with_user(content_id(state.node_id, "user", text), text)
        if turn < N_TURNS:
            reply = told_reply(state, _shown(latent, state), rng.randrange(2**31))
            state = state.with_reply(content_id(state.node_id, "assistant", reply), reply)
    shown = _shown(latent, state)
    if sum(s.item.kind == "fact" for s in shown) < 2 or not any(s.item.kind == "trait" for s in shown):
        return None
    seed = rng.randrange(2**31)
    generic = say("generic", seed, GENERIC, state.history)
    tailored = told_reply(state, shown, seed)
    swapped = told_reply(state, swap(shown, read_persona(other.profile, other.personality)), seed)
    replies = {"tailored": tailored, "generic": generic, "swapped": swapped}
    if kind.endswith("off-topic"):
        replies["off-topic"] = _off_topic(state, rng)
    good, _, bad = kind.partition("/")
    if not replies[bad] or replies[good] == replies[bad]:
        return None
    candidates = [Candidate(content_id(state.node_id, r), r) for r in (replies[good], replies[bad])]
    return KnownItem(kind, persona, state, candidates[0], candidates[1])


def _shown(latent: Latent, state: PathState) -> list[Shown]:
    said = [m.content for m in state.messages if m.role == "user"]
    return [s for turn in disclosed(latent, said) for s in turn]


def _off_topic(state: PathState, rng: Random) -> str:
    """A reply to something else; empty where the user has asked for one thing only."""
    topic = read_message(state.messages[-1].content).topic
    requests = [t.requests[0] for t in narrow().topics if t.name != topic]
    elsewhere = PromptMessage("user", (rng.choice(requests),))
    return say("generic", rng.randrange(2**31), GENERIC, (elsewhere,))


async def check_judge(
    caller: Caller,
    items: Sequence[KnownItem],
    *,
    config: Config,
    scope: str,
    scale: Scale,
    progress: Callable[[int, int], None] | None = None,
) -> list[Answers]:
    """Ask the judge everything; answers in the order of the items.

    Args:
        progress: called with the items done and their number in all, after each.

    Raises:
        EndpointError: a call failed for good.
    """
    gate = asyncio.Semaphore(config.execution.concurrency)
    n_done = 0

    async def work(item: KnownItem) -> Answers:
        nonlocal n_done
        async with gate:
            answers = await _ask_all(caller, item, scope, scale)
        n_done += 1
        if progress is not None:
            progress(n_done, len(items))
        return answers

    tasks = [asyncio.ensure_future(work(item)) for item in items]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # before the caller's journal is closed


async def _ask_all(caller: Caller, item: KnownItem, scope: str, scale: Scale) -> Answers:
    async def compared(first: str, sample: int = 0) -> str | None:
        order = ("good", "bad") if first == "good" else ("bad", "good")
        shown = [item.good if name == "good" else item.bad for name in order]
        path = f"check/{item.state.node_id}/{shown[0].node_id}/{shown[1].node_id}"
        answer, _ = await caller.ask(
            JUDGE_COMPARE, path, sample=sample, persona=item.persona, conversation=item.state.shown,
            first=shown[0].text, second=shown[1].text, scope=scope,
        )  # fmt: skip
        if answer is None or answer[0] == "tie":
            return None if answer is None else "tie"
        return order[0 if answer[0] == "first" else 1]

    async def scored(candidate: Candidate, sample: int = 0) -> float | None:
        judgement = await score_reply(caller, item.persona, item.state, candidate, scope, scale, sample=sample)
        return judgement.score

    forward, backward, repeated = await _side_by_side(compared("good"), compared("bad"), compared("good", 1))
    good, bad, again = await _side_by_side(scored(item.good), scored(item.bad), scored(item.good, 1))
    return Answers(item, forward, backward, repeated, good, bad, again)


async def _side_by_side(*calls: Coroutine[Any, Any, T]) -> list[T]:
    """The answers, in order; the first failure is raised when no call is under way any more."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if not isinstance(answer, BaseException)]


def fitness(answers: Sequence[Answers]) -> Fitness:
    """The figures of a judge that gave these answers."""
    verdicts = [(a.forward, a.backward, a.repeated) for a in answers]
    scores = [(a.score_good, a.score_bad, a.score_again) for a in answers]
    won = [float(a.forward == a.backward == "good") for a in answers]
    first = [share for a in answers if (share := _won_by_first(a)) is not None]
    both = [(a.score_good, a.score_bad) for a in answers if a.score_good is not None and a.score_bad is not None]
    gaps = [good - bad for good, bad in both]
    again = [a.score_good - a.score_again for a in answers if a.score_good is not None and a.score_again is not None]
    kinds = dict.fromkeys(a.item.kind for a in answers)
    return Fitness(
        n_items=len(answers),
        consistency=share_interval(
            [float(a.forward == a.backward) for a in answers if None not in (a.forward, a.backward)]
        ),
        repeatability=share_interval(
            [float(a.forward == a.repeated) for a in answers if None not in (a.forward, a.repeated)]
        ),
        position=share_interval(first),
        abstention=share_interval([float(np.mean([v in ("tie", None) for v in three])) for three in verdicts]),
        unparsed=share_interval(
            [float(np.mean([v is None for v in (*a, *b)])) for a, b in zip(verdicts, scores, strict=True)]
        ),
        sensitivity=share_interval(won),
        by_kind={k: share_interval([w for a, w in zip(answers, won, strict=True) if a.item.kind == k]) for k in kinds},
        score_sensitivity=share_interval([(g > 0) + 0.5 * (g == 0) for g in gaps]),
        score_gap=float(np.mean(gaps)) if gaps else None,
        score_noise=float(np.sqrt(np.mean(np.square(again)) / 2)) if again else None,
    )


def _won_by_first(answers: Answers) -> float | None:
    """Of an item's two orders, the share won by what was shown first: 0.5 where the better reply won in both.

    One value per item, because its two orders are not independent draws.
    """
    wins = [float(a == shown) for a, shown in ((answers.forward, "good"), (answers.backward, "bad")) if a in _DECIDED]
    return sum(wins) / len(wins) if wins else None


def format_fitness(found: Fitness, judge: str) -> str:
    """The figures as text, each with what it should be."""

    def share(estimate: Estimate | None) -> str:
        if estimate is None:
            return "none"
        return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"

    def plain(value: float | None) -> str:
        return "none" if value is None else f"{value:.3f}"

    rows = [
        ("consistency", share(found.consistency), "same winner in both orders; 1 is best"),
        ("repeatability", share(found.repeatability), "same verdict when asked again; 1 is best"),
        ("position", share(found.position), "won by what is shown first; 0.5 is fair"),
        ("abstention", share(found.abstention), "ties and unreadable answers among comparisons"),
        ("unparsed", share(found.unparsed), "unreadable answers among all"),
        ("sensitivity", share(found.sensitivity), "better reply wins in both orders; 1 is best"),
        *((f"  {kind}", share(value), "") for kind, value in found.by_kind.items()),
        ("score sensitivity", share(found.score_sensitivity), "better reply scores higher; 1 is best, 0.5 chance"),
        ("score gap", plain(found.score_gap), "better minus worse reply, in points"),
        ("score noise", plain(found.score_noise), "standard deviation of one score when asked again"),
    ]
    lines = [f"{judge} on {found.n_items} items whose order is certain"]
    return "\n".join(lines + [f"{name:<20} {value:<22} {what}".rstrip() for name, value, what in rows])
