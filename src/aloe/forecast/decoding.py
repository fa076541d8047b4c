"""Foretells the memory of the processes that decode: weights, keys and values, kept prefixes, logits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aloe.config import Config, ModelConfig
from aloe.models.local.batch import MOST_DECODED
from aloe.models.local.model import DEFAULT_MAX_TOKENS, MOST_CACHED_ON_CPU, weight_dtype
from aloe.stages.context import REPLY_TOKENS

LIBRARIES = 600e6  # torch, transformers, products that oneDNN has compiled, and holes in the heap
READ_TOGETHER = 16  # prompts that go through the model at once, as in models.local.decode, which loads torch
SAMPLING = 50e6  # probabilities of the rows that are sampled at once
GB = 1e9
DECODING_NOTE = "memory of each decoding process on a CPU at its longest prompts, libraries included"


@dataclass(frozen=True, slots=True)
class DecodingLine:
    """What decoding a local model in a stage takes: gigabytes of each of its processes, None where it is not here."""

    stage: str
    model: str
    memory_gb: float | None


@dataclass(frozen=True, slots=True)
class Load:
    """What a process decodes: conversations that it keeps, prompts at once, samples of each, tokens.

    Attributes:
        longest: tokens of the longest prompt. n_new: of a reply at most.
    """

    n_conversations: int
    n_prompts: int
    n_samples: int
    longest: int
    n_new: int


def decoding_bytes(shape: Any, n_parameters: int, number_bytes: int, load: Load) -> float:
    """The most that a process holds at once on a CPU.

    Args:
        shape: widths of the model, a ``training.memory.Shape``.
        number_bytes: of a number of the weights.
    """
    token = 2 * shape.layers * shape.keys * number_bytes
    places = load.longest + load.n_new * load.n_samples
    n_prompts = max(1, min(load.n_prompts, MOST_DECODED // (places * token)))  # more go in several parts
    batch = n_prompts * places * token
    kept = min(MOST_CACHED_ON_CPU, load.n_conversations * (load.longest + load.n_new) * token)
    repeated = batch / shape.layers * shape.queries / max(1, shape.keys)  # keys and values of a layer for all queries
    logits = 2 * n_prompts * load.n_samples * shape.vocabulary * number_bytes
    read = min(n_prompts, READ_TOGETHER) * load.longest * (3 * shape.ffn + 8 * shape.width) * number_bytes  # one layer
    at_work = n_parameters * number_bytes + batch + kept + repeated + logits + read + SAMPLING
    return float(LIBRARIES + max(n_parameters * (number_bytes + 2), at_work))  # weights are read beside the mapped file


def loads_of(config: Config, lines: Iterable[Any], has_own: bool) -> list[tuple[str, ModelConfig, Load]]:
    """What one process decodes of each local model in stages rollout and bench.

    Args:
        lines: of the plan; prompts grow turn by turn, so that the longest has twice the mean's tokens.
        has_own: whether the run trains checkpoints, which are benchmarked.
    """
    found = []
    for line in lines:
        if line.role != "responder" or not line.calls:
            continue
        is_rollout = line.stage == "rollout"
        n = config.rollout.n_trees if is_rollout else config.bench.n_personas or config.personas.n_bench
        own = ModelConfig(uri="hf:", max_tokens=REPLY_TOKENS, batch_size=64 if is_rollout else 128)
        given = (
            []
            if is_rollout or line.stage == "transfer"
            else [m for m in config.bench.models if m.uri.startswith("hf:")]
        )
        for model in [*([own] if is_rollout or has_own else []), *given]:
            share = -(-n // config.execution.replicas)
            at_once = min(share, config.execution.concurrency, model.batch_size)
            samples = config.rollout.n_candidates if is_rollout else 1
            longest = 2 * line.prompt_tokens // line.calls
            load = Load(share, at_once, samples, longest, model.max_tokens or DEFAULT_MAX_TOKENS)
            found.append((line.stage, model, load))
    return found


def plan_decoding(
    config: Config, loads: Sequence[tuple[str, ModelConfig, Load]], sizes_of: Callable[[str | None], Any]
) -> tuple[DecodingLine, ...]:
    """One line for each stage and local model.

    Args:
        loads: stage, model (``hf:PATH``, ``hf:`` alone is the run's own checkpoint), and what it decodes.
        sizes_of: numbers of parameters and widths of the model at a path (None: of the run's own), or None.
    """
    lines = []
    for stage, model, load in loads:
        path = model.uri.partition(":")[2] or None
        sizes = sizes_of(path)
        memory = None
        if sizes is not None:
            kind = weight_dtype(model, path or config.sft.model or "", sizes.shape.width)
            memory = decoding_bytes(sizes.shape, sizes.n_parameters, 4 if kind in ("auto", "float32") else 2, load) / GB
        lines.append(DecodingLine(stage, path or "the run's own", memory))
    return tuple(lines)


def decoding_table(lines: Iterable[DecodingLine]) -> list[tuple[str, str, str]]:
    """The lines as rows of text, headings first."""
    told = [(x.stage, x.model, "unknown" if x.memory_gb is None else f"{x.memory_gb:,.2f}") for x in lines]
    return [("decoding", "model", "memory GB"), *told]
