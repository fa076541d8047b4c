"""The one boundary to TRL and transformers: a model whose fused forward takes packed tries.

TRL 1.16 calls ``model(input_ids, attention_mask, labels, fused_lm_head=True)`` and reads ``log_probs``,
``entropy``, ``mean_logits``, ``is_top1`` and ``label_mask``, each (rows, columns - 1). With ``tree=`` the same call
runs the packed sequence and puts the results where the rows' own tokens are, so that TRL's loss code sees what it
always sees. The rows handed to TRL then hold each reply and the token before it; histories live in the tree alone.

Which form of attention a model can do is found out by trying it: a small tree of random tokens must give the
log-probabilities of its rows, else the next form is tried, and rows as they are if none will do.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from aloe.errors import ConfigError
from aloe.training.trees import attention as tree_attention
from aloe.training.trees.attention import Branches
from aloe.training.trees.head import TargetLogProbs
from aloe.training.trees.rope import say_bound
from aloe.training.trees.trie import Chain, Trie, build_trie

BACKENDS = ("segments", "flex", "dense", "rows")
MASKABLE = {"full_attention", "sliding_attention"}
_SPECIAL_HEAD = ("final_logit_softcapping", "logit_scale", "lm_head_multiplier", "logits_scaling", "output_multiplier")


@dataclass(slots=True)
class TreeInputs:
    """A pack of tries and where its results go.

    Attributes:
        ids: (nodes,) tokens. branches: who sees whom.
        predictors: (targets,) nodes whose states predict the targets. labels: (targets,) their tokens.
        scatter: (rows, columns - 1) number of the target at each place of the rows, -1 where there is none.
    """

    ids: torch.Tensor
    branches: Branches
    predictors: torch.Tensor
    labels: torch.Tensor
    scatter: torch.Tensor

    def to(self, device: Any, non_blocking: bool = False) -> TreeInputs:
        moved = {
            name: getattr(self, name).to(device, non_blocking=non_blocking)
            for name in ("ids", "branches", "predictors", "labels", "scatter")
        }
        return TreeInputs(**moved)


def tree_inputs(tries: Sequence[Trie], starts: Sequence[Sequence[int]]) -> TreeInputs:
    """Tries laid end to end; ``starts``: for each row of each trie, where its targets begin (at least 1).

    The rows of ``scatter`` come trie by trie, in each trie's own order.
    """
    offset = 0
    chains: list[Chain] = []
    predictors, labels, where = [], [], []
    n_targets = 0
    for trie, begins in zip(tries, starts, strict=True):
        chains += [chain.shift(offset) for chain in trie.chains]
        is_target = torch.zeros(len(trie), dtype=torch.bool)
        for place, start in zip(trie.places, begins, strict=True):
            is_target[place[start:]] = True
        nodes = torch.nonzero(is_target)[:, 0]
        number = torch.full((len(trie),), -1)
        number[nodes] = torch.arange(len(nodes)) + n_targets
        predictors.append(torch.from_numpy(trie.parents)[nodes] + offset)
        labels.append(torch.from_numpy(trie.ids)[nodes])
        where += [number[place[start:]] for place, start in zip(trie.places, begins, strict=True)]
        n_targets += len(nodes)
        offset += len(trie)
    scatter = torch.nn.utils.rnn.pad_sequence(where, batch_first=True, padding_value=-1)
    ends, sizes = [torch.from_numpy(t.end) for t in tries], [len(t) for t in tries]
    shifts = torch.repeat_interleave(torch.tensor([sum(sizes[:i]) for i in range(len(sizes))]), torch.tensor(sizes))
    return TreeInputs(
        ids=torch.cat([torch.from_numpy(t.ids) for t in tries]),
        branches=Branches(
            torch.cat([torch.from_numpy(t.depths) for t in tries]), torch.cat(ends) + shifts, tuple(chains)
        ),
        predictors=torch.cat(predictors),
        labels=torch.cat(labels),
        scatter=scatter,
    )


def add_trees(model: Any, backend: str) -> None:
    """Teach ``model`` (whose fused head TRL has added) to take ``tree=``. Other calls stay as they were."""
    plain_forward = model.forward
    set_attention(model, backend)

    def forward(self: Any, *args: Any, fused_lm_head: bool = False, tree: TreeInputs | None = None, **kw: Any) -> Any:
        if tree is None:
            return plain_forward(*args, **({"fused_lm_head": True} if fused_lm_head else {}), **kw)
        return _tree_forward(self, plain_forward, backend, tree, kw.get("labels"), kw.get("num_items_in_batch"))

    # generate() and the trainer look at the signature
    forward.__signature__ = inspect.signature(plain_forward)  # type: ignore[attr-defined]
    model.forward = types.MethodType(forward, model)


def attention_of(model: Any) -> str:
    """The form of attention that is selected."""
    return str(model.config.get_text_config()._attn_implementation)


def set_attention(model: Any, backend: str) -> None:
    """Select the form of attention that ``backend`` stands for."""
    if backend == "segments":
        tree_attention.register()
        model.set_attn_implementation(tree_attention.NAME)
    elif backend == "flex":
        model.set_attn_implementation("flex_attention")
    elif attention_of(model) not in ("sdpa", "eager"):
        model.set_attn_implementation("sdpa")


def _visibility(model: Any, backend: str, branches: Branches, device: torch.device) -> dict[str, Any]:
    """What the model is told about who sees whom."""
    if backend == "segments":
        # anything with four dimensions is taken as a finished mask, and this form of attention does not look at it
        return {"attention_mask": torch.zeros(1, 1, 1, 1, device=device), "branches": branches}
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    if getattr(config, "use_sliding_window", True) is False:
        window = None
    kinds = set(getattr(config, "layer_types", None) or ["sliding_attention" if window else "full_attention"])

    def mask(kind: str) -> Any:
        width = window if kind == "sliding_attention" else None
        if backend == "flex":
            return branches.block_mask(width)
        seen = branches.dense_mask(width)
        if config._attn_implementation == "eager":
            lowest = torch.finfo(model.dtype).min
            return torch.zeros(seen.shape, dtype=model.dtype, device=device).masked_fill_(~seen, lowest)
        return seen

    masks = {kind: mask(kind) for kind in kinds}
    return {"attention_mask": masks if len(masks) > 1 else next(iter(masks.values()))}


def pack_inputs(model: Any, backend: str, tree: TreeInputs) -> dict[str, Any]:
    """What the model is called with: one pack, in which a token sees its own branch only."""
    return {
        "input_ids": tree.ids[None],
        "position_ids": tree.branches.positions[None],
        "use_cache": False,
        **_visibility(model, backend, tree.branches, tree.ids.device),
    }


def _tree_forward(model: Any, plain_forward: Any, backend: str, tree: TreeInputs, labels: Any, n_items: Any) -> Any:
    from trl.trainer.utils import FusedCausalLMOutput

    inputs = pack_inputs(model, backend, tree)
    if tree.ids.device.type == "cpu" and not has_special_head(model):
        states = model.base_model(**inputs).last_hidden_state[0].index_select(0, tree.predictors)
        head = model.get_output_embeddings()
        short = torch.is_autocast_enabled("cpu")
        found = TargetLogProbs.apply(states, head.weight, head.bias, tree.labels, short)
    else:
        found = _trl_head(model, plain_forward, inputs, tree)
    at = tree.scatter
    counted = at >= 0
    at = at.clamp(min=0)
    log_probs, entropy, mean_logits, is_top1 = (
        None if x is None else torch.where(counted, x[at], torch.zeros((), dtype=x.dtype, device=x.device))
        for x in found
    )
    assert log_probs is not None
    total = counted.sum().clamp(min=1) if n_items is None else n_items
    return FusedCausalLMOutput(
        loss=-log_probs.sum() / total,
        log_probs=log_probs,
        entropy=entropy,
        mean_logits=mean_logits,
        is_top1=is_top1,
        label_mask=counted,
    )


def score_targets(model: Any, backend: str, tree: TreeInputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each target, and whether it is the likeliest token; without TRL and without gradients."""
    inputs = pack_inputs(model, backend, tree)
    if tree.ids.device.type == "cpu" and not has_special_head(model):
        states = model.base_model(**inputs).last_hidden_state[0].index_select(0, tree.predictors)
        head = model.get_output_embeddings()
        log_probs, _, _, is_top1 = TargetLogProbs.apply(states, head.weight, head.bias, tree.labels)
        return log_probs, is_top1
    logs = torch.log_softmax(model(**inputs).logits[0].index_select(0, tree.predictors).float(), -1)
    return logs.gather(1, tree.labels[:, None])[:, 0], logs.argmax(1) == tree.labels


