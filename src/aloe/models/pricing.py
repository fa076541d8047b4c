"""Prices of tokens: a short table of list prices that a recipe can override, and the cost of a call.

Checked against public price lists in March 2026; prices change, so set ``price_prompt`` and ``price_completion`` in the
recipe to be sure. A price that is not known is None, never zero.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aloe.config import ModelConfig
from aloe.config.exposure import address_of, is_openais
from aloe.errors import ConfigError
from aloe.types import Usage

# USD per million tokens: prompt, completion, cached prompt
_OPENAI: dict[str, tuple[float, float, float]] = {
    "gpt-5.5": (5.00, 30.00, 0.50),
    "gpt-5.4": (2.50, 15.00, 0.25),
    "gpt-5.4-mini": (0.75, 4.50, 0.075),
    "gpt-5.4-nano": (0.20, 1.25, 0.02),
    "gpt-5.1": (1.25, 10.00, 0.125),
    "gpt-5": (1.25, 10.00, 0.125),
    "gpt-5-mini": (0.25, 2.00, 0.025),
    "gpt-5-nano": (0.05, 0.40, 0.005),
    "gpt-4.1": (2.00, 8.00, 0.50),
    "gpt-4.1-mini": (0.40, 1.60, 0.10),
    "gpt-4.1-nano": (0.10, 0.40, 0.025),
    "gpt-4o": (2.50, 10.00, 1.25),
    "gpt-4o-2024-05-13": (5.00, 15.00, 5.00),
    "gpt-4o-mini": (0.15, 0.60, 0.075),
    "o3": (2.00, 8.00, 0.50),
    "o4-mini": (1.10, 4.40, 0.275),
    "text-embedding-3-small": (0.02, 0.0, 0.02),
    "text-embedding-3-large": (0.13, 0.0, 0.13),
    "text-embedding-ada-002": (0.10, 0.0, 0.10),
}
_DATED = re.compile(r"-20\d\d-\d\d-\d\d$")


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens."""

    prompt: float
    completion: float
    cached: float

    def cost(self, usage: Usage) -> float:
        """USD for ``usage``; the cached part of the prompt at the cached price."""
        fresh = usage.prompt_tokens - usage.cached_tokens
        spent = fresh * self.prompt + usage.cached_tokens * self.cached + usage.completion_tokens * self.completion
        return spent / 1e6


FREE = Price(0.0, 0.0, 0.0)


def price_of(config: ModelConfig) -> Price | None:
    """The price by the recipe, else by the table; None where unknown. What runs in this process is free."""
    if config.price_prompt is not None and config.price_completion is not None:
        cached = config.price_cached if config.price_cached is not None else config.price_prompt
        return Price(config.price_prompt, config.price_completion, cached)
    scheme, _, name = config.uri.partition(":")
    if scheme == "world" or (scheme == "hf" and config.base_url is None):
        return FREE
    if scheme != "openai" or not is_openais(address_of(config)):
        return None
    found = _OPENAI.get(name) or _OPENAI.get(_DATED.sub("", name))
    return Price(*found) if found else None


def require_price(config: ModelConfig) -> None:
    """Where money is limited, every price must be known.

    Raises:
        ConfigError: it is not.
    """
    if price_of(config) is None:
        raise ConfigError(
            f"budget.usd is set, but the price of {config.uri} is not known",
            "set its price_prompt and price_completion (0 for your own server)",
        )
