"""Benchmark tests: no time limit per hypothesis example (machines differ), personas and a run of the benchmark."""

import asyncio
from random import Random

import pytest
from hypothesis import settings

from aloe.bench.runner import run_benchmark
from aloe.config import load_config
from aloe.models.caller import Caller
from aloe.types import Persona
from aloe.world.latent import draw_facts, draw_traits, write_personality, write_profile
from aloe.world.lexicon.options import narrow

settings.register_profile("aloe-bench", deadline=None)
settings.load_profile("aloe-bench")


def make_personas(n_profiles, n_personalities, seed=5):
    """A cross product of world personas."""
    rng, lexicon = Random(seed), narrow()
    profiles = [write_profile(draw_facts(rng, lexicon), "She", rng, lexicon) for _ in range(n_profiles)]
    manners = [write_personality(draw_traits(rng, lexicon), "She", rng, lexicon) for _ in range(n_personalities)]
    return [
        Persona(
            persona_id=f"p{i}-t{j}",
            profile=profiles[i],
            personality=manners[j],
            profile_id=f"p{i}",
            personality_id=f"t{j}",
            split="bench",
        )
        for i in range(n_profiles)
        for j in range(n_personalities)
    ]


@pytest.fixture(scope="session")
def crossed_personas():
    """``crossed_personas(n_profiles, n_personalities, seed)``."""
    return make_personas


@pytest.fixture(scope="session")
def personas():
    return make_personas(6, 3)


@pytest.fixture(scope="session")
def bench():
    """Run models one after the other with one caller; returns their results by URI."""

    def run(personas, uris, out_dir, journal=None, progress=None, **overrides):
        table = {"bench": {"n_turns": 4, "n_bootstrap": 100}}
        for name, value in overrides.items():
            section, _, key = name.partition("__")
            if key:
                table.setdefault(section, {})[key] = value
            else:
                table[section] = value
        config = load_config(overrides=table)

        async def work():
            caller = Caller.open(config, journal, seed=config.seed)
            try:
                return {
                    uri: await run_benchmark(
                        caller,
                        personas,
                        load_config(overrides={"bench": {"models": uri}}).bench.models[0],
                        config=config,
                        out_dir=out_dir / uri.partition(":")[2].partition("?")[0],
                        progress=progress,
                    )
                    for uri in uris
                }
            finally:
                await caller.aclose()

        return asyncio.run(work())

    return run
