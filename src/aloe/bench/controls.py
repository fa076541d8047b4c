"""What answers in the benchmark: models under test, and control policies whose order is known in advance.

An ordinary model sees the history only. Four of the world's policies are told more, in the same tagged sections of a
prompt as any model would be:

- ``world:oracle``: what the user has really revealed so far (exact, not induced). The upper bound for a fair model.
- ``world:frozen``: the same as if nothing of it ever changed: an oracle that learns, but never updates.
- ``world:swapped``: the same revelations as if of another persona: tailoring to the wrong person, the lower bound.
- ``world:knows-all``: the whole persona from turn 1. High where unrevealed facts are rewarded; IR about 0.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from aloe.config import ModelConfig
from aloe.dialogue.memory import make_memory, reply_with_memory
from aloe.dialogue.responder import Answer, informed_reply, plain_reply, told_reply
from aloe.dialogue.state import PathState
from aloe.dialogue.wrappers import wrapped_reply
from aloe.errors import ConfigError, DataError
from aloe.models.caller import Caller
from aloe.models.uri import is_memory, plain_name, split_uri, unwrap
from aloe.personas.lexical import LexicalEmbedder
from aloe.protocols import Embedder
from aloe.types import Disclosure, Persona
from aloe.world.timeline import hold_now, latent_of
from aloe.world.truth import Shown, disclosed, read_persona, swap

Responder = Callable[[Persona, PathState, str], Awaitable[Answer]]  # persona, path so far, call path


def control_of(model: ModelConfig) -> str | None:
    """``oracle``, ``frozen``, ``swapped`` or ``knows-all`` if the model is that control of the world, else None."""
    scheme, _ = split_uri(model.uri)
    name = plain_name(model.uri)
    return name if scheme == "world" and name in ("oracle", "frozen", "swapped", "knows-all") else None


def derange(personas: Sequence[Persona]) -> dict[str, Persona]:
    """Another persona for each persona id, of a different profile and a different personality.

    The same for every order of ``personas``: they are sorted by profile and personality and shifted by the first
    offset (from the middle on) that suits all; where no single offset does, each takes the first later one that suits.

    Raises:
        DataError: a persona has no other of different profile and personality.
    """
    ranked = sorted(personas, key=lambda p: (p.profile_id, p.personality_id, p.persona_id))
    n = len(ranked)

    def differs(a: Persona, b: Persona) -> bool:
        return a.profile_id != b.profile_id and a.personality_id != b.personality_id

    offsets = [*range(n // 2, n), *range(1, n // 2)] if n > 1 else []
    shift = next((o for o in offsets if all(differs(p, ranked[(i + o) % n]) for i, p in enumerate(ranked))), None)
    others: dict[str, Persona] = {}
    for i, persona in enumerate(ranked):
        around = (ranked[(i + o) % n] for o in ([shift] if shift is not None else offsets))
        other = next((p for p in around if differs(persona, p)), None)
        if other is None:
            raise DataError(
                f"persona {persona.persona_id} has no other with a different profile and personality to swap with",
                "give benchmark personas of at least two profiles and two personalities, or leave out world:swapped, "
                "--gain and --full",
            )
        others[persona.persona_id] = other
    return others


def shown_so_far(persona: Persona, state: PathState) -> tuple[Shown, ...]:
    """What the user's messages have really revealed of what holds now, in order of arrival."""
    said = [m.content for m in state.messages if m.role == "user"]
    latent = latent_of(persona)
    return hold_now([shown for turn in disclosed(latent, said) for shown in turn], latent, said)


def as_disclosures(shown: Sequence[Shown], node_id: str) -> tuple[Disclosure, ...]:
    """Revelations in the form in which prompts show them."""
    return tuple(
        Disclosure.model_construct(
            node_id=node_id, item=s.item.clause, kind=s.item.kind, status=s.status, evidence=s.evidence
        )
        for s in shown
    )


def make_responder(
    caller: Caller,
    model: ModelConfig,
    personas: Sequence[Persona],
    embedder: Callable[[], Embedder] = LexicalEmbedder,
) -> Responder:
    """The function that answers as ``model`` does; called with the true persona, which only controls and the
    wrapper ``+persona`` look at.

    Args:
        embedder: opens the embedder of ``+recall``.

    Raises:
        DataError: ``world:swapped`` without anybody to swap with.
        ConfigError: a wrapper around a control, which is told what it knows and would ignore what the wrapper finds.
    """
    inner, wrapper = unwrap(model)
    if wrapper is not None and control_of(inner) is not None:
        raise ConfigError(
            f"'{model.uri}': a control policy cannot be wrapped in +{wrapper}",
            f"use {inner.uri} alone, or world:assistant+{wrapper}",
        )
    if wrapper is not None and is_memory(wrapper):
        memory = make_memory(caller, inner, wrapper, embedder)

        async def remembering(persona: Persona, state: PathState, path: str) -> Answer:
            return await reply_with_memory(caller, state, path, model=inner, memory=memory)

        return remembering
    if wrapper is not None:

        async def wrapped(persona: Persona, state: PathState, path: str) -> Answer:
            return await wrapped_reply(caller, persona.as_of(state.turn), state, path, model=inner, wrapper=wrapper)

        return wrapped
    control = control_of(model)
    others: Mapping[str, Persona] = derange(personas) if control == "swapped" else {}

    async def plain(persona: Persona, state: PathState, path: str) -> Answer:
        return await plain_reply(caller, state, path, model)

    async def told(persona: Persona, state: PathState, path: str) -> Answer:
        shown = shown_so_far(persona if control == "frozen" else persona.as_of(state.turn), state)
        if control == "swapped":
            other = others[persona.persona_id]
            shown = swap(shown, read_persona(other.profile, other.personality))
        return await told_reply(caller, state, path, model, as_disclosures(shown, state.node_id))

    async def informed(persona: Persona, state: PathState, path: str) -> Answer:
        return await informed_reply(caller, state, path, model, persona.as_of(state.turn))

    return plain if control is None else informed if control == "knows-all" else told
