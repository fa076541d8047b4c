"""Compares what a run is estimated to spend with its budget, and says what will be refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from aloe.config import Config, ModelConfig
from aloe.config.exposure import told
from aloe.models.pricing import price_of
from aloe.models.uri import unwrap
from aloe.personas.embedders import endpoint_of
from aloe.types import Usage

Spent = tuple[str, float | None, int]  # stage, USD (None: a price is unknown), tokens


def budget_notes(config: Config, stages: Sequence[str], spent: Sequence[Spent]) -> tuple[str, ...]:
    """A line for each limit of the recipe's budget: that it will be refused, or reached, or that it suffices.

    Args:
        stages: that would run. spent: estimates in the order in which they are spent.
    """
    notes = []
    if config.budget.usd is not None:
        if unknown := unpriced(config, stages):
            notes.append(
                f"budget.usd = {config.budget.usd:g} will be refused: the price of {', '.join(unknown)} is not known; "
                "set price_prompt and price_completion (0 for your own server)"
            )
        else:
            costs = [(stage, cost or 0.0) for stage, cost, _ in spent]
            notes.append(_compare("budget.usd", config.budget.usd, costs, "${:,.2f}"))
    if config.budget.tokens is not None:
        tokens = [(stage, float(n)) for stage, _, n in spent]
        notes.append(_compare("budget.tokens", config.budget.tokens, tokens, "{:,.0f} tokens"))
    return tuple(notes)


def _compare(name: str, limit: float, parts: Sequence[tuple[str, float]], form: str) -> str:
    sums = list(accumulate((value for _, value in parts), initial=0.0))
    for (stage, _), so_far in zip(parts, sums[1:], strict=True):
        if so_far > limit:
            return (
                f"{name} = {limit:,g} will stop the run in stage {stage}: {form.format(sums[-1])} are estimated; raise "
                "it, or ask for less"
            )
    return f"{name} = {limit:,g} suffices for the estimate of {form.format(sums[-1])}"


def unpriced(config: Config, stages: Sequence[str]) -> list[str]:
    """The models that a budget in USD is refused for, each once, with their hosts."""
    return list(dict.fromkeys(told(model) for model in _asked(config, stages) if price_of(model) is None))


def _asked(config: Config, stages: Sequence[str]) -> Iterator[ModelConfig]:
    """Every model whose price a run asks for: all roles' at its start, those of a stage in it."""
    for role in type(config.roles).model_fields:
        yield from getattr(config.roles, role)
    if "personas" in stages and config.personas.embedder.startswith("openai:"):
        yield endpoint_of(config.personas.embedder, config)
    if "bench" in stages:
        yield from (unwrap(model)[0] for model in config.bench.models)
        yield from (*(config.bench.judge or ()), *(config.bench.user or ()))


def estimated_cost(models: Sequence[ModelConfig], prompt: int, completion: int) -> float | None:
    """USD; tokens are shared among a role's models by weight. None where a price is unknown."""
    whole = sum(m.weight for m in models)
    total = 0.0
    for model in models:
        price = price_of(model)
        if price is None:
            return None
        share = model.weight / whole
        total += price.cost(Usage(prompt_tokens=round(share * prompt), completion_tokens=round(share * completion)))
    return total
