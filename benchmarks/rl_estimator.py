"""Are the gradients of ``aloe rl`` those of its objective, and how noisy are they? On a toy that can be enumerated.

A policy of 25 logits answers with one of four replies of one or two tokens. The user answers with one of two messages,
or leaves, depending on the reply. Every expectation is a finite sum, so that the exact gradient is known. Rollout,
siblings, credit, batches and the loss are the package's own.

Figures: largest distance of the mean gradient from the exact one in standard errors, along it, over the unbiased
options; the same for a normalisation by turn number, which is biased; and by how much the variance is smaller than
REINFORCE's with the batch's mean return as baseline, at equally many generated tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from aloe.config import RLConfig
from aloe.dialogue.state import PathState
from aloe.rl.batch import make_batch, settle_advantages
from aloe.rl.rewards import Moment, Rewards
from aloe.rl.rollout import Episode, Rollout, RolloutPlan, Siblings, UserTurn
from aloe.rl.sampler import Draw, Draws, Wanted
from aloe.training.reinforce.loss import Objective, policy_loss
from aloe.types import Persona

N_TURNS = 3
REPLIES = ((0,), (1,), (2, 3), (2, 4))  # token ids; after token 2 comes a second one
LEAVES = (0.1, 0.7, 0.3, 0.5)  # chance that the user leaves after each reply
SAYS_ONE = (0.2, 0.5, 0.9, 0.4)  # chance of message 1, if it stays
STATES = tuple((turn, message) for turn in range(1, N_TURNS + 1) for message in (0, 1) if turn > 1 or message == 0)
NOBODY = Persona(persona_id="p", profile="-", personality="-", profile_id="a", personality_id="b")


def reward_of(turn: int, message: int, reply: int) -> float:
    """What a reply earns: no pattern, the same at every run."""
    return round(math.sin(3.1 * turn + 1.7 * message + 2.3 * reply), 3) + 0.5 * (reply == 2)


class ToyPolicy:
    """Logits of the first token (3) and, after token 2, of the second (2), by state."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.theta = torch.tensor(rng.normal(0, 0.7, (len(STATES), 5)), dtype=torch.float64, requires_grad=True)

    def token_log_probs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(states, 3) and (states, 2)."""
        return torch.log_softmax(self.theta[:, :3], 1), torch.log_softmax(self.theta[:, 3:], 1)

    def log_probs(self) -> torch.Tensor:
        """(states, replies)."""
        first, second = self.token_log_probs()
        return torch.stack([first[:, 0], first[:, 1], first[:, 2] + second[:, 0], first[:, 2] + second[:, 1]], 1)


class ToySampler:
    """Draws from the toy policy. See ``rl.sampler.Sampler``.

    Args:
        says: also by which probabilities, as a server that is not the trained model does.
    """

    def __init__(self, policy: ToyPolicy, rng: np.random.Generator, says: bool = False) -> None:
        self._summed = policy.log_probs().detach().exp().cumsum(1).numpy()
        self._tokens = [x.detach().numpy() for x in policy.token_log_probs()]
        self._rng, self._says = rng, says

    def _draw(self, state: int, pick: int) -> Draw:
        first, second = self._tokens
        logs = [first[state, REPLIES[pick][0]], *(second[state, t - 3] for t in REPLIES[pick][1:])]
        return Draw(list(REPLIES[pick]), f"reply {pick}", False, [float(v) for v in logs] if self._says else None)

    async def refresh(self, iteration: int) -> None:
        return None

    async def aclose(self) -> None:
        return None

    async def sample(self, wanted: Sequence[Wanted], temperature: float) -> list[Draws]:
        found = []
        for want in wanted:
            turn, message = sum(m["role"] == "user" for m in want.messages), int(want.messages[-1]["content"][1:])
            state = STATES.index((turn, message))
            picks = np.searchsorted(self._summed[state], self._rng.random(want.n) * self._summed[state, -1], "right")
            found.append(Draws([state], [self._draw(state, p) for p in picks]))
        return found


class ToyUser:
    """Leaves or answers, as the reply makes it likely. See ``rl.rollout.User``."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    async def say(self, talk: Episode, state: PathState) -> UserTurn | None:
        if not state.messages:
            return UserTurn("m0")
        reply = int(state.messages[-1].content.split()[1])
        if self._rng.random() < LEAVES[reply]:
            return None
        return UserTurn(f"m{int(self._rng.random() < SAYS_ONE[reply])}")


class ToyReward:
    name, worst, looks_ahead = "toy", -9.0, False

    async def score(self, moment: Moment) -> float | None:
        return reward_of(moment.state.turn, int(moment.said[-1][1:]), int(moment.reply.text.split()[1]))


