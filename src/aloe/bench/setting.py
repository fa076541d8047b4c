"""Under which user, judges, prompts and personas a result was made: what makes two results comparable, by digest.

A score means something beside others of the same setting only: the choice of the user model alone moves a board.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aloe.config import Config, ModelConfig, digest
from aloe.prompts import PromptSet
from aloe.prompts.catalog import CATALOG
from aloe.types import Persona

_ROLES = ("user", "judge", "responder")
_NOT_ASKED = {"models", "judge", "user", "personas", "n_personas", "n_bootstrap", "gain", "full"}
#: What a setting names, in the order in which differences are told.
PARTS: Mapping[str, str] = {
    "user": "users", "dialect": "dialects of the user", "judges": "judges", "panel": "panels of judges",
    "prompts": "prompts", "conversation": "rules of the conversation", "personas": "personas",
}  # fmt: skip
BOARD = "board"


def setting_of(config: Config, prompts: PromptSet, personas: Sequence[Persona], user: str = "") -> dict[str, str]:
    """The parts of a setting, most of them as digests, and ``board``, the digest of all of them.

    Args:
        user: where it is not one of the config's (logged conversations): what stands for it.
    """
    bench = config.bench.model_dump(mode="json", exclude={*_NOT_ASKED, *config.bench.unset})
    asked = prompts.stamp(config.bench.later_prompts)
    found = {
        "user": user or digest(_actors(config.roles.user)),
        "dialect": "" if user else ", ".join(filter(None, map(_dialect_of, config.roles.user))),
        "judges": digest(_actors(config.roles.judge)),
        "panel": config.bench.panel if len(config.roles.judge) > 1 else "",
        "prompts": digest({name: stamp for name, stamp in asked.items() if CATALOG[name].role in _ROLES}),
        "conversation": digest(bench),
        "personas": digest_of_people(personas),
    }
    return {**found, BOARD: digest(found)}


def digest_of_people(personas: Sequence[Persona]) -> str:
    """Who was benchmarked: ids, texts and what changes of them, in their order."""
    return digest(
        [p.model_dump(mode="json", include={"persona_id", "profile", "personality", "timeline"}) for p in personas]
    )


def _actors(models: Sequence[ModelConfig]) -> list[object]:
    return [[m.uri, m.temperature, m.top_p, m.max_tokens, m.weight] for m in models]


def _dialect_of(model: ModelConfig) -> str:
    parts = model.uri.partition("?")[2].split("&") if model.uri.startswith("world:user") else []
    return next((part.removeprefix("dialect=") for part in parts if part.startswith("dialect=")), "")


def differences(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Which parts differ between settings, in words; results that name none are not compared."""
    known = [setting for setting in settings if setting]
    return [what for part, what in PARTS.items() if len({setting.get(part, "") for setting in known}) > 1]
