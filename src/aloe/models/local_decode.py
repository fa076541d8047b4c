"""The decoding loop under ``aloe.models.local``: one forward pass per token for all rows of a batch.

Written out because ``generate()`` costs several milliseconds per token in set-up alone, samples all rows from
one generator, and grows its cache by copying it at every token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from aloe.models.checkpoint import load_model, load_tokenizer
from aloe.models.local import PrefixStore, Row


class BufferLayer(DynamicLayer):
    """A cache layer that writes into a buffer of known capacity instead of concatenating.

    ``buffer``: two tensors (batch, heads, capacity, head size); the first ``n_filled`` columns are in use.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, n_filled: int) -> None:
        super().__init__()
        self.buffer = (keys, values)
        self.n_filled = n_filled
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True
        self._show()

    def _show(self) -> None:
        self.keys, self.values = (part[:, :, : self.n_filled] for part in self.buffer)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        end = self.n_filled + key_states.shape[-2]
        for part, new in zip(self.buffer, (key_states, value_states), strict=True):
            part[:, :, self.n_filled : end] = new
        self.n_filled = end
        self._show()
        return self.keys, self.values


class Decoder:
    """Model, tokenizer and prefix store of one checkpoint. Not thread-safe: one thread decodes."""

    def __init__(self, path: str, cached_tokens: int) -> None:
        self.tokenizer = load_tokenizer(path)
        self.model = load_model(path).eval()
        config = self.model.config.get_text_config()
        self.max_positions = int(getattr(config, "max_position_embeddings", 0) or 1 << 20)
        self.ends = self._end_ids()
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        self._plain = kinds == {"full_attention"} and hasattr(config, "num_attention_heads")
        self._store = PrefixStore(cached_tokens if self._plain else 0)
        self._shape = self._cache_shape(config) if self._plain else None

    def _end_ids(self) -> frozenset[int]:
        ends = self.model.generation_config.eos_token_id
        ends = [ends] if isinstance(ends, int) else list(ends or [])
        if self.tokenizer.eos_token_id is not None:
            ends.append(self.tokenizer.eos_token_id)
        return frozenset(ends)

    @staticmethod
    def _cache_shape(config: Any) -> tuple[int, int, int]:
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return config.num_hidden_layers, heads, size

    def encode(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """Token ids of a conversation up to and including the generation prompt."""
        encoded = self.tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=True)
        return list(encoded["input_ids"])

    def text(self, ids: Sequence[int]) -> str:
        """The reply's text without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    @torch.inference_mode()
    def decode(self, rows: Sequence[Row]) -> None:
        """Fill in ``new``, ``logprobs`` and ``finish`` of every row."""
        cache, mask, logits = self._prefill(rows)
        n_steps = max(row.max_tokens for row in rows)
        alive = np.ones(len(rows), dtype=bool)
        column = mask.shape[1] - n_steps
        lengths = torch.tensor([len(row.ids) for row in rows])
        for step in range(n_steps):
            tokens = self._pick(logits, rows, step)
            for i in np.flatnonzero(alive):
                alive[i] = self._accept(rows[i], int(tokens[i]))
            if not alive.any() or step == n_steps - 1:
                break
            mask[:, column + step] = 1
            output = self.model(
                input_ids=tokens[:, None],
                attention_mask=mask[:, : column + step + 1],
                position_ids=(lengths + step)[:, None],
                past_key_values=cache,
                use_cache=True,
            )
            logits = output.logits[:, -1]

    def _accept(self, row: Row, token: int) -> bool:
        """Append a token; whether the row goes on."""
        if token in self.ends:
            row.finish = "stop"
            return False
        row.new.append(token)
        if row.stop and any(stop in self.text(row.new[-32:]) for stop in row.stop):
            row.finish = "stop"
            return False
        return len(row.new) < row.max_tokens

    def _prefill(self, rows: Sequence[Row]) -> tuple[Any, torch.Tensor, torch.Tensor]:
        """Cache, attention mask (batch, columns incl. those of the new tokens) and the first logits.

        Equal prompts (several samples of one turn) are computed once and copied.
        """
        n_new = max(row.max_tokens for row in rows)
        unique: dict[tuple[int, ...], int] = {}
        which = torch.tensor([unique.setdefault(tuple(row.ids), len(unique)) for row in rows])
        prompts = [list(ids) for ids in unique]
        held = [self._store.longest(ids) for ids in prompts] if self._plain else [(0, None)] * len(prompts)
        rest = [ids[n:] for ids, (n, _) in zip(prompts, held, strict=True)]
        n_kept, n_rest = max(n for n, _ in held), max(map(len, rest))
        # two left-padded blocks: what is kept, then what is new
        mask = torch.zeros(len(prompts), n_kept + n_rest + n_new, dtype=torch.long)
        tokens = torch.full((len(prompts), n_rest), self.tokenizer.pad_token_id)
        positions = torch.zeros(len(prompts), n_rest, dtype=torch.long)
        for i, ((n, _), ids) in enumerate(zip(held, rest, strict=True)):
            mask[i, n_kept - n : n_kept] = 1
            mask[i, n_kept + n_rest - len(ids) : n_kept + n_rest] = 1
            tokens[i, n_rest - len(ids) :] = torch.tensor(ids)
            positions[i, n_rest - len(ids) :] = torch.arange(n, n + len(ids))
        cache = self._cache(held, n_kept, n_kept + n_rest + n_new)
        output = self.model(
            input_ids=tokens,
            attention_mask=mask[:, : n_kept + n_rest],
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        if self._plain:
            self._keep(prompts, cache, mask)
        if len(prompts) < len(rows):
            self._spread(cache, which)
        return cache, mask[which], output.logits[:, -1][which]

    def _cache(self, held: Sequence[tuple[int, Any]], n_kept: int, capacity: int) -> DynamicCache:
        cache = DynamicCache()
        if self._shape is None:
            return cache
        n_layers, heads, size = self._shape
        layers = []
        for layer in range(n_layers):
            keys = torch.zeros(len(held), heads, capacity, size, dtype=self.model.dtype)
            values = torch.zeros_like(keys)
            for i, (n, state) in enumerate(held):
                if n:
                    keys[i, :, n_kept - n : n_kept] = state[layer, 0]
                    values[i, :, n_kept - n : n_kept] = state[layer, 1]
            layers.append(BufferLayer(keys, values, n_kept))
        cache.layers = layers
        return cache

    def _keep(self, prompts: Sequence[list[int]], cache: DynamicCache, mask: torch.Tensor) -> None:
        width = cache.layers[0].n_filled
        for i, ids in enumerate(prompts):
            columns = mask[i, :width].bool()
            state = torch.stack(
                [torch.stack([part[i][:, columns] for part in (l.keys, l.values)]) for l in cache.layers]
            )
            self._store.put(ids, state)

    @staticmethod
    def _spread(cache: DynamicCache, which: torch.Tensor) -> None:
        for layer in cache.layers:
            if isinstance(layer, BufferLayer):
                layer.buffer = tuple(part[which] for part in layer.buffer)
                layer._show()
            else:
                layer.keys, layer.values = layer.keys[which], layer.values[which]

    def _pick(self, logits: torch.Tensor, rows: Sequence[Row], step: int) -> torch.Tensor:
        """The next token of each row: the best one, or the inverse of the cumulative distribution at its number."""
        tokens = logits.argmax(-1)
        sampled = [i for i, row in enumerate(rows) if row.temperature > 0 and step < row.max_tokens]
        if sampled:
            part = logits[sampled].double()
            heat = torch.tensor([rows[i].temperature for i in sampled], dtype=torch.double)[:, None]
            probabilities = torch.softmax(part / heat, -1)
            probabilities = self._nucleus(probabilities, [rows[i].top_p for i in sampled])
            summed = probabilities.cumsum(-1)
            at = torch.tensor([rows[i].uniforms[step] for i in sampled], dtype=torch.double)[:, None]
            picked = torch.searchsorted(summed, at * summed[:, -1:], right=True)[:, 0]
            tokens[sampled] = picked.clamp(max=logits.shape[-1] - 1)
        if any(row.n_logprobs is not None for row in rows):
            self._note_logprobs(logits, tokens, rows, step)
        return tokens

    @staticmethod
    def _nucleus(probabilities: torch.Tensor, top_p: Sequence[float | None]) -> torch.Tensor:
        """Zero the tail beyond ``top_p`` of the mass, per row."""
        if all(p is None or p >= 1 for p in top_p):
            return probabilities
        limit = torch.tensor([1.0 if p is None else p for p in top_p], dtype=torch.double)[:, None]
        ordered, order = probabilities.sort(-1, descending=True)
        ordered[ordered.cumsum(-1) - ordered >= limit] = 0.0
        return torch.zeros_like(probabilities).scatter(-1, order, ordered)

    def _note_logprobs(self, logits: torch.Tensor, tokens: torch.Tensor, rows: Sequence[Row], step: int) -> None:
        logs = torch.log_softmax(logits.float(), -1)
        for i, row in enumerate(rows):
            if row.n_logprobs is None or len(row.logprobs) != step or row.finish == "stop":
                continue
            top = logs[i].topk(min(max(row.n_logprobs, 1), logs.shape[-1]))
            row.logprobs.append(
                {
                    "token": self.tokenizer.decode([int(tokens[i])]),
                    "logprob": float(logs[i, tokens[i]]),
                    "top_logprobs": [
                        {"token": self.tokenizer.decode([int(t)]), "logprob": float(v)}
                        for v, t in zip(top.values, top.indices, strict=True)
                    ][: row.n_logprobs],
                }
            )
