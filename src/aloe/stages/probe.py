"""Measures what a model would decide about adapting to a user: figures with intervals over personas.

The questions are ``aloe.world.questions``', cut out of fresh conversations of the recipe's world; the answers are
log-probabilities (``aloe.training.probe``). Kinds of fact that the recipe holds out of training (``without_slots`` of
its persona-writer) are asked too, and counted apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aloe.config import Config, ModelConfig
from aloe.errors import need_packages
from aloe.models.local.packaged import resolve
from aloe.models.local.processor import pays_on_cpu
from aloe.models.uri import split_uri
from aloe.stats import Estimate, ratio_interval
from aloe.world.lexicon.options import Options, parse_options
from aloe.world.questions import Setting, Writers, make_questions

if TYPE_CHECKING:
    from aloe.training.probe import Answer

WORLD = "world:"
FIGURES = {
    "stated": "first token of a value that the user stated is the likeliest",
    "implied": "first token of a value that the user only implied is the likeliest",
    "held_out": "first token of a stated value of a kind of fact held out of training is the likeliest",
    "fact_now": "the fact that is due beats both the user's own that are not, and other people's values",
    "fact_own": "it beats the user's own facts that are not called for",
    "fact_others": "it beats the same words with other people's values",
    "fact_now_held_out": "as fact_now, for kinds of fact held out of training",
    "style": "a style marker that suits the user beats those of the opposite manner",
    "stop": "where nothing more matters, the end of the sentence beats one more clause",
}


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """Figures of one model.

    Attributes:
        figures: share of the questions answered right by name (see ``FIGURES``), with its interval; None: none asked.
        counts: how many questions each is a share of. kinds: ``fact_now`` and first token right by kind of fact.
    """

    model: str
    n_personas: int
    held_out: tuple[str, ...]
    seconds: float
    figures: dict[str, Estimate | None] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, dict[str, float | int]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: each figure as value, low and high."""
        figures = {
            name: None if e is None else {"value": e.value, "low": e.low, "high": e.high, "n": self.counts[name]}
            for name, e in self.figures.items()
        }
        return {
            "model": self.model,
            "n_personas": self.n_personas,
            "held_out": list(self.held_out),
            "seconds": round(self.seconds, 2),
            "figures": figures,
            "kinds": self.kinds,
        }


def run_probe(
    config: Config,
    model: str,
    *,
    n_personas: int = 16,
    n_turns: int = 7,
    seed: int | None = None,
    held_out: Sequence[str] = (),
    progress: Callable[[float, float | None, str, str], None] | None = None,
) -> ProbeReport:
    """Ask a local model.

    Args:
        config: its roles' options say how the world's people speak; roles that the world does not play speak as the
            full world does.
        model: ``hf:PATH_OR_ID``, or the path or id alone.
        seed: of personas and conversations; None: the config's, and never the conversations of its training.
        held_out: kinds of fact to count as held out, beside those that the recipe leaves out.

    Raises:
        ConfigError: the training packages are not installed. DataError: there is no such model.
    """
    need_packages("aloe probe", ("torch", "transformers", "trl"), "train")
    from aloe.models.local.checkpoint import load_model, load_tokenizer
    from aloe.training.data import check_tokenizer
    from aloe.training.probe import answer

    started = time.monotonic()
    writers, left_out = probe_writers(config)
    slots = tuple(dict.fromkeys((*left_out, *held_out)))
    path = resolve(model)
    tokenizer = load_tokenizer(path)
    check_tokenizer(tokenizer, path)
    loaded = load_model(path)
    questions = list(
        make_questions(
            n_personas, writers, seed=config.seed if seed is None else seed, setting=Setting(n_turns, n_rivals=2)
        )
    )

    def show(done: int) -> None:
        if progress is not None:
            progress(done, len(questions), "questions", "")

    answers = answer(loaded, tokenizer, questions, progress=show, precision=_precision(loaded))
    figures, counts = _figures(answers, slots)
    return ProbeReport(model, n_personas, slots, time.monotonic() - started, figures, counts, _by_kind(answers))


