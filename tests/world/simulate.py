"""A small benchmark on the world's own models: the packaged prompts, no files, no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from aloe.prompts import parsers
from aloe.prompts.render import PromptSet
from aloe.protocols import ChatRequest, PromptMessage
from aloe.types import Disclosure, Message, Persona
from aloe.world.latent import draw_facts, draw_traits, write_personality, write_profile
from aloe.world.lexicon.options import Options, narrow
from aloe.world.model import WorldModel
from aloe.world.truth import ReplyTruth, Shown, assess_reply, disclosed, read_persona, swap

PROMPTS = PromptSet()
Text = tuple[str, str]  # profile, personality
_MODELS: dict[str, WorldModel] = {}


def ask(
    uri: str,
    prompt: str,
    history: Sequence[Message] = (),
    seed: int | None = 0,
    *,
    persona: Text | None = None,
    **values: Any,
) -> str:
    """One answer of one world model to one packaged prompt."""
    model = _MODELS.setdefault(uri, WorldModel(uri))
    if persona is not None:
        profile, personality = persona
        values["persona"] = Persona(
            persona_id="", profile=profile, personality=personality, profile_id="", personality_id=""
        )
    turns = [PromptMessage(m.role, (m.content,)) for m in history]
    return model.answer(ChatRequest(PROMPTS.render(prompt, history=turns, **values), seed=seed)).text


def flipped(history: Sequence[Message]) -> list[Message]:
    return [Message(role="assistant" if m.role == "user" else "user", content=m.content) for m in history]


def draw_personas(n: int, seed: int = 0, options: Options = Options()) -> list[Text]:  # noqa: B008
    rng, lexicon = Random(seed), narrow(options)
    return [
        (
            write_profile(draw_facts(rng, lexicon), rng.choice(("She", "He")), rng, lexicon),
            write_personality(draw_traits(rng, lexicon), rng.choice(("She", "He")), rng, lexicon),
        )
        for _ in range(n)
    ]


def say(persona: Text, history: Sequence[Message], seed: int = 0, uri: str = "world:user") -> str:
    """The user's next message."""
    text = ask(uri, "user", flipped(history), seed=seed, persona=persona)
    return parsers.clean_message(text)


def notes(shown: Sequence[Shown]) -> list[Disclosure]:
    return [Disclosure(node_id="", item=s.item.clause, kind=s.item.kind, status=s.status) for s in shown]


def induce(persona: Text, history: Sequence[Message], uri: str = "world:inducer") -> tuple[Disclosure, ...]:
    raw = ask(uri, "inducer", persona=persona, conversation=history)
    return parsers.parse_disclosures(raw)


def score(
    persona: Text, history: Sequence[Message], reply: str, scope: str = "revealed", uri: str = "world:judge"
) -> float:
    raw = ask(
        uri,
        "judge_score",
        persona=persona,
        conversation=history,
        reply=reply,
        scope=scope,
    )
    return parsers.parse_score(raw)[0]


@dataclass
class Talk:
    history: list[Message] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    truths: list[ReplyTruth] = field(default_factory=list)

    @property
    def said(self) -> list[str]:
        return [m.content for m in self.history if m.role == "user"]


def converse(
    policy: str,
    persona: Text,
    other: Text,
    *,
    n_turns: int = 10,
    seed: int = 0,
    user: str = "world:user",
    scope: str = "revealed",
    judged: bool = True,
) -> Talk:
    """A conversation of one policy with one persona, scored turn by turn."""
    talk = Talk()
    latent, stranger = read_persona(*persona), read_persona(*other)
    actor, _, query = policy.partition("?")
    options = f"?{query}" if query else ""
    for turn in range(n_turns):
        at = seed * 1000 + turn
        message = say(persona, talk.history, at, user)
        talk.history.append(Message(role="user", content=message))
        shown = [s for new in disclosed(latent, talk.said) for s in new]
        tailored = f"world:tailored{options}"
        if actor in ("oracle", "swapped"):
            mine = notes(shown if actor == "oracle" else swap(shown, stranger))
            reply = ask(tailored, "tailored", talk.history[:-1], at, last=message, revealed=mine)
        elif actor == "tailored":
            mine = list(induce(persona, talk.history))
            reply = ask(tailored, "tailored", talk.history[:-1], at, last=message, revealed=mine)
        elif actor == "knows-all":
            reply = ask(f"world:{policy}", "informed", talk.history, at, persona=persona)
        else:
            reply = ask(f"world:{policy}", "generic", talk.history, at)
        if judged:
            talk.scores.append(score(persona, talk.history, reply, scope))
            talk.truths.append(assess_reply(latent, talk.history, reply))
        talk.history.append(Message(role="assistant", content=reply))
    return talk
