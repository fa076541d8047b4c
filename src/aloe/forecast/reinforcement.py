"""Foretells stage ``rl``: a few of its conversations are had by its own code, with stand-ins, and scaled up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aloe.config import Config
from aloe.forecast.training import TrainingLine, chunk_tokenizer, memory_gb, model_name, sizes_of, tokenizer_of
from aloe.models.caller import Caller
from aloe.protocols import ChatRequest, Completion, PromptMessage
from aloe.rl.people import Cast, SimulatedUser
from aloe.rl.rewards import make_rewards
from aloe.rl.rollout import Rollout, RolloutPlan, Siblings
from aloe.rl.sampler import Draw, Draws, Wanted
from aloe.seeding import derive_seed
from aloe.types import Persona, Usage

N_EPISODES = 6  # rehearsed
Answer = Callable[[ChatRequest], Completion]


class StandInSampler:
    """Replies of a stand-in for the policy; tokens are counted, not known. ``usage``: of all of them."""

    def __init__(self, answer: Answer, seed: int) -> None:
        self._answer, self._seed, self.usage, self.n = answer, seed, Usage(), 0

    async def refresh(self, iteration: int) -> None:
        return None

    async def aclose(self) -> None:
        return None

    async def sample(self, wanted: Sequence[Wanted], temperature: float) -> list[Draws]:
        found = []
        for want in wanted:
            messages = tuple(PromptMessage(m["role"], (m["content"],)) for m in want.messages)  # type: ignore[arg-type]
            replies = []
            for i in range(want.n):
                seed = derive_seed(self._seed, want.key, i)
                got = self._answer(ChatRequest(messages, temperature, None, None, seed, (), None, None, None, {}))
                self.usage = Usage(
                    prompt_tokens=self.usage.prompt_tokens + got.usage.prompt_tokens,
                    completion_tokens=self.usage.completion_tokens + got.usage.completion_tokens,
                )
                replies.append(Draw([0] * got.usage.completion_tokens, got.text, False))
            self.n += want.n
            found.append(Draws([0], replies))
        return found


@dataclass(frozen=True, slots=True)
class RLRehearsal:
    """What was rehearsed. ``scale``: how many times as much the stage does; ``iterations``: as many as its budget."""

    groups: list[Siblings]
    scale: float
    iterations: int


async def rehearse_rl(config: Config, caller: Caller, personas: Sequence[Persona], answer: Answer) -> RLRehearsal:
    """Have a few conversations of the stage, and evaluations in proportion; ``caller`` counts what is asked.

    The policy's replies are counted as role ``responder``.
    """
    section = config.rl
    n_turns = section.n_turns or config.trees.n_turns
    sampler, user = StandInSampler(answer, config.seed), SimulatedUser(caller, config)
    rewards, cast = make_rewards(section.rewards), Cast(tuple(personas), tuple(personas[:N_EPISODES]), config.seed)
    plan = RolloutPlan(
        n_turns, section.credit, section.siblings, section.horizon, section.discount,
        continuations=section.trains_continuations, panel=config.trees.panel,
    )  # fmt: skip
    n = min(N_EPISODES, section.conversations)
    groups = await Rollout(user, sampler, rewards, plan, caller).run(cast.talks(0, n, (n_turns, section.forks)))
    per_iteration = sampler.usage.completion_tokens / n * section.conversations
    iterations = section.iterations
    if section.max_tokens:
        iterations = min(iterations, math.ceil(section.max_tokens / max(1.0, per_iteration)))
    scale = iterations * section.conversations / n
    n_held = (1 + math.ceil(iterations / section.eval_every)) * section.eval_personas / scale
    if round(n_held):
        plan = replace(plan, credit="none", all_terms=True, continuations=False)
        await Rollout(user, sampler, rewards, plan, caller).run(cast.held_talks()[: round(n_held)])
    stats = caller.stats_of("responder")
    stats.n_calls, stats.prompt_tokens = sampler.n, sampler.usage.prompt_tokens
    stats.completion_tokens = sampler.usage.completion_tokens
    return RLRehearsal(groups, scale, iterations)


def rl_line(config: Config, found: RLRehearsal) -> TrainingLine:
    """Tokens of all iterations, each counted once, as rows and packed; steps; memory of the largest pack."""
    from aloe.training.data import Lengths, sft_conversations
    from aloe.training.precision import pass_tokens
    from aloe.training.trees.packs import make_packs

    section: Any = config.rl
    rows = [
        {
            "messages": [*(m.model_dump() for m in g.state.messages), {"role": "assistant", "content": r.text or "."}],
            "tree_id": g.talk.tree_id,
        }
        for g in found.groups
        for r in g.replies
        if len(g.replies) > 1 or g.continues
    ]
    tokenizer = tokenizer_of(config)
    sizes, is_known = sizes_of(config, None, tokenizer), tokenizer is not None
    conversations = sft_conversations(rows, tokenizer or chunk_tokenizer(rows), Lengths(None, "cut"))
    trees = section.packing != "rows"
    budget = section.token_budget if sizes is None else pass_tokens(section, sizes.shape)
    packs, statistics = make_packs(conversations, seed=0, budget=budget, items=10**9, trees=trees)
    return TrainingLine(
        "rl",
        model_name(config),
        round(found.scale * statistics.n_items),
        round(found.scale * statistics.tokens_expanded),
        round(found.scale * statistics.tokens_packed),
        found.iterations * section.minibatches * section.passes,
        None if sizes is None else memory_gb(section, sizes, max(p.n_tokens for p in packs)),
        "tokenizer" if is_known else "characters",
        section.processes,
    )
