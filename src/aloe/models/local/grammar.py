"""JSON schemas while a local model decodes: only tokens that can still lead to an answer of the schema are left.

The automata are llguidance's. Without that package a model in this process is asked freely, as a server is that
refuses schemas.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)
PACKAGE = "llguidance"
# as models write JSON by themselves, so that no token is spent on blanks and none is unlikely
_STYLE = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}


def can_constrain() -> bool:
    """Whether answers can be held to a schema here."""
    return find_spec(PACKAGE) is not None


def schema_of(response_format: dict[str, Any] | None) -> str | None:
    """The schema of OpenAI's ``response_format`` as JSON; None where there is none or nothing can enforce it."""
    if not isinstance(response_format, dict) or not can_constrain():
        return None
    kind, named = response_format.get("type"), response_format.get("json_schema")
    if kind == "json_schema" and isinstance(named, dict) and isinstance(named.get("schema"), dict):
        return json.dumps(named["schema"])
    return json.dumps({"type": "object"}) if kind == "json_object" else None


@lru_cache(maxsize=256)
def _grammar(schema: str) -> str:
    import llguidance

    return str(llguidance.LLMatcher.grammar_from_json_schema(schema, overrides=_STYLE))


class Constraint:
    """What may come next in one answer."""

    def __init__(self, matcher: Any, n_vocab: int) -> None:
        self._matcher = matcher
        self._n_vocab = n_vocab

    @property
    def is_over(self) -> bool:
        """Whether nothing can be added to the answer."""
        return bool(self._matcher.is_stopped())

    def forbidden(self) -> NDArray[np.bool_]:
        """(vocabulary,): the tokens that can't come next. An answer that is over is only ended."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(bits, bitorder="little")[: self._n_vocab].astype(bool)
        return np.pad(~allowed, (0, self._n_vocab - len(allowed)), constant_values=True)

    def take(self, token: int) -> None:
        """The answer goes on with ``token``, one of those that can come next."""
        self._matcher.consume_token(token)


class Grammars:
    """Constraints for one tokenizer, which is read when the first is asked for.

    Args:
        n_vocab: size of the model's output. ends: tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, n_vocab: int, ends: Collection[int]) -> None:
        self._tokenizer = tokenizer
        self._n_vocab = n_vocab
        self._ends = sorted(ends)
        self._read: Any = None

    def start(self, schema: str) -> Constraint | None:
        """A constraint at the beginning of an answer; None where the schema can't be enforced, which is said once."""
        import llguidance
        import llguidance.hf

        if self._read is None:
            self._read = llguidance.hf.from_tokenizer(self._tokenizer, self._n_vocab, self._ends)
        matcher = llguidance.LLMatcher(self._read, _grammar(schema))
        if matcher.is_error():
            _say_once(matcher.get_error().splitlines()[0])
            return None
        return Constraint(matcher, self._n_vocab)


@lru_cache(maxsize=16)
def _say_once(why: str) -> None:
    log.warning("a schema can't be enforced here; the model is asked freely: %s", why)
