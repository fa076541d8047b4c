"""The training methods, one row each, used by the commands, the stages, the plan and the report.

A method is a function ``train(section, data, model, out, *, seed, progress, profiles)`` that reads rows of a data set,
starts from a model, leaves a checkpoint in HF layout and returns a summary. Plug-ins bring more of them: entry points
of the group ``aloe.methods``, each a :class:`Method`; their settings stand in a recipe's ``[methods.NAME]``.
Nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from aloe.errors import ConfigError, nearest

if TYPE_CHECKING:
    from aloe.config import Config, ModelTraining

ENTRY_POINTS = "aloe.methods"
BASE = "base"  # the checkpoint that stage base leaves
PEOPLE = "personas"  # what a method learns from that talks with simulated users
ROLLOUT_FROM = "sft"  # the checkpoint whose own replies stage rollout draws


@dataclass(frozen=True, slots=True)
class Method:
    """A way to train.

    Attributes:
        name: of the command, of the stage, of the checkpoint that it leaves, and of its section.
        help: one line for ``aloe --help``.
        train: ``"package.module:function"``, or the function itself.
        section: class of its settings, or ``"package.module:class"``; a plug-in's stand in ``[methods.NAME]``.
        rows: what it learns from: ``sft`` (column ``messages``), ``dpo`` (``prompt``, ``chosen``, ``rejected``) or
            ``personas``, with whom it talks.
        start: the run's checkpoint that it starts from.
        needs: stages whose files it reads.
        control: name of a second checkpoint, trained with ``preference=False``, for comparison; empty: none.
        example: a command line that uses it without a run.
    """

    name: str
    help: str
    train: str | Callable[..., dict[str, Any]]
    section: str | type[ModelTraining]
    rows: str = "sft"
    start: str = BASE
    needs: tuple[str, ...] = ("export", "base")
    control: str = ""
    example: str = ""

    @property
    def leaves(self) -> tuple[str, ...]:
        """The checkpoints that it makes."""
        return (self.name, self.control) if self.control else (self.name,)

    @property
    def is_built_in(self) -> bool:
        return self in METHODS

    def load(self) -> Callable[..., dict[str, Any]]:
        """The function that trains."""
        found: Callable[..., dict[str, Any]] = _load(self.train)
        return found

    def section_type(self) -> type[ModelTraining]:
        """The class of its settings."""
        found: type[ModelTraining] = _load(self.section)
        return found

    def settings(self, config: Config) -> Any:
        """Its section of ``config``.

        Raises:
            ConfigError: a plug-in's settings that do not fit its section.
        """
        if self.is_built_in:
            return getattr(config, self.name)
        from pydantic import ValidationError

        section = self.section_type()
        try:
            return section.model_validate(config.methods.get(self.name, {}))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, ("methods", self.name, *first["loc"])))
            raise ConfigError(
                f"{where} = {first['input']!r}: {first['msg'].lower()}",
                f"valid in [methods.{self.name}]: {', '.join(section.model_fields)}",
            ) from None


def _load(place: Any) -> Any:
    """What ``"package.module:name"`` names; anything else is it already."""
    if not isinstance(place, str):
        return place
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


METHODS: tuple[Method, ...] = (
    Method(
        "sft",
        "supervised fine-tuning on preferred replies",
        "aloe.training.sft:train_sft",
        "aloe.config:SFTConfig",
        example="aloe sft --data exported/ --model Qwen/Qwen3-0.6B --out checkpoints/sft --sft.lora_rank 16",
    ),
    Method(
        "dpo",
        "preference optimisation from the SFT checkpoint",
        "aloe.training.dpo:train_dpo",
        "aloe.config:DPOConfig",
        rows="dpo",
        start="sft",
        needs=("export", "sft", "rollout"),
        control="sft-control",
        example="aloe dpo --data exported/ --model checkpoints/sft --out checkpoints/dpo --dpo.beta 0.1",
    ),
    Method(
        "rl",
        "reinforcement learning against the simulated user, with credit by turn",
        "aloe.rl.train:train_rl",
        "aloe.config:RLConfig",
        rows=PEOPLE,
        start="sft",
        needs=("personas", "sft"),
        example="aloe rl --data runs/demo --model runs/demo/checkpoints/sft --out checkpoints/rl --rl.iterations 50",
    ),
)
CHECKPOINTS = (BASE, *(m.name for m in METHODS), *(m.control for m in METHODS if m.control))  # as they are shown


@lru_cache(maxsize=1)
def plug_ins() -> dict[str, Method]:
    """The methods of installed plug-ins by name.

    Raises:
        ConfigError: one that is not a Method, or takes a name that is in use.
    """
    from aloe.config.plugins import load_plug_in, plug_in_names  # not needed to list the built-in methods

    found: dict[str, Method] = {}
    for name in plug_in_names(ENTRY_POINTS):
        method = load_plug_in(ENTRY_POINTS, name)
        if not isinstance(method, Method):
            raise ConfigError(
                f"plug-in '{name}' ({ENTRY_POINTS}) provides a {type(method).__name__}, expected a Method",
                "correct or remove the plug-in",
            )
        if method.name in {m.name for m in METHODS} | set(found):
            raise ConfigError(
                f"plug-in '{name}': a method '{method.name}' already exists", "rename or remove the plug-in"
            )
        found[method.name] = method
    return found


def all_methods() -> tuple[Method, ...]:
    """The built-in methods, then those of plug-ins."""
    return (*METHODS, *plug_ins().values())


def method_by_name(name: str) -> Method:
    """The method called ``name``.

    Raises:
        ConfigError: there is none.
    """
    for method in METHODS:
        if method.name == name:
            return method
    names = [m.name for m in all_methods()]
    if name not in names:
        raise ConfigError(f"no training method '{name}'{nearest(name, names)}", f"use one of: {', '.join(names)}")
    return plug_ins()[name]


def methods_of(config: Config) -> tuple[Method, ...]:
    """The methods of a run: the built-in ones, and each that has a ``[methods.NAME]``.

    Raises:
        ConfigError: no plug-in brings a method of that name.
    """
    for method in METHODS:
        if method.name in config.methods:
            raise ConfigError(f"[methods.{method.name}] is built in", f"put its settings into [{method.name}]")
    return (*METHODS, *(method_by_name(name) for name in config.methods))


def started_from(checkpoint: str, methods: tuple[Method, ...]) -> tuple[Method, ...]:
    """The methods that start from a checkpoint, or from one that started from it."""
    names = {checkpoint}
    found = []
    for method in methods:
        if method.start in names:
            names.add(method.name)
            found.append(method)
    return tuple(found)
