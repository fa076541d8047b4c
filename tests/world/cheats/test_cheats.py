"""No policy of the gallery that does not mean what it says comes near the oracle; honest ones do."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from gallery import CHEATS, HONEST, register

from aloe.bench.runner import run_benchmark
from aloe.config import ModelConfig, load_config
from aloe.models.caller import Caller
from aloe.prompts import PromptSet
from aloe.types import Persona
from aloe.world.latent import draw_facts, draw_traits, write_personality, write_profile
from aloe.world.lexicon.options import narrow


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Benchmark results of all policies and two controls, on eight people."""
    register()
    rng, lexicon = Random(17), narrow()
    people = [
        Persona(
            persona_id=f"p{i}",
            profile=write_profile(draw_facts(rng, lexicon), "She", rng, lexicon),
            personality=write_personality(draw_traits(rng, lexicon), "She", rng, lexicon),
            profile_id=f"profile{i}",
            personality_id=f"manner{i}",
        )
        for i in range(8)
    ]
    config = load_config(overrides={"bench": {"n_bootstrap": 100}})
    uris = ["world:oracle", "world:generic", *(f"cheat:{name}" for name in (*HONEST, *CHEATS))]

    async def work():
        caller = Caller.open(config, None, seed=5, prompts=PromptSet())
        try:
            return {
                uri.partition(":")[2]: await run_benchmark(
                    caller, people, ModelConfig(uri=uri), config=config, out_dir=tmp_path_factory.mktemp("cheat")
                )
                for uri in uris
            }
        finally:
            await caller.aclose()

    return asyncio.run(work())


def test_the_gallery_is_large_and_each_cheat_says_something_of_its_own(results):
    assert len(CHEATS) >= 20
    assert len({round(results[name].truth["reply_words"] or 0, 3) for name in CHEATS}) > 0.8 * len(CHEATS)


@pytest.mark.parametrize("name", CHEATS)
def test_no_cheat_is_within_a_point_of_the_oracle(results, name):
    assert (results[name].avg or 1.0) < results["oracle"].avg - 1.0


@pytest.mark.parametrize("name", HONEST)
def test_who_means_it_is_near_the_oracle(results, name):
    assert abs(results[name].avg - results["oracle"].avg) < 0.3


def test_asking_is_worth_something_and_the_oracle_asks(results):
    asked, never = results["asks_each_turn"], results["never_asks"]
    assert sum(asked.facts_by_turn[:4]) > sum(never.facts_by_turn[:4])
    assert asked.avg > never.avg and results["oracle"].avg > never.avg
    assert asked.avg < results["oracle"].avg + 0.1


@pytest.mark.parametrize("name", ["keyword_soup", "comma_soup", "fragments", "recital", "contrary", "hidden_html"])
def test_words_that_nothing_ties_to_advice_are_not_recall(results, name):
    assert results[name].truth["fact_use"] < 0.2


@pytest.mark.parametrize(("name", "least"), [("invention", 0.3), ("one_invention", 0.2), ("everybodys_facts", 0.9)])
def test_what_nobody_said_is_false_memory(results, name, least):
    assert results[name].truth["untrue_rate"] > least
    assert results["attentive"].truth["untrue_rate"] == 0


@pytest.mark.parametrize(
    "name", ["keyword_soup", "insult", "danger", "endless", "interrogation", "tags", "every_manner"]
)
def test_what_no_person_would_say_is_not_natural(results, name):
    natural = results[name].parts["natural"]
    assert sum(natural) / len(natural) < 3.0 < 4.9 < sum(results["oracle"].parts["natural"]) / len(natural)
