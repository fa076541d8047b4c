"""What a reply is rewarded for: named terms, each a small class; plug-ins add more (entry points ``aloe.rewards``).

One or several are trained on, as a weighted sum. All are reported at every evaluation, so that a policy that games one
of them shows as one figure that rises while others fall.

- ``judge``: the judge's score for a reply in the scope ``revealed``, 1 to 5.
- ``truth``: the simulated world's exact count: revealed facts used, style markers that suit and being on topic, minus
  untrue and premature facts and markers that grate, per thing that could be expected; at most 1. For personas in the
  world's language.
- ``belief``: how much the user's next message raises the probability of the true persona among others (CURIO,
  arXiv 2504.03206). ``profile``: how much it raises the F1 of the facts inferred so far (RLPA, arXiv 2505.15456).
- ``brevity``: minus a hundredth per word. ``repetition``: minus the share of word triples that were there before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from aloe.config import Panel
from aloe.config.plugins import load_plug_in, plug_in_names
from aloe.dialogue.judge import Candidate, score_all
from aloe.dialogue.state import PathState
from aloe.errors import ConfigError, nearest
from aloe.models.caller import Caller
from aloe.types import Message, Persona
from aloe.world.latent import Latent, read_persona
from aloe.world.truth import assess_reply, disclosed, read_message

ENTRY_POINTS = "aloe.rewards"
CERTAINTY = math.log(9)  # what one revelation adds to the log-odds of those who hold it: one in ten is misread


@dataclass(frozen=True, slots=True)
class Moment:
    """A reply in its conversation.

    Attributes:
        caller: asks the roles' models; None where nothing can be asked.
        state: what was said before, up to and including the user's message.
        after: the user's next message; None where there is none, or where no term looks ahead.
        others: personas that the user might be just as well. panel: how several judges score.
    """

    caller: Caller | None
    persona: Persona
    state: PathState
    reply: Candidate
    after: str | None = None
    others: Sequence[Persona] = ()
    panel: Panel = "pick"

    @property
    def said(self) -> list[str]:
        """The user's messages before the reply."""
        return [m.content for m in self.state.messages if m.role == "user"]


class Reward(Protocol):
    """One term.

    Attributes:
        worst: what an empty reply gets.
        looks_ahead: it needs the user's next message.
    """

    name: str
    worst: float
    looks_ahead: bool

    async def score(self, moment: Moment) -> float | None:
        """The reward of a reply; None where it can't be told.

        Raises:
            EndpointError: a model could not be asked.
        """


class JudgeReward:
    name, worst, looks_ahead = "judge", 1.0, False

    async def score(self, moment: Moment) -> float | None:
        m = moment
        assert m.caller is not None
        found = await score_all(m.caller, m.persona, m.state, [m.reply], "revealed", m.panel)
        return found[0].score


def _latent(persona: Persona) -> Latent:
    return read_persona(persona.profile, persona.personality)


class TruthReward:
    name, worst, looks_ahead = "truth", -1.0, False

    async def score(self, moment: Moment) -> float | None:
        latent = _latent(moment.persona)
        if not all(item.is_world for item in (*latent.facts, *latent.traits)):
            return None
        seen = assess_reply(latent, moment.state.messages, moment.reply.text)
        right = seen.n_used + min(seen.n_style_match, seen.n_style_expected) + seen.on_topic
        wrong = seen.n_false + seen.n_premature + seen.n_style_mismatch
        return max(self.worst, (right - wrong) / (seen.n_relevant + seen.n_style_expected + 1))


class BeliefReward:
    name, worst, looks_ahead = "belief", 0.0, True

    async def score(self, moment: Moment) -> float | None:
        if not moment.others:
            return None
        if moment.after is None:
            return 0.0
        before = self._belief(moment, moment.said)
        return self._belief(moment, [*moment.said, moment.after]) - before

    @staticmethod
    def _belief(moment: Moment, said: Sequence[str]) -> float:
        """Probability of the true persona, by how many of its parts the messages reveal."""
        counts = [sum(map(len, disclosed(_latent(p), said))) for p in (moment.persona, *moment.others)]
        return 1 / sum(math.exp(CERTAINTY * (n - counts[0])) for n in counts)


