"""From a config to the base model's material: the narrow world's words, generic dialogues, all texts.

The base stage exists for the simulated world only: it reads the options of the roles' ``world:`` URIs, so that
the tiny model's vocabulary is that of the conversations to come and no larger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from aloe.config import Config, ModelConfig
from aloe.errors import ConfigError
from aloe.prompts.sections import persona_slots
from aloe.seeding import derive_seed
from aloe.training.tiny.curriculum import Writer
from aloe.training.tiny.tokenizer import build_tokenizer
from aloe.types import Persona
from aloe.world.actors import Utterance, play_generic
from aloe.world.assistant import ACTORS
from aloe.world.dialects.speech import heard
from aloe.world.language import capital
from aloe.world.latent import draw_facts, draw_traits, fill, write_personality, write_profile
from aloe.world.lexicon.changes import ENDED, GONE
from aloe.world.lexicon.options import Lexicon, Options, narrow, parse_options
from aloe.world.timeline import ChangeScope, with_timeline

N_DIALOGUES = 400
N_TURNS = 10
WORLD = "world:"


@dataclass(frozen=True, slots=True)
class Material:
    """Options of those who write personas, of users, of tailored and of generic replies."""

    persona: Options
    user: Options
    tailored: Options
    generic: Options
    drift: int = 0  # changes in the course of a conversation; above 0 their wording is among the words


def read_material(config: Config) -> Material:
    """The roles' options, with nothing held out: what SFT and DPO never see, the base model may still have read.

    Raises:
        ConfigError: a role is not played by the world.
    """
    found = (_options(getattr(config.roles, name)[0], name) for name in ("writer", "user", "tailored", "generic"))
    persona, user, tailored, generic = (replace(options, hold_out=0, held_out=0, without_slots=()) for options in found)
    return Material(persona, user, tailored, generic, config.base.drift or config.trees.drift)


def _options(model: ModelConfig, role: str) -> Options:
    if not model.uri.startswith(WORLD):
        raise ConfigError(
            f"roles.{role} is '{model.uri}', but the tiny base model only knows the words of the simulated world",
            "set sft.model to a model of your own, then stage base is skipped",
        )
    return parse_options(model.uri.partition("?")[2], f"roles.{role}")


def generic_dialogues(material: Material, seed: int, n: int = N_DIALOGUES) -> list[list[tuple[str, str]]]:
    """Conversations of the world's users with its generic assistant, as (role, content)."""
    lexicon = narrow(material.persona)
    dialogues = []
    for number in range(n):
        rng = Random(derive_seed(seed, "base", "dialogue", number))
        profile = write_profile(draw_facts(rng, lexicon), "She", rng, lexicon)
        personality = write_personality(draw_traits(rng, lexicon), "She", rng, lexicon)
        persona = Persona(
            persona_id=str(number), profile=profile, personality=personality, profile_id="", personality_id=""
        )
        persona = with_timeline(
            persona, material.drift, N_TURNS, 1, seed, ChangeScope(lexicon, material.user.hints > 0)
        )
        seen: list[Utterance] = []
        for turn in range(1, N_TURNS + 1):
            shown = "".join(persona_slots(persona.as_of(turn)).parts)
            prompt = f"<persona>{shown}</persona>"
            opening = [Utterance("system", prompt), Utterance("user", "Write your opening message.")]
            flipped = [Utterance("assistant" if t.role == "user" else "user", t.content) for t in seen]
            seen.append(Utterance("user", ACTORS["user"]([*opening, *flipped], rng.getrandbits(31), material.user)))
            seen.append(Utterance("assistant", play_generic(seen, rng.getrandbits(31), material.generic)))
        dialogues.append([(t.role, t.content) for t in seen])
    return dialogues


def world_texts(material: Material) -> Iterator[str]:
    """Every sentence that the narrow world can say, each with a small and a capital letter first."""
    for text in _phrases(material):
        yield text
        yield capital(text)
        yield text[:1].lower() + text[1:]


def _phrases(material: Material) -> Iterator[str]:
    persona, user, reply = narrow(material.persona), heard(material.user), narrow(material.tailored)
    for slot in persona.slots:
        yield f"{slot.name}:"
        said, used = user.by_slot[slot.name], reply.by_slot[slot.name]
        for value in slot.values:
            for template in (*said.said, *said.other, *used.uses, *reply.follows.get(slot.name, ())):
                yield fill(template, value.text)
            if value.cue and material.user.hints:
                for template in said.hinted:
                    yield fill(template, value.text, value.cue)
        yield from used.questions
    is_neutral = bool(material.user.neutral)
    if material.drift:
        yield from _changes(persona, material.user.hints > 0)
    for topic in (*user.topics, *(user.neutral if is_neutral else ())):
        yield from topic.requests
    for topic in (*reply.topics, *(reply.neutral if is_neutral else ())):
        yield from topic.advice
    yield from reply.leads
    for trait in persona.traits:
        yield f"{trait.name}:"
        for mine, fitting in zip(user.by_trait[trait.name].poles, reply.by_trait[trait.name].poles, strict=True):
            yield f"{mine.name}:"
            for phrase in (*mine.shown, *fitting.fits):
                yield f"{phrase}."
                yield f"{phrase},"


def _changes(lexicon: Lexicon, hints: bool) -> Iterator[str]:
    """How users tell of facts that no longer hold, and where they hint, of what has come in their place."""
    for slot in lexicon.slots:
        for value in slot.values:
            for template in ENDED.get(slot.name, ()):
                yield fill(template, value.text)
            if value.cue and hints:
                for template in (*GONE.get(slot.name, ()), *slot.hinted):
                    yield fill(template, value.text, value.cue)


def prepare(config: Config) -> tuple[Writer, Any]:
    """The curriculum's writer and the tokenizer for a config.

    Raises:
        ConfigError: a role is not played by the world.
    """
    material = read_material(config)
    dialogues = generic_dialogues(material, config.seed)
    texts = [*world_texts(material), *(text for dialogue in dialogues for _, text in dialogue)]
    tokenizer = build_tokenizer(texts)
    return make_writer(material, dialogues, tokenizer), tokenizer


def make_writer(material: Material, dialogues: list[list[tuple[str, str]]], tokenizer: Any) -> Writer:
    """A curriculum writer that speaks through ``tokenizer``."""

    def encode(text: str) -> tuple[int, ...]:
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    special: Callable[[str], int] = tokenizer.convert_tokens_to_ids
    return Writer(
        narrow(material.persona),
        heard(material.user),
        narrow(material.tailored),
        dialogues,
        encode,
        special,
        steady=bool(material.tailored.steady),
    )
