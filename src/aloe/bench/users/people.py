"""Personas of the simulated world, drawn afresh, for comparisons of users that need no run."""

from __future__ import annotations

from random import Random

from aloe.seeding import derive_seed
from aloe.types import Persona
from aloe.world.latent import draw_facts, draw_traits, write_personality, write_profile
from aloe.world.lexicon.options import narrow


def world_personas(n: int, seed: int, purpose: str = "users") -> list[Persona]:
    """``n`` personas in the world's language, from (seed, purpose); no run draws its own from the same numbers."""
    found, lexicon = [], narrow()
    for number in range(n):
        rng = Random(derive_seed(seed, "personas", purpose, number))
        pronoun = rng.choice(("She", "He"))
        profile = write_profile(draw_facts(rng, lexicon), pronoun, rng, lexicon)
        personality = write_personality(draw_traits(rng, lexicon), pronoun, rng, lexicon)
        found.append(
            Persona(
                persona_id=f"{purpose}-{number}",
                profile=profile,
                personality=personality,
                profile_id=f"{purpose}-profile-{number}",
                personality_id=f"{purpose}-personality-{number}",
                split="bench",
            )
        )
    return found
