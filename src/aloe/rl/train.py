"""The loop of ``aloe rl``: conversations under the current policy, rewards, advantages, steps, in one process each.

An iteration depends on the seed, its number and the weights before it, and on nothing else: a training that was killed
continues from its last state and comes to the same weights. With several processes each has a part of the
conversations; gradients and figures are summed.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aloe.config import Config, RLConfig, digest
from aloe.errors import ConfigError, EndpointError
from aloe.models.caller import Caller
from aloe.models.local.checkpoint import model_card, save_checkpoint
from aloe.models.local.packaged import resolve
from aloe.models.uri import is_in_process
from aloe.prompts import PromptSet
from aloe.rl.batch import make_batch, settle_advantages
from aloe.rl.evaluate import evaluate
from aloe.rl.people import Cast, SimulatedUser, read_people
from aloe.rl.records import Records
from aloe.rl.replay import FOLDER, NAMES, replay_rows
from aloe.rl.rewards import Rewards, make_rewards
from aloe.rl.rollout import Rollout, RolloutPlan, Siblings
from aloe.rl.sampler import PolicySampler, Sampler
from aloe.rl.served import ServedSampler
from aloe.training import trl_run
from aloe.training.fit import source_of
from aloe.training.reinforce.policy import Policy
from aloe.training.reinforce.state import load_state, save_state
from aloe.training.reinforce.together import all_sums, gathered

Progress = Callable[[float, float | None, str, str], None]
#: Settings that a training may be continued with, and what did not exist from the beginning, as it was then.
NO_MATTER = {
    "iterations", "max_tokens", "max_minutes", "checkpoint_every", "replay", "server", "server_model", "server_key_env",
    "server_calls", "weights_dir", "weights_command", "max_mismatch",
}  # fmt: skip
LATER = {"schedule": "constant", "importance_cap": 2.0, "processes": 1}
TITLE = "A chat model tuned by reinforcement learning against a simulated user (aloe, stage `rl`)."


@dataclass(slots=True)
class Counters:
    """What a training has used. ``iteration``: how many are done."""

    iteration: int = 0
    n_tokens: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {"iteration": self.iteration, "n_tokens": self.n_tokens, "seconds": self.seconds}


def train_rl(
    section: RLConfig,
    data: str | Path,
    model_path: str | Path,
    out_dir: str | Path,
    *,
    config: Config,
    seed: int = 0,
    progress: Progress | None = None,
    journal: Path | None = None,
    allow_failed: float = 0.0,
) -> dict[str, Any]:
    """Train the model at ``model_path`` against simulated users and save it to ``out_dir``.

    Continues after an interruption.

    Args:
        data: a run directory, or a file of personas.
        config: roles, prompts and the manner of conversations (sections ``roles`` and ``trees``).
        journal: where answers of models that cost something are kept; None: beside the checkpoint. Nothing is kept of
            the simulated world's.
        allow_failed: share of an iteration's or evaluation's conversations in which a call may fail, in [0, 1].

    Returns:
        Counts, the first and the last evaluation, seconds.

    Raises:
        DataError: no personas or no model there, or the loss diverged. ConfigError: settings that exclude each other.
        EndpointError: calls failed in more conversations than may; the state is kept and the same call continues.
    """
    if not section.iterations:
        raise ConfigError("rl.iterations is 0: there is nothing to train", "set rl.iterations, for example to 50")
    started, out = time.monotonic(), Path(out_dir)
    rewards, path = make_rewards(section.rewards), resolve(model_path)
    people = read_people(data, section.eval_personas, seed)
    source = source_of(path)
    ids = [p.persona_id for p in (*people.train, *people.held)]
    kept = {k: v for k, v in section.model_dump(mode="json", exclude=NO_MATTER).items() if LATER.get(k) != v}
    fingerprint = digest([kept, seed, source, ids, _spoken(config)])
    trl_run.claim(out, fingerprint)
    with trl_run.quietly():
        policy = Policy(section, path)
        loop = _Loop(section, policy, people, rewards, config, out, seed, progress, allow_failed)
        asyncio.run(loop.run(_journal(config, journal, out)))
    summary = loop.summary(round(time.monotonic() - started, 2))
    if trl_run.processes().is_main_process:
        text = model_card("aloe rl", TITLE, {**kept, **summary})
        made_by = {"stage": "rl", "seed": seed, "config": kept | {"iterations": section.iterations}, "from": source}
        save_checkpoint(policy.model, policy.tokenizer, out, text, made_by)
        shutil.rmtree(out / trl_run.WORK, ignore_errors=True)
    trl_run.processes().wait_for_everyone()
    return summary


def _spoken(config: Config) -> Any:
    """What of the config shapes the conversations."""
    trees = config.trees
    roles = [[m.uri, m.temperature, m.top_p] for m in (*config.roles.user, *config.roles.judge)]
    return [roles, trees.n_turns, trees.release, trees.cards, trees.end_on_goodbye, trees.panel, config.prompt_set]


def _journal(config: Config, journal: Path | None, out: Path) -> Path | None:
    """A file where answers cost something: None (in memory) for the simulated world's."""
    if all(is_in_process(m) and m.uri.startswith("world:") for m in (*config.roles.user, *config.roles.judge)):
        return None
    state = trl_run.processes()
    path = journal or out / "journal.sqlite"
    return path if state.num_processes == 1 else path.with_stem(f"{path.stem}-{state.process_index}")