class ProfileReward:
    name, worst, looks_ahead = "profile", 0.0, True

    async def score(self, moment: Moment) -> float | None:
        latent = _latent(moment.persona)
        if not any(item.is_world for item in latent.facts):
            return None
        if moment.after is None:
            return 0.0
        return self._f1(latent, [*moment.said, moment.after]) - self._f1(latent, moment.said)

    @staticmethod
    def _f1(latent: Latent, said: Sequence[str]) -> float:
        """F1 of the facts that somebody who does not know the user reads out of its messages."""
        inferred = {
            (mention.payloads[0].name, mention.payloads[0].value)
            for text in said
            for mention in read_message(text).mentions
            if mention.payloads[0].kind == "value"
        }
        right = len(inferred & set(latent.by_value))
        return 2 * right / (len(inferred) + len(latent.facts))


class BrevityReward:
    name, worst, looks_ahead = "brevity", 0.0, False

    async def score(self, moment: Moment) -> float | None:
        return -len(moment.reply.text.split()) / 100


class RepetitionReward:
    name, worst, looks_ahead = "repetition", -1.0, False

    async def score(self, moment: Moment) -> float | None:
        known: set[tuple[str, ...]] = set()
        for message in moment.state.messages:
            if message.role == "assistant":
                known.update(_triples(message))
        found, again = _triples(Message.model_construct(role="assistant", content=moment.reply.text)), 0
        for triple in found:
            again += triple in known
            known.add(triple)
        return -again / len(found) if found else 0.0


def _triples(message: Message) -> list[tuple[str, ...]]:
    words = message.content.lower().split()
    return list(zip(words, words[1:], words[2:], strict=False))


BUILT_IN: tuple[Callable[[], Reward], ...] = (
    JudgeReward, TruthReward, BeliefReward, ProfileReward, BrevityReward, RepetitionReward,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rewards:
    """The terms that are trained on, with their weights, and those that are only reported."""

    weights: dict[str, float]
    terms: tuple[Reward, ...]

    @property
    def trained(self) -> tuple[Reward, ...]:
        return tuple(term for term in self.terms if term.name in self.weights)

    def total(self, terms: dict[str, float | None]) -> float | None:
        """The weighted sum; None where a term that counts could not be told."""
        parts = [(weight, terms.get(name)) for name, weight in self.weights.items()]
        return None if any(value is None for _, value in parts) else sum(w * v for w, v in parts if v is not None)


def make_rewards(names: Sequence[str]) -> Rewards:
    """The terms of ``rl.rewards`` (``NAME`` or ``NAME=WEIGHT``) and the built-in ones beside them.

    Raises:
        ConfigError: no such reward, a weight that is not a number, or nothing to train on.
    """
    terms = {term.name: term for term in (make() for make in BUILT_IN)}
    weights: dict[str, float] = {}
    plug_ins = plug_in_names(ENTRY_POINTS)
    for entry in names:
        name, has_weight, weight = (part.strip() for part in entry.partition("="))
        try:
            weights[name] = float(weight) if has_weight else 1.0
        except ValueError:
            raise ConfigError(f"rl.rewards: '{entry}' has no valid weight", f"write {name}=0.5, for example") from None
        if name not in terms and name in plug_ins:
            terms[name] = load_plug_in(ENTRY_POINTS, name)()
        if name not in terms:
            known = sorted({*terms, *plug_ins})
            raise ConfigError(f"rl.rewards: no reward '{name}'{nearest(name, known)}", f"one of: {', '.join(known)}")
    if not any(weights.values()):
        raise ConfigError("rl.rewards names nothing to train on", "for example: rewards = ['judge']")
    return Rewards(weights, tuple(terms.values()))