def exact_gradient(policy: ToyPolicy, horizon: int, discount: float) -> torch.Tensor:
    """Sum over turns of E[d/dtheta E(return over ``horizon`` turns)], states as the present policy reaches them."""
    chances = policy.log_probs().exp()
    fixed = chances.detach()

    def value(turn: int, message: int, reply: int, left: int) -> float:
        total = reward_of(turn, message, reply)
        if left == 1 or turn == N_TURNS:
            return total
        for other, chance in ((0, 1 - SAYS_ONE[reply]), (1, SAYS_ONE[reply])):
            state = STATES.index((turn + 1, other))
            ahead = sum(float(fixed[state, r]) * value(turn + 1, other, r, left - 1) for r in range(4))
            total += discount * (1 - LEAVES[reply]) * chance * ahead
        return total

    reached = {(1, 0): 1.0}
    for turn in range(1, N_TURNS):
        for message in (0, 1):
            weight = reached.get((turn, message), 0.0)
            for reply in range(4) if weight else ():
                stay = weight * float(fixed[STATES.index((turn, message)), reply]) * (1 - LEAVES[reply])
                for other, chance in ((0, 1 - SAYS_ONE[reply]), (1, SAYS_ONE[reply])):
                    reached[turn + 1, other] = reached.get((turn + 1, other), 0.0) + stay * chance
    total = torch.zeros((), dtype=torch.float64)
    for (turn, message), weight in reached.items():
        for reply in range(4):
            worth = value(turn, message, reply, horizon or N_TURNS)
            total = total + weight * worth * chances[STATES.index((turn, message)), reply]
    return torch.autograd.grad(total, policy.theta)[0]


def exact_objective(policy: ToyPolicy) -> torch.Tensor:
    """Expected sum of rewards of a conversation, with its gradient."""
    chances = policy.log_probs().exp()

    def ahead(turn: int, message: int) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for reply in range(4):
            worth = torch.tensor(reward_of(turn, message, reply), dtype=torch.float64)
            if turn < N_TURNS:
                later = (1 - SAYS_ONE[reply]) * ahead(turn + 1, 0) + SAYS_ONE[reply] * ahead(turn + 1, 1)
                worth = worth + (1 - LEAVES[reply]) * later
            total = total + chances[STATES.index((turn, message)), reply] * worth
        return total

    return ahead(1, 0)


@dataclass(frozen=True)
class Estimates:
    """Gradients of independent batches, (batches, parameters), and the tokens that each batch took on average."""

    gradients: np.ndarray
    tokens: float

    def distance(self, exact: torch.Tensor) -> tuple[float, float]:
        """The mean's distance from ``exact`` in standard errors: along it; and the mean square over all parameters."""
        goal = exact.numpy().ravel()
        along = self.gradients @ goal / np.linalg.norm(goal)
        gap = float(along.mean() - np.linalg.norm(goal)) / (along.std(ddof=1) / math.sqrt(len(along)))
        errors = self.gradients.std(0, ddof=1) / math.sqrt(len(self.gradients))
        moves = errors > 1e-12
        each = (self.gradients.mean(0) - goal)[moves] / errors[moves]
        return gap, float((each**2).mean())

    def from_zero(self) -> float:
        """The mean's distance from no gradient at all, in standard errors: mean square over all parameters."""
        errors = self.gradients.std(0, ddof=1) / math.sqrt(len(self.gradients))
        moves = errors > 1e-12
        return float(((self.gradients.mean(0)[moves] / errors[moves]) ** 2).mean())

    def noise(self) -> float:
        """Total variance times tokens: what is the same for twice as many conversations."""
        return float(self.gradients.var(0, ddof=1).sum()) * self.tokens


def conversations(
    sampler: ToySampler, plan: RolloutPlan, n: int, rng: np.random.Generator, forks: int = 0
) -> list[Siblings]:
    """``n`` conversations by the package's own rollout."""
    talks = []
    for number in range(n):
        drawn = (rng.permutation(N_TURNS)[:forks] + 1).tolist() if forks else [1]
        talks.append(Episode(number, NOBODY, f"t{number}", frozenset(drawn)))
    rewards = Rewards({"toy": 1.0}, (ToyReward(),))
    return asyncio.run(Rollout(ToyUser(rng), sampler, rewards, plan).run(talks))


def gradients_of(
    policy: ToyPolicy, section: RLConfig, n_batches: int, size: int, *, seed: int = 1, drawn_by: ToyPolicy | None = None
) -> Estimates:
    """Gradients of the package's loss, in the units of ``exact_gradient``.

    Args:
        drawn_by: another policy, which draws the replies and says by which probabilities.
    """
    rng = np.random.default_rng(seed)
    sampler = ToySampler(drawn_by or policy, rng, says=drawn_by is not None)
    plan = RolloutPlan(
        N_TURNS, section.credit, section.siblings, section.horizon, section.discount,
        continuations=section.trains_continuations,
    )  # fmt: skip
    found, tokens = [], 0
    for number in range(n_batches):
        groups = conversations(sampler, plan, size, rng, section.forks)
        tokens += sum(len(r.draw.ids) for g in groups for r in g.replies)
        batch = make_batch(groups, section, N_TURNS, seed + number)
        settle_advantages(batch, section)
        found.append(_gradient(policy, section, batch.drawn, size))
    return Estimates(np.array(found), tokens / n_batches)