class _Loop:
    """One training while it runs."""

    def __init__(
        self, section: RLConfig, policy: Policy, people: Cast, rewards: Rewards, config: Config, out: Path,
        seed: int, progress: Progress | None, allow_failed: float,
    ) -> None:  # fmt: skip
        self.section, self.policy, self.people, self.rewards = section, policy, people, rewards
        self.config, self.out, self.seed, self.progress = config, out, seed, progress
        self.allow_failed = allow_failed
        self.sampler: Sampler = (
            ServedSampler(policy, section, out / trl_run.WORK, seed)
            if section.server
            else PolicySampler(policy, section.max_new_tokens, seed)
        )
        self.n_turns = section.n_turns or config.trees.n_turns
        self.state = trl_run.processes()
        kept = load_state(out / trl_run.WORK, policy)
        self.counters = Counters() if kept is None else Counters(kept["iteration"], kept["n_tokens"], kept["seconds"])
        more = [f"{FOLDER}/{name}" for name in NAMES] if section.replay else []
        self.records = Records(out, self.counters.iteration, more) if self.state.is_main_process else None
        self.state.wait_for_everyone()
        self.began = time.monotonic() - self.counters.seconds
        self.stopped = ""

    async def run(self, journal: Path | None) -> None:
        prompts = PromptSet(self.config.prompts_dir, self.config.prompt_set)
        self.caller = Caller.open(self.config, journal, seed=self.seed, prompts=prompts)
        self.user = SimulatedUser(self.caller, self.config)
        try:
            if self.section.server:
                await self.sampler.refresh(self.counters.iteration)
            while self.counters.iteration < self.section.iterations and not self._is_spent():
                if self.counters.iteration % self.section.eval_every == 0:
                    await self._evaluate()
                await self._iterate()
                is_last = self.counters.iteration == self.section.iterations
                if self.counters.iteration % self.section.checkpoint_every == 0 and not is_last:
                    self._save()
            await self._evaluate()
        finally:
            await self.sampler.aclose()
            await self.caller.aclose()

    def _is_spent(self) -> bool:
        """Whether a budget is used up; decided by the first process for all."""
        tokens, minutes = self.section.max_tokens, self.section.max_minutes
        over = [bool(tokens) and self.counters.n_tokens >= tokens, bool(minutes) and self._seconds() >= 60 * minutes]
        over = [bool(v) for v in all_sums([float(o and self.state.is_main_process) for o in over], trl_run.device())]
        self.stopped = "max_tokens" if over[0] else "max_minutes" if over[1] else ""
        return any(over)

    def _rate(self) -> float:
        """Share of the learning rate that this iteration has; minutes don't count, they would not repeat."""
        if self.section.schedule == "constant":
            return 1.0
        used = [self.counters.iteration / self.section.iterations]
        if self.section.max_tokens:
            used.append(self.counters.n_tokens / self.section.max_tokens)
        return 1.0 - max(used)

    def _seconds(self) -> float:
        return time.monotonic() - self.began

    def _save(self) -> None:
        if self.state.is_main_process:
            self.counters.seconds = self._seconds()
            save_state(self.out / trl_run.WORK, self.policy, self.counters.as_dict())
        self.state.wait_for_everyone()

    async def _iterate(self) -> None:
        """Conversations, then steps on them."""
        section, started = self.section, time.monotonic()
        plan = RolloutPlan(
            self.n_turns, section.credit, section.siblings, section.horizon, section.discount, section.temperature,
            continuations=section.trains_continuations, panel=self.config.trees.panel,
        )  # fmt: skip
        talks = self.people.talks(self.counters.iteration, section.conversations, (self.n_turns, section.forks))
        rollout = Rollout(self.user, self.sampler, self.rewards, plan, self.caller)
        groups = await rollout.run(talks[self.state.process_index :: self.state.num_processes])
        self._refuse_failed(rollout.failed, len(talks))
        rolled = time.monotonic()
        batch = make_batch(groups, section, self.n_turns, self.seed)
        self.policy.measure(batch.drawn)
        mismatch = self.policy.mismatch(batch.drawn)
        self._refuse_mismatch(mismatch)
        settle_advantages(batch, section)
        figures = self.policy.update(batch.drawn, len(talks), self.counters.iteration, self.seed, self._rate())
        seconds = rolled - started, time.monotonic() - rolled
        self.counters.iteration += 1
        self._keep_replay(groups)
        self._record(figures | mismatch | self._counts(batch.figures(self.rewards.weights), rollout, seconds))
        try:
            await self.sampler.refresh(self.counters.iteration)
        except EndpointError:  # in all processes
            self._save()
            raise

    def _keep_replay(self, groups: list[Siblings]) -> None:
        """The replies of the iteration just done, of all processes in the order of the conversations."""
        if not self.section.replay:
            return
        rows = gathered([(g.talk.number, replay_rows([g], self.counters.iteration)) for g in groups])
        if self.records is None:
            return
        for _, found in sorted(rows, key=lambda row: row[0]):
            for name, some in found.items():
                for row in some:
                    self.records.add(f"{FOLDER}/{name}", row)

    def _refuse_mismatch(self, found: dict[str, float]) -> None:
        """Nothing is trained on replies of a model that is not the policy."""
        gap = found.get("mismatch", 0.0)
        if gap <= self.section.max_mismatch:
            return
        self._save()
        raise EndpointError(
            f"after iteration {self.counters.iteration:,} the log-probabilities that {self.section.server} gives for "
            f"its replies are {gap:.3g} nats per token from the trained model's; rl.max_mismatch is "
            f"{self.section.max_mismatch:g}",
            "see that it has loaded the weights (rl.weights_command), and that its log-probabilities are those at "
            "rl.temperature (vLLM: --logprobs-mode processed_logprobs)",
        )

    def _refuse_failed(self, failed: dict[int, str], n_talks: int) -> None:
        """Nothing is trained or reported on a part of the conversations, unless that is allowed."""
        found = gathered(sorted(failed.items()))
        if len(found) <= self.allow_failed * n_talks:
            return
        self._save()
        raise EndpointError(
            f"calls failed in {len(found):,} of {n_talks:,} conversations after iteration {self.counters.iteration:,}; "
            f"the first: {found[0][1][:500]}",
            "correct the cause and run the same command again, which continues there",
        )

    def _counts(self, sums: dict[str, float], rollout: Rollout, seconds: tuple[float, float]) -> dict[str, float]:
        """What was drawn, over all processes; means of what is counted by reply."""
        names = ("n_failed", "n_unscored", "n_tokens", "n_cut", "n_too_long")
        together = all_sums([*sums.values(), *(getattr(rollout, name) for name in names)], trl_run.device())
        found = dict(zip((*sums, *names), together, strict=True))
        self.counters.n_tokens += int(found["n_tokens"])
        n_replies, n_credited = max(1.0, found.pop("n_replies")), max(1.0, found.pop("n_credited"))
        trained = found.pop("n_trained_tokens")
        counts = {name: int(found.pop(name)) for name in names}
        squares = found.pop("advantage_squares")
        means = {name: total / n_replies for name, total in found.items()}
        return {
            **means,
            "advantage_std": (squares / n_credited) ** 0.5,
            "n_replies": int(n_replies),
            **counts,
            "reply_tokens": counts["n_tokens"] / n_replies,
            "seconds_rollout": seconds[0],
            "seconds_training": seconds[1],
            "tokens_per_second_rollout": counts["n_tokens"] / seconds[0],
            "tokens_per_second_training": trained * self.section.passes / seconds[1],
        }

    def _record(self, figures: dict[str, float]) -> None:
        row = {"step": self.counters.iteration, **{name: round(v, 6) for name, v in figures.items()}}
        if self.records is not None:
            self.records.add("metrics", row)
        if self.progress is not None:
            done, total = self.counters.iteration, self.section.iterations
            self.progress(done, total, "iterations", f"reward {row.get('reward', float('nan')):.3f}")

    async def _evaluate(self) -> None:
        if not self.people.held:
            return
        plan = RolloutPlan(
            self.n_turns, "none", 1, temperature=self.section.eval_temperature, all_terms=True,
            panel=self.config.trees.panel,
        )  # fmt: skip
        rollout = Rollout(self.user, self.sampler, self.rewards, plan, self.caller)
        found, samples = await evaluate(self.people, rollout, self.rewards, plan.n_turns)
        self._refuse_failed(rollout.failed, len(self.people.held))
        step = self.counters.iteration
        if self.records is not None:
            self.records.add("evaluations", {"step": step, "n_tokens": self.counters.n_tokens, **found})
            for sample in samples:
                self.records.add("samples", {"step": step, **sample})

    def summary(self, seconds: float) -> dict[str, Any]:
        """Counts, and the trained and reported rewards before and after."""
        found: dict[str, Any] = {
            "n_iterations": self.counters.iteration,
            "n_steps": self.policy.n_steps,
            "n_generated_tokens": self.counters.n_tokens,
            "attention": self.policy.backend,
            **({"stopped": self.stopped} if self.stopped else {}),
        }
        if self.records is not None:
            evaluations = self.records.read("evaluations")
            for when, row in (("before", evaluations[:1]), ("after", evaluations[-1:])):
                found[when] = {name: v["mean"] for r in row for name, v in r["rewards"].items()}
        return {**found, "seconds": seconds}
