"""Casts the user of a conversation: of a mixture of dialects, one is drawn for each tree from (seed, tree)."""

from __future__ import annotations

from collections.abc import Sequence

from aloe.config import ModelConfig
from aloe.seeding import derive_seed
from aloe.world.lexicon.mixture import is_mixture, settle

_WORLD_USER = "world:user"


class Casting:
    """Who plays the user in which tree.

    Without a mixture nobody is cast, and each message is asked of one of the role's models, as ever. The dialect that
    was drawn stands in the model's name, and so beside every message of the tree.
    """

    def __init__(self, models: Sequence[ModelConfig], seed: int) -> None:
        self._models = models
        self._seed = seed
        self._made: dict[tuple[int, str], ModelConfig] = {}
        self._is_mixed = any(m.uri.startswith(_WORLD_USER) and is_mixture(m.uri) for m in models)

    def user_of(self, tree_id: str) -> ModelConfig | None:
        """The model that plays the user throughout the tree; None: whoever the role has."""
        if not self._is_mixed:
            return None
        index = self._pick(derive_seed(self._seed, "pick", "user", tree_id) / 2**31)
        model = self._models[index]
        uri = settle(model.uri, derive_seed(self._seed, "dialect", tree_id) / 2**31)
        return self._made.setdefault((index, uri), model.model_copy(update={"uri": uri}))

    def _pick(self, point: float) -> int:
        total = sum(model.weight for model in self._models)
        for index, model in enumerate(self._models):
            point -= model.weight / total
            if point < 0:
                return index
        return len(self._models) - 1