def _gradient(policy: ToyPolicy, section: RLConfig, drawn: Sequence, size: int) -> np.ndarray:
    """Minus the loss's gradient, times the constants that it is divided by."""
    first, second = policy.token_log_probs()
    rows = [(row[at - 1], row[at:]) for d in drawn for row, at in zip(d.rows.rows, d.rows.starts, strict=True)]
    states = torch.tensor([state for state, _ in rows])
    opening = torch.tensor([reply[0] for _, reply in rows])
    has_second = torch.tensor([len(reply) > 1 for _, reply in rows])
    closing = torch.tensor([reply[-1] - 3 if len(reply) > 1 else 0 for _, reply in rows])
    log_probs = torch.stack([first[states, opening], second[states, closing] * has_second], 1)
    mask = torch.stack([torch.ones_like(has_second), has_second], 1)
    gains = torch.tensor([a for d in drawn for a in d.advantages], dtype=torch.float64)
    weights = torch.tensor([w for d in drawn for w in d.weights], dtype=torch.float64)
    lengths = mask.sum(1).double().mean()
    objective = Objective.of(section, float(lengths))
    sampled = [row for d in drawn for row in d.sampled]
    other = torch.tensor([[*row, 0.0][:2] for row in sampled]) if sampled[0] is not None else None
    losses = policy_loss(log_probs, log_probs.detach(), mask, gains, objective, drawn=other)[0]
    scale = section.max_new_tokens * N_TURNS / size
    return -scale * torch.autograd.grad((losses * weights).sum(), policy.theta)[0].numpy().ravel()


def reinforce(policy: ToyPolicy, n_batches: int, size: int, by_turn: bool, seed: int = 1) -> Estimates:
    """Plain REINFORCE on returns: minus the others' mean return, or normalised by turn number (biased).

    Args:
        by_turn: minus the mean and divided by the standard deviation of all returns at that turn.
    """
    rng = np.random.default_rng(seed)
    plan = RolloutPlan(N_TURNS, "none", 1)
    found, tokens = [], 0
    for _ in range(n_batches):
        groups = conversations(ToySampler(policy, rng), plan, size, rng)
        tokens += sum(len(g.replies[0].draw.ids) for g in groups)
        earned: dict[int, dict[int, float]] = defaultdict(dict)
        for group in groups:
            for turn in range(1, group.turn + 1):
                earned[group.talk.number][turn] = earned[group.talk.number].get(turn, 0.0) + (
                    group.replies[0].reward or 0.0
                )
        log_probs = policy.log_probs()
        total = torch.zeros((), dtype=torch.float64)
        whole = np.array([earned[number][1] for number in range(size)])
        for group in groups:
            gain = earned[group.talk.number][group.turn]
            if by_turn:
                same = np.array([e[group.turn] for e in earned.values() if group.turn in e])
                gain = (gain - same.mean()) / (same.std() + 1e-4)
            else:
                gain -= (whole.sum() - whole[group.talk.number]) / (size - 1)
            reply = int(group.replies[0].text.split()[1])
            total = total + gain * log_probs[group.prompt[0], reply] / size
        found.append(torch.autograd.grad(total, policy.theta)[0].numpy().ravel())
    return Estimates(np.array(found), tokens / n_batches)


@dataclass(frozen=True)
class Asking:
    """A world in which a question earns nothing at once, and its answer makes the next reply worth more."""

    now: float = 0.3  # what any other reply earns
    later: float = 1.5  # what it earns after a question of the turn before

    async def say(self, talk: Episode, state: PathState) -> UserTurn | None:
        has_asked = bool(state.messages) and state.messages[-1].content == "reply 0"
        return UserTurn(f"m{int(has_asked)}")

    async def score(self, moment: Moment) -> float | None:
        if moment.reply.text == "reply 0":
            return 0.0
        return self.later if moment.said[-1] == "m1" else self.now


class AskingReward(ToyReward):
    def __init__(self, world: Asking) -> None:
        self.score = world.score  # type: ignore[method-assign]