def _trl_head(model: Any, plain_forward: Any, inputs: dict[str, Any], tree: TreeInputs) -> tuple[Any, ...]:
    """Through TRL's fused head, told the targets as labels that are shifted already: its backbone's output is
    cut down to the nodes that predict something on the way."""

    def select(_module: Any, _args: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state.index_select(1, tree.predictors)
        return output

    hook = model.base_model.register_forward_hook(select)
    try:
        output = plain_forward(**inputs, shift_labels=tree.labels[None], fused_lm_head=True)
    finally:
        hook.remove()
    fields = (output.log_probs, output.entropy, output.mean_logits, output.is_top1)
    return tuple(None if x is None else x[0] for x in fields)


def has_special_head(model: Any) -> bool:
    """Whether the logits are more than a linear map of the hidden states."""
    config = model.config.get_text_config()
    return any(getattr(config, name, None) not in (None, 1.0) for name in _SPECIAL_HEAD)


def candidates(model: Any, device_type: str) -> tuple[list[str], str]:
    """Forms of attention worth trying for ``model``, best first, and why there is none if there is none."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if not kinds <= MASKABLE or not hasattr(config, "num_attention_heads"):
        odd = ", ".join(sorted(kinds - MASKABLE)) or config.model_type
        return [], f"its layers ({odd}) carry a state along the sequence, which no mask can keep apart"
    if device_type == "cuda":
        return ["flex", "dense"], ""
    capped = getattr(config, "attn_logit_softcapping", None)
    return (["dense"] if capped else ["segments", "dense"]), ""


def choose_backend(model: Any, wish: str = "auto", longest: int | None = None) -> tuple[str, str]:
    """``(backend, reason)``: the first form of attention that gives ``model`` the numbers of plain rows.

    Args:
        wish: ``auto`` or one of ``BACKENDS``; a form that was asked for is tried alone.
        longest: tokens of the longest row; None: any length.

    Raises:
        ConfigError: the form that was asked for does not work for this model, or not at that length.
    """
    if wish == "rows":
        return "rows", "asked for"
    if reason := _refused(model, wish, longest):
        return "rows", reason
    tried, reason = candidates(model, model.device.type)
    if wish != "auto":
        tried = [wish]
    for backend in tried:
        worst, allowed = _try(model, backend)
        if worst <= allowed:
            return backend, f"a trial tree differs from its rows by {worst:.1e} nats"
        reason = f"with {backend} attention a trial tree differs from its rows by {worst:.2g} nats"
        if wish != "auto":
            raise ConfigError(f"attention '{wish}' does not fit this model: {reason}", "leave packing at 'auto'")
    return "rows", reason


def unfit(config: Any, longest: int | None) -> str:
    """Why no packing of rows of up to ``longest`` tokens (None: any length) equals them; empty where one may."""
    text = config.get_text_config()
    # TRL asks every model that has routers and a coefficient for their loss, whatever its own config says
    if hasattr(text, "output_router_logits") and getattr(text, "router_aux_loss_coef", None):
        return "its routers' balance loss (router_aux_loss_coef) counts tokens, and shared ones would count once"
    return say_bound(config, longest)


def _refused(model: Any, wish: str, longest: int | None) -> str:
    """``unfit`` for a model, but for rows.

    Raises:
        ConfigError: a form of attention was asked for all the same.
    """
    reason = unfit(model.config, longest) if wish != "rows" else ""
    if reason and wish != "auto":
        raise ConfigError(f"attention '{wish}' does not fit this model: {reason}", "leave packing at 'auto'")
    return reason


def guess_backend(model: Any, wish: str = "auto", longest: int | None = None) -> tuple[str, str]:
    """``choose_backend`` without a trial, for weights that are about to be spread over several devices."""
    if reason := _refused(model, wish, longest):
        return "rows", reason
    tried, reason = candidates(model, "cuda" if torch.cuda.is_available() else "cpu")
    if wish != "auto":
        return wish, "asked for"
    return (tried[0], "not tried: the weights are sharded") if tried else ("rows", reason)


@torch.no_grad()  # type: ignore[untyped-decorator]
def _try(model: Any, backend: str) -> tuple[float, float]:
    """Largest difference in log-probability between a small tree and its rows, and how much is rounding."""
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    draw = torch.randint(0, vocabulary, (5, 7), generator=generator).tolist()
    trunk = [*draw[0], *draw[1]]
    rows = [[*trunk, *draw[2]], [*trunk, *draw[3][:4]], [*trunk, *draw[2], *draw[4]], [*draw[0], *draw[4][:3]]]
    trie = build_trie(rows)
    tree = tree_inputs([trie], [[1] * len(rows)]).to(model.device)
    was_training, before = model.training, attention_of(model)
    model.eval()
    try:
        wanted = [_row_logps(model, row) for row in rows]
        set_attention(model, backend)
        got = _packed_logps(model, backend, tree)
        model.train()
        _packed_logps(model, backend, tree)  # dropout that this form of attention can't do is said in training only
    except torch.OutOfMemoryError:
        raise
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
        return float("inf"), 0.0  # a model that cannot be called like this
    finally:
        model.set_attn_implementation(before)
        model.train(was_training)
    worst = max(float((got[i, : len(row)] - row).abs().max()) for i, row in enumerate(wanted))
    half = model.dtype in (torch.bfloat16, torch.float16)
    return worst, 0.5 if half else 1e-3


def _row_logps(model: Any, row: list[int]) -> torch.Tensor:
    ids = torch.tensor([row], device=model.device)
    logs = torch.log_softmax(model(input_ids=ids, use_cache=False).logits[0, :-1].float(), -1)
    return logs.gather(1, ids[0, 1:, None])[:, 0]


def _packed_logps(model: Any, backend: str, tree: TreeInputs) -> torch.Tensor:
    """Log-probabilities of the rows' tokens through the packed sequence and the model's own head."""
    inputs = pack_inputs(model, backend, tree)
    logits = model(**inputs).logits[0]
    logs = torch.log_softmax(logits[tree.predictors].float(), -1)
    found = logs.gather(1, tree.labels[:, None])[:, 0]
    return found[tree.scatter.clamp(min=0)]
