"""Who talks to the policy: personas for training and evaluation, and the simulated user behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aloe.config import Config
from aloe.dialogue.state import PathState, make_tree_id
from aloe.dialogue.user import Steering, next_user_message, says_goodbye
from aloe.errors import DataError, EndpointError
from aloe.models.caller import Caller
from aloe.rl.rollout import Episode, UserTurn
from aloe.seeding import derive_rng
from aloe.store.records import read_jsonl
from aloe.types import Persona

N_OTHERS = 7  # personas that the user might be just as well, beside the true one


class SimulatedUser:
    """The run's user model, held to its part as in stage ``trees``."""

    def __init__(self, caller: Caller, config: Config) -> None:
        self._caller, self._config = caller, config

    async def say(self, talk: Episode, state: PathState) -> UserTurn:
        """The next message. See ``rollout.User``."""
        trees = self._config.trees
        steering = Steering(trees.release, "", trees.cards, self._config.seed, talk.tree_id)
        text, reply = await next_user_message(self._caller, talk.persona, state, f"rl/{state.node_id}", steering)
        if text is None:
            raise EndpointError(f"the user gave no usable message, twice: {reply.text[:120]!r}", "see aloe journal")
        return UserTurn(text, trees.end_on_goodbye and says_goodbye(text))


@dataclass(frozen=True, slots=True)
class Cast:
    """Personas for training, and those held out."""

    train: tuple[Persona, ...]
    held: tuple[Persona, ...]
    seed: int

    def talks(self, iteration: int, n: int, plan: tuple[int, int]) -> list[Episode]:
        """The conversations of an iteration: every persona once before one comes again.

        Args:
            plan: turns of a conversation, and how many of them are forks.
        """
        found = []
        n_turns, n_forks = plan
        for number in range(n):
            round_, place = divmod(iteration * n + number, len(self.train))
            order = derive_rng(self.seed, "rl", "personas", round_).permutation(len(self.train))
            tree_id = make_tree_id(self.train[order[place]], round_, f"rl-{self.seed}")
            forks = derive_rng(self.seed, "rl", "forks", tree_id).permutation(n_turns)[:n_forks] + 1
            turns = forks.tolist() if n_forks else [1]
            found.append(self._talk(number, self.train[order[place]], tree_id, turns))
        return found

    def held_talks(self) -> list[Episode]:
        """One conversation with every persona that is held out: the same at every evaluation."""
        return [
            self._talk(number, persona, make_tree_id(persona, 0, f"rl-eval-{self.seed}"), ())
            for number, persona in enumerate(self.held)
        ]

    def _talk(self, number: int, persona: Persona, tree_id: str, forks: Sequence[int]) -> Episode:
        order = derive_rng(self.seed, "rl", "others", persona.persona_id).permutation(len(self.train))
        others = [self.train[i] for i in order[: N_OTHERS + 1] if self.train[i].persona_id != persona.persona_id]
        return Episode(number, persona, tree_id, frozenset(forks), tuple(others[:N_OTHERS]))


def read_people(data: str | Path, n_held: int, seed: int) -> Cast:
    """Training personas of a run directory or a file of personas; about ``n_held`` are held out by whole profiles.

    Benchmark personas are left alone.

    Raises:
        DataError: no such file, or too few personas.
    """
    place = Path(data)
    file = place / "personas" / "personas.jsonl" if place.is_dir() else place
    if not file.is_file():
        raise DataError(f"{file} does not exist", "give a run whose stage personas is done, or a personas.jsonl")
    found = sorted((p for p in read_jsonl(file, Persona) if p.split == "train"), key=lambda p: p.persona_id)
    profiles = sorted({p.profile_id for p in found})
    held: list[Persona] = []
    names: set[str] = set()
    for index in derive_rng(seed, "rl", "held-out").permutation(len(profiles)):
        if len(held) >= n_held:
            break
        names.add(profiles[index])
        held += [p for p in found if p.profile_id == profiles[index]][: n_held - len(held)]
    train = [p for p in found if p.profile_id not in names]
    if not train:
        raise DataError(
            f"{file} has {len(found)} training personas, and {n_held} are to be held out",
            "lower rl.eval_personas, or grow more personas",
        )
    return Cast(tuple(train), tuple(held), seed)
