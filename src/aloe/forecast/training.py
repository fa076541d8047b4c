"""Estimates what SFT and DPO of a recipe take: tokens with and without packing, steps, memory.

The trees of ``forecast.calls`` become rows, tries and packs by the code that trains, and are scaled up to the whole
data set. Nothing is downloaded: without the model's tokenizer a token is counted as four characters, and memory is
unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aloe.config import Config, DPOConfig
from aloe.dialogue.pairs import as_row, tree_to_pairs, tree_to_sft
from aloe.dialogue.tree_builder import GrownTree
from aloe.training.methods import PEOPLE, Method, methods_of

CHUNK = 4  # characters a token, where there is no tokenizer
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
GB = 1e9


@dataclass(frozen=True, slots=True)
class TrainingLine:
    """What one training stage takes. Tokens are those of one epoch.

    Attributes:
        items: replies (SFT) or pairs (DPO).
        memory_gb: of one process at its largest pack, above what libraries take; None where the weights are unknown.
        counted_by: ``tokenizer``, or ``characters`` where the model's tokenizer is not here.
        processes: how many share each step.
    """

    stage: str
    model: str
    items: int
    tokens_expanded: int
    tokens_packed: int
    steps: int
    memory_gb: float | None
    counted_by: str
    processes: int = 1


@dataclass(frozen=True, slots=True)
class Sizes:
    """What memory and tokens depend on: numbers of parameters, widths (``memory.Shape``), and what packing allows.

    Attributes:
        has_form: whether a form of attention along branches is worth trying. config: transformers' of the model.
    """

    n_parameters: int
    n_linear: int  # sum of inputs and outputs over the linear layers that adapters go on
    shape: Any
    context: int | None = None
    has_form: bool = True
    config: Any = None

    def can_pack(self, longest: int) -> bool:
        """Whether rows of up to ``longest`` tokens go through the model as trees."""
        from aloe.training.trees.model import unfit

        return self.has_form and not (self.config is not None and unfit(self.config, longest))


def plan_training(
    config: Config, stages: Sequence[str], grown: Mapping[str, tuple[Sequence[GrownTree], float]]
) -> tuple[TrainingLine, ...]:
    """Lines of the training stages that would run.

    Args:
        grown: rehearsed trees by stage (``trees``, ``rollout``), and by how much the run has more of them.
    """
    wanted = [(m, _source(m, config)) for m in methods_of(config) if m.name in stages and m.rows != PEOPLE]
    wanted = [(method, source) for method, source in wanted if source in grown]
    if not wanted:
        return ()
    tokenizer = tokenizer_of(config)
    sizes = sizes_of(config, None, tokenizer)
    lines = []
    for method, source in wanted:
        trees, scale = grown[source]
        rows = _rows(config, method, source, trees)
        if rows:
            lines.append(_line(config, method, rows, scale, tokenizer, sizes))
    return tuple(lines)


def _source(method: Method, config: Config) -> str:
    """The stage whose trees a method learns from."""
    return "rollout" if "rollout" in method.needs and config.rollout.n_trees else "trees"


def _rows(config: Config, method: Method, source: str, trees: Sequence[GrownTree]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    margin = config.trees.min_margin if config.export.min_margin is None else config.export.min_margin
    if source == "rollout":
        margin = config.rollout.min_margin
    for tree in trees:
        labels = [x for x in tree.labels if x.margin is None or x.margin >= margin]
        if method.rows == "sft":
            made += map(as_row, tree_to_sft(tree.tree, labels))
        else:
            made += map(as_row, tree_to_pairs(tree.tree, labels))
    return made


def _line(
    config: Config, method: Method, rows: list[dict[str, Any]], scale: float, tokenizer: Any, sizes: Sizes | None
) -> TrainingLine:
    from aloe.training.data import Lengths, dpo_conversations, sft_conversations
    from aloe.training.precision import pass_tokens
    from aloe.training.trees.packs import make_packs, packs_per_step

    section = method.settings(config)
    is_known = tokenizer is not None
    tokenizer = tokenizer or chunk_tokenizer(rows)
    lengths = Lengths(section.max_length or (sizes.context if sizes else None), section.too_long)
    if method.rows == "sft":
        history = getattr(section, "history", "answered")
        conversations = sft_conversations(rows, tokenizer, lengths, history=history)
    else:
        from aloe.training.dpo import select_pairs

        chosen = select_pairs(section, rows) if isinstance(section, DPOConfig) else rows
        conversations = dpo_conversations(chosen, tokenizer, lengths)
    longest = max((len(row) for c in conversations for row in c.rows), default=0)
    trees = section.packing != "rows" and (sizes is None or sizes.can_pack(longest))
    budget = section.token_budget if sizes is None else pass_tokens(section, sizes.shape)
    packs, statistics = make_packs(
        conversations, seed=config.seed, budget=budget, items=section.batch_size, trees=trees
    )
    in_step = section.processes * packs_per_step(packs, section.batch_size, section.processes)
    share = 1 - section.eval_share
    n_packs = scale * share * len(packs)
    steps = section.max_steps or math.ceil(section.epochs * math.ceil(n_packs / in_step))
    return TrainingLine(
        method.name,
        model_name(config),
        round(scale * share * statistics.n_items),
        round(scale * share * statistics.tokens_expanded),
        round(scale * share * statistics.tokens_packed),
        steps,
        None if sizes is None else memory_gb(section, sizes, max(p.n_tokens for p in packs)),
        "tokenizer" if is_known else "characters",
        section.processes,
    )


def memory_gb(section: Any, sizes: Sizes, n_tokens: int) -> float:
    """Gigabytes of a process that trains on packs of ``n_tokens``, all that its libraries take included."""
    from aloe.training.memory import process_bytes
    from aloe.training.precision import compute_dtype

    compute = compute_dtype(section, sizes.shape.width)
    adapter = section.lora_rank * sizes.n_linear
    return process_bytes(section, sizes.shape, compute, sizes.n_parameters, adapter, n_tokens) / GB


def model_name(config: Config) -> str:
    return config.sft.model or "the run's own base"


def sizes_of(config: Config, path: str | None, tokenizer: Any) -> Sizes | None:
    """Sizes from the config of the model at ``path``, without weights; None where that is not here.

    Args:
        path: None: the model that SFT starts from, which without ``sft.model`` is the run's own base.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from aloe.models.local.checkpoint import base_of
    from aloe.models.local.packaged import resolve
    from aloe.training.memory import Shape
    from aloe.training.trees.model import candidates

    path = path or config.sft.model
    if path is None:
        base = config.base
        body = base.n_layers * (4 * base.d_model**2 + 3 * base.d_model * base.d_ffn)
        linear = base.n_layers * (8 * base.d_model + 3 * (base.d_model + base.d_ffn))
        words = len(tokenizer or ())
        shape = Shape(base.d_model, base.d_ffn, base.n_layers, base.d_model, base.d_model, words)
        return Sizes(body + words * base.d_model, linear, shape)
    try:
        place = base_of(resolve(path, convert=False))
        found = AutoConfig.from_pretrained(place, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(found)
    except (OSError, ValueError):
        return None
    head = model.get_output_embeddings()
    linear = sum(
        m.in_features + m.out_features for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head
    )
    text = found.get_text_config()
    n = sum(p.numel() for p in model.parameters())
    has_form = bool(candidates(model, "cpu")[0])
    return Sizes(n, linear, Shape.of(found), _context(text), has_form, found)


def _context(text: Any) -> int | None:
    return int(getattr(text, "max_position_embeddings", 0) or 0) or None


def tokenizer_of(config: Config) -> Any:
    """The tokenizer that training will use; None where it is not here."""
    if config.sft.model is None:
        from aloe.errors import ConfigError
        from aloe.training.tiny.material import prepare

        try:
            return prepare(config)[1]
        except ConfigError:
            return None  # said by stage base, which is what can't run
    from transformers import AutoTokenizer

    from aloe.models.local.packaged import resolve

    path = resolve(config.sft.model, convert=False)
    try:
        found = AutoTokenizer.from_pretrained(path, local_files_only=not Path(path).is_dir(), trust_remote_code=False)
    except (OSError, ValueError):
        return None
    return found if getattr(found, "chat_template", None) else None


def chunk_tokenizer(rows: Sequence[dict[str, Any]]) -> Any:
    """A tokenizer of four characters a token over the texts of ``rows``, with a plain chat template."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    split = Split(Regex(r"<\|[a-z]+\|>|[\s\S]{1," + f"{CHUNK}}}"), "isolated")
    words = {"<|end|>": 0, "?": 1}
    keys = ("messages", "prompt", "chosen", "rejected")
    texts = {message["content"] for row in rows for key in keys for message in row.get(key, ())}
    for text in sorted(texts):
        for piece, _ in split.pre_tokenize_str(text):
            words.setdefault(piece, len(words))
    for role in ("user", "assistant", "system"):
        words.setdefault(f"<|{role}|>", len(words))
    inner = Tokenizer(WordLevel(words, "?"))
    inner.pre_tokenizer = split
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>", chat_template=TEMPLATE)