def learn_to_ask(credit: str, seed: int, n_steps: int = 60, size: int = 16) -> float:
    """Mean reward of a conversation after training a toy policy in ``Asking`` by one kind of credit."""
    world, policy, rng = Asking(), ToyPolicy(seed), np.random.default_rng(seed)
    section = RLConfig(max_new_tokens=2, siblings=4, credit=credit)  # type: ignore[arg-type]
    rewards = Rewards({"toy": 1.0}, (AskingReward(world),))
    optimiser = torch.optim.Adam([policy.theta], lr=0.1)

    def talk(n: int, siblings: int, kind: str) -> list[Siblings]:
        plan = RolloutPlan(N_TURNS, kind, siblings, continuations=section.trains_continuations)
        talks = [Episode(i, NOBODY, f"t{i}", frozenset([int(rng.integers(N_TURNS)) + 1])) for i in range(n)]
        return asyncio.run(Rollout(world, ToySampler(policy, rng), rewards, plan).run(talks))

    for _ in range(n_steps):
        batch = make_batch(talk(size, 4, credit), section, N_TURNS, seed)
        settle_advantages(batch, section)
        optimiser.zero_grad()
        gradient = _gradient(policy, section, batch.drawn, size)
        policy.theta.grad = -torch.as_tensor(gradient).view_as(policy.theta)
        optimiser.step()
    groups = talk(400, 1, "none")
    return sum(r.reward or 0.0 for g in groups for r in g.replies) / 400


TURN = {"max_new_tokens": 2, "siblings": 4}
RETURN = {**TURN, "credit": "return"}
UNBIASED: dict[str, tuple[dict, int, float]] = {  # settings, horizon and discount of the exact gradient
    "turn": (TURN, 1, 1.0),
    "turn, two siblings": ({**TURN, "siblings": 2}, 1, 1.0),
    "turn, ratio of the reply": ({**TURN, "ratio": "sequence"}, 1, 1.0),
    "turn, geometric ratio": ({**TURN, "ratio": "geometric"}, 1, 1.0),
    "return": (RETURN, 0, 1.0),
    "return, whole conversations": ({**RETURN, "forks": 0}, 0, 1.0),
    "return, eight siblings": ({**RETURN, "siblings": 8}, 0, 1.0),
    "return, forks alone": ({**RETURN, "continuations": False}, 0, 1.0),
    "return, two forks": ({**RETURN, "forks": 2}, 0, 1.0),
    "return, all forks": ({**RETURN, "forks": 3, "siblings": 2}, 0, 1.0),
    "return, two turns, discounted": ({**RETURN, "horizon": 2, "discount": 0.7}, 2, 0.7),
}
BIASED: dict[str, dict] = {
    "grpo": {**TURN, "estimator": "grpo"},
    "divided by each reply's length": {**TURN, "normaliser": "reply"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=400)
    parser.add_argument("--size", type=int, default=24, help="conversations of a batch")
    options = parser.parse_args()
    policy, worst = ToyPolicy(), 0.0
    noise: dict[str, float] = {}
    for name, (settings, horizon, discount) in UNBIASED.items():
        found = gradients_of(policy, RLConfig(**settings), options.batches, options.size)
        along, square = found.distance(exact_gradient(policy, horizon, discount))
        noise[name] = found.noise()
        worst = max(worst, abs(along))
        print(f"{name}: {along:+.2f} standard errors along the gradient, mean square {square:.2f}", flush=True)
    for name, settings in BIASED.items():
        found = gradients_of(policy, RLConfig(**settings), options.batches, options.size)
        along, square = found.distance(exact_gradient(policy, 1, 1.0))
        print(f"biased, {name}: {along:+.2f}, mean square {square:.2f}", flush=True)
    shuffled = gradients_of(policy, RLConfig(**TURN, shuffle=True), options.batches, options.size)
    print(
        f"turn, rewards shuffled among siblings: mean square {shuffled.from_zero():.2f} from no gradient at all; "
        f"{shuffled.noise() / noise['turn']:.2f} times the variance of turn",
        flush=True,
    )
    exact = exact_gradient(policy, 0, 1.0)
    plain = reinforce(policy, options.batches, 6 * options.size, by_turn=False)
    control = reinforce(policy, options.batches, options.size, by_turn=True).distance(exact)
    print(f"REINFORCE: {plain.distance(exact)[0]:+.2f}; normalised by turn number: {control[0]:+.2f}")
    figures = {
        "worst_distance": worst,
        "by_turn_number_distance": control[0],
        "variance_reinforce_over_return": plain.noise() / noise["return"],
        "variance_reinforce_over_whole": plain.noise() / noise["return, whole conversations"],
        "variance_reinforce_over_turn": plain.noise() / noise["turn"],
        "shuffled_square_from_zero": shuffled.from_zero(),
        "variance_shuffled_over_turn": shuffled.noise() / noise["turn"],
    }
    print(json.dumps({"benchmark": "rl_estimator", "figures": {k: round(v, 3) for k, v in figures.items()}}))


if __name__ == "__main__":
    main()
