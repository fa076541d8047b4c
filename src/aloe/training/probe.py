"""Teacher-forced answers of a model to ``aloe.world.questions``, by log-probabilities.

All questions of a conversation go through the model as one packed tree (``training.trees``), so that a history is
computed once however many continuations are compared, and nothing is decoded. The log-probability of a continuation is
the sum over its tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch

from aloe.errors import DataError
from aloe.training.data import common_prefix
from aloe.training.trees import model as trees
from aloe.training.trees.trie import build_trie
from aloe.world.questions import Question


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model makes of a question.

    Attributes:
        is_first: whether its likeliest next token is the right continuation's first. p_first: that token's probability.
        right, own, others: log-probability of each continuation, in nats.
    """

    question: Question
    is_first: bool
    p_first: float
    right: float
    own: tuple[float, ...]
    others: tuple[float, ...]

    @property
    def rank(self) -> int:
        """Place of the right continuation among all, from 1."""
        return 1 + sum(value >= self.right for value in (*self.own, *self.others))


Row = tuple[list[int], int]
Scores = list[tuple[float, float, bool]]


def answer(
    model: Any,
    tokenizer: Any,
    questions: Iterable[Question],
    *,
    budget: int = 4096,
    progress: Callable[[int], None] | None = None,
    precision: AbstractContextManager[Any] | None = None,
) -> list[Answer]:
    """The model's answers, in the order of the questions.

    Args:
        model: a causal language model of transformers. budget: tokens of a forward pass, at least one conversation.
        progress: called with the number of conversations answered. precision: of the arithmetic, such as autocast.

    Raises:
        DataError: a conversation is longer than the model's context, or a continuation has no token of its own.
    """
    talks = [list(group) for _, group in groupby(questions, lambda question: question.persona)]
    was_training, before = model.training, model.config.get_text_config()._attn_implementation
    model.eval()
    found: list[Answer] = []
    try:
        backend = ""
        for batch in _batches(talks, tokenizer, budget):
            _check_length(model, _longest([rows for _, rows in batch]))
            if not backend:
                backend = trees.choose_backend(model, longest=_longest([rows for _, rows in batch]))[0]
                trees.set_attention(model, backend)
            with torch.no_grad(), precision or nullcontext():
                scores = _score(model, backend, [rows for _, rows in batch])
            for (talk, _), values in zip(batch, scores, strict=True):
                found += _answers(talk, values)
            if progress is not None:
                progress(len(found))
    finally:
        model.set_attn_implementation(before)
        model.train(was_training)
    return found


def _batches(
    talks: Sequence[list[Question]], tokenizer: Any, budget: int
) -> Iterator[list[tuple[list[Question], list[Row]]]]:
    """Conversations with their token rows, as many at a time as fit."""
    batch: list[tuple[list[Question], list[Row]]] = []
    size = 0
    for talk in talks:
        rows = _rows(talk, tokenizer)
        n = len(build_trie([ids for ids, _ in rows]))
        if batch and size + n > budget:
            yield batch
            batch, size = [], 0
        batch.append((talk, rows))
        size += n
    if batch:
        yield batch


def _rows(talk: Sequence[Question], tokenizer: Any) -> list[Row]:
    """Each continuation of each question behind its history: token ids, and where it begins."""
    texts: list[tuple[str, str]] = []
    for question in talk:
        messages = [{"role": m.role, "content": m.content} for m in question.history]
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) + question.before
        texts += [(prompt, text) for text in (question.right, *question.own, *question.others)]
    wholes = tokenizer([a + b for a, b in texts], add_special_tokens=False)["input_ids"]
    heads = tokenizer([a for a, _ in texts], add_special_tokens=False)["input_ids"]
    rows = []
    for (_, text), head, ids in zip(texts, heads, wholes, strict=True):
        at = common_prefix(head, ids)
        if at >= len(ids):
            raise DataError(f"'{text}' has no token of its own for this tokenizer", "use another model")
        rows.append((list(ids), max(1, at)))
    return rows


def _check_length(model: Any, longest: int) -> None:
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if limit and longest > limit:
        raise DataError(f"a conversation has {longest} tokens, but the context length is {limit}", "ask fewer turns")


def _longest(conversations: Iterable[Sequence[Row]]) -> int:
    return max(len(ids) for rows in conversations for ids, _ in rows)


def _score(model: Any, backend: str, conversations: Sequence[Sequence[Row]]) -> list[Scores]:
    """(log-probability, that of the first token, whether that is the likeliest) of each row."""
    if backend == "rows":  # a model that can't be packed: each row by itself
        return [[_sums(*_targets(model, backend, [[row]]))[0] for row in rows] for rows in conversations]
    flat = _sums(*_targets(model, backend, conversations))
    found, at = [], 0
    for rows in conversations:
        found.append(flat[at : at + len(rows)])
        at += len(rows)
    return found


def _targets(model: Any, backend: str, conversations: Sequence[Sequence[Row]]) -> tuple[torch.Tensor, ...]:
    """Log-probabilities, whether each is the likeliest, and which places hold a target: (rows, longest) each."""
    tries = [build_trie([ids for ids, _ in rows]) for rows in conversations]
    tree = trees.tree_inputs(tries, [[start for _, start in rows] for rows in conversations]).to(model.device)
    if backend == "rows":
        logits = model(input_ids=tree.ids[None], use_cache=False).logits[0]
        logs = torch.log_softmax(logits.index_select(0, tree.predictors).float(), -1)
        log_probs, is_top1 = logs.gather(1, tree.labels[:, None])[:, 0], logs.argmax(1) == tree.labels
    else:
        log_probs, is_top1 = trees.score_targets(model, backend, tree)
    at = tree.scatter.clamp(min=0)
    return log_probs[at], is_top1[at], tree.scatter >= 0


def _sums(log_probs: torch.Tensor, is_top1: torch.Tensor, counted: torch.Tensor) -> Scores:
    sums = (log_probs * counted).sum(1).tolist()
    return list(zip(sums, log_probs[:, 0].tolist(), is_top1[:, 0].tolist(), strict=True))


def _answers(talk: Sequence[Question], scores: Scores) -> Iterator[Answer]:
    at = 0
    for question in talk:
        n, m = len(question.own), len(question.others)
        right, first, is_first = scores[at]
        sums = [score[0] for score in scores[at + 1 : at + 1 + n + m]]
        p_first = float(torch.tensor(first).exp())
        yield Answer(question, is_first, p_first, right, tuple(sums[:n]), tuple(sums[n:]))
        at += 1 + n + m


__all__ = ["Answer", "answer"]
