"""The models of a run that can be chatted with: checkpoints, benchmarked models, the two responders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aloe.bench.controls import control_of
from aloe.config import Config, ModelConfig
from aloe.config.files import parse_json
from aloe.errors import AloeError
from aloe.models.uri import plain_name, split_wrapper
from aloe.report.data import number
from aloe.store.rundir import RunDir
from aloe.training.methods import BASE, CHECKPOINTS, METHODS

REPLY_TOKENS = 256
ATTEMPTS = 2  # somebody is waiting: a failure is said soon, and a button tries again


@dataclass(frozen=True, slots=True)
class Choice:
    """A model under the name by which it is chosen.

    Attributes:
        told: it is told what the inducer believes, as the trees' tailored responder is.
        needs_persona: it is a control that reads the persona, so there must be one.
    """

    name: str
    model: ModelConfig
    group: str
    told: bool = False
    needs_persona: bool = False


def patient(model: ModelConfig) -> ModelConfig:
    """The model as one asks it while somebody waits."""
    return model.model_copy(update={"max_attempts": min(model.max_attempts, ATTEMPTS)})


def patient_roles(config: Config) -> Config:
    """The config with every role asked as somebody waits for it."""
    roles = {name: tuple(map(patient, getattr(config.roles, name))) for name in type(config.roles).model_fields}
    return config.model_copy(update={"roles": config.roles.model_copy(update=roles)})


def list_choices(config: Config, run: Path | None, more: Iterable[ModelConfig] = ()) -> list[Choice]:
    """Everything there is to talk with, each under a name of its own; ``more`` comes first."""
    found: dict[str, Choice] = {}

    def add(group: str, model: ModelConfig, name: str = "", told: bool = False) -> None:
        try:
            name = base = name or plain_name(model.uri)
            needs = control_of(model) is not None or split_wrapper(model.uri)[1] == "persona"
        except AloeError:  # a URI that is not valid fails when it is asked, with its reason
            name, base, needs = model.uri, model.uri, False
        number = 2
        while name in found:
            name, number = f"{base}-{number}", number + 1
        found[name] = Choice(name, patient(model), group, told, needs)

    for model in more:
        add("given", model)
    for path in RunDir(run).checkpoints(CHECKPOINTS).values() if run is not None else ():
        add("checkpoint", ModelConfig(uri=f"hf:{path}", temperature=0.0, max_tokens=REPLY_TOKENS))
    for model in config.bench.models:
        add("benchmark", model)
    for model in config.roles.generic:
        if all(choice.model.uri != model.uri for choice in found.values()):
            add("role", model, "generic (of the trees)")
    for model in config.roles.tailored:
        add("role", model, "tailored (of the trees)", told=True)
    return list(found.values())


def best_choice(choices: Iterable[Choice], run: Path) -> str | None:
    """The name of the model to begin with: the last one trained, else the best benchmarked that needs no persona."""
    names = [c.name for c in choices if not c.needs_persona]
    trained = [method.name for method in METHODS if method.name in names]
    if trained:
        return trained[-1]
    scored = [
        (average, name) for name in names if (average := _average(run / "bench" / name / "result.json")) is not None
    ]
    return max(scored)[1] if scored else next(iter(names), None)


def _average(path: Path) -> float | None:
    try:
        result = parse_json(path.read_bytes())
    except (OSError, ValueError):  # not benchmarked, or being written
        return None
    return number(result.get("avg")) if isinstance(result, dict) else None


def limits_of(choice: Choice, config: Config, run: Path) -> str:
    """What a checkpoint of a tiny model can talk about, in a sentence; '' for models that can talk about anything."""
    if choice.group != "checkpoint" or not (run / "checkpoints" / BASE).is_dir() or config.sft.model:
        return ""
    user = next((m.uri for m in config.roles.user if m.uri.startswith("world:")), "")
    told = dict(part.partition("=")[::2] for part in user.partition("?")[2].split("&"))
    about = told["topics"].replace(",", ", ") if "topics" in told else "those of its world"
    facts = told["slots"].replace(",", ", ") if "slots" in told else "those of its world"
    return (
        "This is a tiny model that has read nothing but the simulated world. "
        f"It knows these topics: {about}; and these kinds of facts about a user: {facts}. "
        "To anything else it answers with what it knows. Let the simulator write, or ask as it does."
    )