def probe_writers(config: Config) -> tuple[Writers, tuple[str, ...]]:
    """Who speaks in the probe's conversations, and the kinds of fact that the recipe leaves out of training.

    Nothing is held out here, and nothing is left to chance that replies could decide: ``steady``, and no faults.
    """
    roles = config.roles
    writer, user, tailored, generic = (
        _options(model) for model in (roles.writer[0], roles.user[0], roles.tailored[0], roles.generic[0])
    )
    writers = Writers(
        _whole(writer),
        replace(_whole(user), leak=0.0, repeat=0.0, flip=0.0),
        replace(_whole(tailored), steady=1, lapse=0.0, slip=0.0),
        _whole(generic),
    )
    return writers, writer.without_slots


def _whole(options: Options) -> Options:
    """The options with nothing held out."""
    return replace(options, hold_out=0, held_out=0, without_slots=())


def _options(model: ModelConfig) -> Options:
    scheme, rest = split_uri(model.uri)
    return parse_options(rest.partition("?")[2], f"model '{model.uri}'") if f"{scheme}:" == WORLD else Options()


def _precision(model: Any) -> Any:
    """bfloat16 arithmetic on a GPU, and on a CPU that has it where it pays."""
    import torch

    kind = "cuda" if torch.cuda.is_available() else "cpu"
    width = getattr(model.config.get_text_config(), "hidden_size", None)
    if kind == "cpu" and not pays_on_cpu(width):
        return nullcontext()
    return torch.autocast(kind, dtype=torch.bfloat16)


def _figures(answers: Sequence[Answer], held_out: Sequence[str]) -> tuple[dict[str, Estimate | None], dict[str, int]]:
    seen = [a for a in answers if a.question.name not in held_out]
    apart = [a for a in answers if a.question.name in held_out]

    def values(some: Sequence[Answer], status: str) -> list[tuple[str, bool]]:
        return [_of(a, a.is_first) for a in some if a.question.kind == "value" and a.question.status == status]

    def facts(some: Sequence[Answer]) -> list[tuple[str, bool]]:
        return [_of(a, a.rank == 1) for a in some if a.question.kind == "fact"]

    groups = {
        "stated": values(seen, "stated"),
        "implied": values(seen, "implied"),
        "held_out": values(apart, "stated"),
        "fact_now": facts(seen),
        "fact_own": [_of(a, a.right > max(a.own)) for a in seen if a.question.kind == "fact" and a.own],
        "fact_others": [_of(a, a.right > max(a.others)) for a in seen if a.question.kind == "fact" and a.others],
        "fact_now_held_out": facts(apart),
        "style": [_of(a, a.rank == 1) for a in answers if a.question.kind == "style"],
        "stop": [_of(a, a.rank == 1) for a in answers if a.question.kind == "stop" and a.own],
    }
    return {name: _share(group) for name, group in groups.items()}, {name: len(g) for name, g in groups.items()}


def _of(answer: Answer, is_right: bool) -> tuple[str, bool]:
    return answer.question.persona, is_right


def _share(group: Sequence[tuple[str, bool]]) -> Estimate | None:
    """The share that is right, with an interval over personas."""
    right: dict[str, int] = {}
    asked: dict[str, int] = {}
    for persona, is_right in group:
        right[persona] = right.get(persona, 0) + is_right
        asked[persona] = asked.get(persona, 0) + 1
    return ratio_interval(list(right.values()), list(asked.values()))


def _by_kind(answers: Sequence[Answer]) -> dict[str, dict[str, float | int]]:
    found: dict[str, dict[str, float | int]] = {}
    for slot in sorted({a.question.name for a in answers if a.question.kind == "fact"}):
        facts = [a for a in answers if a.question.kind == "fact" and a.question.name == slot]
        values = [a for a in answers if a.question.kind == "value" and a.question.name == slot]
        found[slot] = {
            "n": len(facts),
            "fact_now": sum(a.rank == 1 for a in facts) / len(facts),
            "first_token": sum(a.is_first for a in values) / len(values),
        }
    return found
