"""What an inducer infers about the user after a message.

With a persona it is the trees' own inducer: claims are parts of the persona, evidenced in the user's words, and what
was revealed stays revealed. Without one there is nothing to compare with: the inducer's model lists what the messages
tell (prompt ``infer``), anew after each message, and only claims whose evidence the user said are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from aloe.config import ModelConfig
from aloe.dialogue.inducer import evidence_node, induce
from aloe.dialogue.state import PathState
from aloe.errors import ParseError
from aloe.models.caller import Caller
from aloe.models.uri import split_uri
from aloe.prompts.catalog import INFER
from aloe.types import Disclosure, Persona

# The world's inducer reads a message against a persona; without one its assistant does the listing.
WORLD_READER = ModelConfig(uri="world:assistant")


async def believe(
    caller: Caller, persona: Persona | None, state: PathState, models: Sequence[ModelConfig]
) -> tuple[Disclosure, ...]:
    """All that is believed after ``state``, which ends with the user's message.

    Args:
        models: the inducer's.

    Raises:
        EndpointError: the call failed for good.
        ParseError: the answer could not be read, also when asked again.
    """
    path = f"studio/{state.node_id}/beliefs"
    if persona is not None:
        new, _, was_read = await induce(caller, persona, state, path)
        if not was_read:
            raise ParseError("the inducer's answer could not be read, also when asked again")
        return (*state.revealed, *new)
    model = models[0]
    if split_uri(model.uri)[0] == "world":
        model = WORLD_READER
    claimed, reply = await caller.ask(
        INFER, path, role="inducer", turn=state.turn, model=model, conversation=state.shown
    )
    if claimed is None:
        raise ParseError("the inducer's answer could not be read, also when asked again")
    kept: dict[str, Disclosure] = {}
    for claim in claimed:
        where = evidence_node(claim.evidence, state)
        if where is not None:
            found = {"node_id": state.node_id, "evidence_node_ids": (where,), "generation": reply.generation}
            kept.setdefault(claim.item, claim.model_copy(update=found))
    return tuple(kept.values())
