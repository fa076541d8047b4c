"""The decoding loop under ``aloe.models.local.model``: one forward pass per token for all rows of a batch.

Written out because ``generate()`` costs several milliseconds per token in set-up alone, samples all rows from
one generator, and grows its cache by copying it at every token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from aloe.models.local import batch as batches
from aloe.models.local.batch import Codec, DecodedRow, split_rows
from aloe.models.local.checkpoint import load_model, load_tokenizer
from aloe.models.local.grammar import Constraint, Grammars
from aloe.models.local.prefixes import PrefixStore, shared_beginnings
from aloe.models.local.processor import free_memory, give_back_memory

READ_TOGETHER = 16  # prompts that go through the model at once: more only adds padding
LEAST_SHARED = 64  # tokens that several prompts begin with from which they are read once for all
LARGE_BATCH = 64 << 20  # bytes of keys and values from which on their memory is given back to the system
MOST_SAMPLED = 1 << 21  # probabilities made at once where rows are sampled


def _nothing(ids: Sequence[int]) -> tuple[int, Any]:
    return 0, None


class BufferLayer(DynamicLayer):  # type: ignore[misc]
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

    def select(self, rows: torch.Tensor) -> None:
        """Keep these rows of the batch only."""
        self.buffer = tuple(part[rows] for part in self.buffer)
        self._show()


@dataclass(slots=True)
class _Batch:
    """Rows being decoded: ``n_samples`` places per prompt (None where a prompt has fewer samples).

    ``mask`` is bool: (prompts, 1, n_samples, columns) for plain attention, else (prompts, columns). ``spans``: where
    each prompt's tokens stand among the columns; from column ``width`` on stands what is new. ``constraints``: by the
    identity of a row, of those that are held to a schema.
    """

    rows: list[DecodedRow | None]
    n_samples: int
    alive: NDArray[np.bool_]
    lengths: torch.Tensor  # tokens of each prompt
    spans: list[tuple[tuple[int, int], tuple[int, int]]]
    width: int
    cache: Any
    mask: torch.Tensor
    n_filled: int
    logits: torch.Tensor  # (prompts * n_samples, vocabulary)
    constraints: dict[int, Constraint] = field(default_factory=dict)


class Decoder:
    """Model, tokenizer and prefix store of one checkpoint. Not thread-safe: one thread decodes.

    Args:
        dtype: of the weights: a name of torch's, or auto (float32, on a GPU as they were saved).
        most_cached: bytes of keys and values kept from turn to turn; at most a quarter of the memory (of the GPU where
            the model is on one) that is free once the model is loaded.
    """

    def __init__(self, path: str, dtype: str, most_cached: int) -> None:
        if dtype == "auto" and not torch.cuda.is_available():
            dtype = "float32"
        model = load_model(path, dtype).eval()
        self._hold(model.cuda() if torch.cuda.is_available() else model, load_tokenizer(path), most_cached)

    @classmethod
    def of(cls, model: Any, tokenizer: Any, most_cached: int) -> Decoder:
        """A decoder over a model that is there already, and may be trained between batches: ``forget`` after a step."""
        decoder = cls.__new__(cls)
        decoder._hold(model, tokenizer, most_cached)
        return decoder

    def _hold(self, model: Any, tokenizer: Any, most_cached: int) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.device = self.model.device
        config = self.model.config.get_text_config()
        self.codec = Codec(self.tokenizer, int(getattr(config, "max_position_embeddings", 0) or 1 << 20))
        self.ends = self._end_ids()
        self._grammars = Grammars(self.tokenizer, int(config.vocab_size), self.ends)
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        self._plain = kinds == {"full_attention"} and hasattr(config, "num_attention_heads")
        self._shape = self._cache_shape(config) if self._plain else None
        free = torch.cuda.mem_get_info(self.device)[0] if self.device.type == "cuda" else free_memory()
        self._store = PrefixStore(min(most_cached, free // 4) // self._token_bytes() if self._plain else 0)

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

    def _token_bytes(self) -> int:
        """What the keys and values of one token take."""
        layers, heads, size = self._shape or (1, 1, 1)
        return int(2 * layers * heads * size * self.model.dtype.itemsize)

    def forget(self) -> None:
        """Free what is kept of earlier turns."""
        self._store.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def close(self) -> None:
        """Free the model and what is kept; nothing can be decoded any more."""
        del self.model
        self.forget()

    def decode(self, rows: Sequence[DecodedRow]) -> None:
        """Fill in ``new``, ``logprobs`` and ``finish`` of every row, on a CPU in parts that memory bears."""
        parts = [rows] if self.device.type != "cpu" else split_rows(rows, batches.MOST_DECODED // self._token_bytes())
        for part in parts:
            self._decode(part)
            n_bytes = sum(len(row.ids) + row.max_tokens for row in part) * self._token_bytes()
            if (
                self.device.type == "cpu" and n_bytes > LARGE_BATCH
            ):  # else the next one's keys find no place in its holes
                give_back_memory()

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def _decode(self, rows: Sequence[DecodedRow]) -> None:
        batch = self._start(rows)
        for asked in rows:
            constraint = self._grammars.start(asked.schema) if asked.schema is not None else None
            if constraint is not None:
                batch.constraints[id(asked)] = constraint
        for step in range(max(row.max_tokens for row in rows)):
            tokens = self._pick(batch, step)
            for i, row in enumerate(batch.rows):
                if row is not None and batch.alive[i]:
                    batch.alive[i] = self._accept(row, int(tokens[i]), batch.constraints.get(id(row)))
            if not batch.alive.any():
                break
            tokens = self._shrink(batch, tokens)
            self._forward(batch, tokens, step)
        self._keep(batch, range(len(batch.spans)))

    def _forward(self, batch: _Batch, tokens: torch.Tensor, step: int) -> None:
        """One more token for all rows: a prompt's samples are queries side by side, blind to each other."""
        n_prompts, n = len(batch.lengths), batch.n_samples
        start = batch.n_filled
        if self._plain:
            own = torch.arange(n, device=self.device)
            batch.mask[:, 0, own, start + own] = True
            mask = batch.mask[..., : start + n]
        else:
            batch.mask[:, start] = True
            mask = batch.mask[:, : start + 1].long()
        output = self.model(
            input_ids=tokens.to(self.device).view(n_prompts, n),
            attention_mask=mask,
            position_ids=(batch.lengths + step)[:, None].expand(n_prompts, n),
            past_key_values=batch.cache,
            use_cache=True,
        )
        batch.n_filled += n
        batch.logits = output.logits.flatten(0, 1)

    def _shrink(self, batch: _Batch, tokens: torch.Tensor) -> torch.Tensor:
        """Drop prompts whose samples are all finished, once they are a quarter of the batch."""
        going: NDArray[np.bool_] = np.asarray(batch.alive.reshape(-1, batch.n_samples).any(1))
        if not self._plain or going.sum() * 4 > going.size * 3:
            return tokens
        self._keep(batch, np.flatnonzero(~going).tolist())
        left = np.flatnonzero(going)
        keep = torch.from_numpy(left).to(self.device)
        flat = np.flatnonzero(np.repeat(going, batch.n_samples))
        for layer in batch.cache.layers:
            layer.select(keep)
        batch.mask, batch.lengths = batch.mask[keep], batch.lengths[keep]
        batch.spans = [batch.spans[i] for i in left]
        batch.rows = [batch.rows[i] for i in flat]
        batch.alive = batch.alive[flat]
        return tokens[torch.from_numpy(flat)]

    def _accept(self, row: DecodedRow, token: int, constraint: Constraint | None) -> bool:
        """Append a token; whether the row goes on."""
        if token in self.ends:
            row.finish, row.end = "stop", token
            return False
        row.new.append(token)
        if constraint is not None:
            constraint.take(token)
            if constraint.is_over:
                row.finish = "stop"
                return False
        if row.stop and any(stop in self.codec.text(row.new[-32:]) for stop in row.stop):
            row.finish = "stop"
            return False
        return len(row.new) < row.max_tokens

    def _start(self, rows: Sequence[DecodedRow]) -> _Batch:
        """Run the prompts through the model: equal ones once, and only what is not kept from earlier turns."""
        groups: dict[tuple[int, ...], list[DecodedRow]] = {}
        for number, row in enumerate(rows):
            groups.setdefault((*row.ids, *(() if self._plain else (-1 - number,))), []).append(row)
        n_samples = max(map(len, groups.values()))
        n_new = max(row.max_tokens for row in rows)
        if self._plain:
            self._read_shared(list(groups))
        lookup = self._store.longest if self._plain else _nothing
        found = [(*lookup(group[0].ids), group) for group in groups.values()]
        found.sort(key=lambda entry: len(entry[2][0].ids) - entry[0])  # those with equally much to read side by side
        held = [(n, state) for n, state, _ in found]
        prompts = [list(group[0].ids) for _, _, group in found]
        rest = [ids[n:] for ids, (n, _) in zip(prompts, held, strict=True)]
        n_kept, n_rest = max(n for n, _ in held), max(map(len, rest))
        width, capacity = n_kept + n_rest, n_kept + n_rest + n_new * n_samples
        # two left-padded blocks: what is kept, then what is new
        mask = torch.zeros(len(prompts), capacity, dtype=torch.bool)
        spans = []
        tokens = torch.full((len(prompts), n_rest), self.tokenizer.pad_token_id)
        positions = torch.zeros(len(prompts), n_rest, dtype=torch.long)
        for i, ((n, _), ids) in enumerate(zip(held, rest, strict=True)):
            mask[i, n_kept - n : n_kept] = True
            mask[i, width - len(ids) : width] = True
            spans.append(((n_kept - n, n_kept), (width - len(ids), width)))
            tokens[i, n_rest - len(ids) :] = torch.tensor(ids)
            positions[i, n_rest - len(ids) :] = torch.arange(n, n + len(ids))
        cache = self._cache(held, n_kept, width, capacity)
        mask, tokens, positions = mask.to(self.device), tokens.to(self.device), positions.to(self.device)
        logits = []
        step = READ_TOGETHER if self._plain else len(prompts)
        for at in range(0, len(prompts), step):
            few = slice(at, at + step)
            new = slice(n_rest - max(map(len, rest[few])), None)
            output = self.model(
                input_ids=tokens[few, new],
                attention_mask=mask[few, :width].long(),
                position_ids=positions[few, new],
                past_key_values=self._part(cache, few, width - tokens[0, new].numel()),
                use_cache=True,
                logits_to_keep=1,
            )
            logits.append(output.logits[:, -1])
        if self._plain:
            mask = mask[:, None, None].expand(-1, 1, n_samples, -1).clone()
        padded: list[DecodedRow | None] = []
        for _, _, group in found:
            padded += [*group, *([None] * (n_samples - len(group)))]
        return _Batch(
            rows=padded,
            n_samples=n_samples,
            alive=np.array([row is not None for row in padded]),
            lengths=torch.tensor([len(ids) for ids in prompts], device=self.device),
            spans=spans,
            width=width,
            cache=cache,
            mask=mask,
            n_filled=width,
            logits=torch.cat(logits).repeat_interleave(n_samples, 0),
        )

    def _read_shared(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Read and keep what several prompts begin with: the instructions of a role, a persona, a conversation."""
        for ids in shared_beginnings(prompts):
            n, state = self._store.longest((*ids, -1))
            if len(ids) - n < LEAST_SHARED:
                continue
            cache = self._cache([(n, state)], n, n, len(ids))
            self.model(
                input_ids=torch.tensor([ids[n:]], device=self.device),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long, device=self.device),
                position_ids=torch.arange(n, len(ids), device=self.device)[None],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            layers = [torch.stack([part[0] for part in layer.buffer]) for layer in cache.layers]
            self._store.put(ids, torch.stack(layers))

    def _part(self, cache: DynamicCache, few: slice, n_filled: int) -> DynamicCache:
        """A cache over some prompts of ``cache``, whose new tokens go to the columns from ``n_filled`` on."""
        if self._shape is None:
            return cache
        part = DynamicCache()
        part.layers = [BufferLayer(x.buffer[0][few], x.buffer[1][few], n_filled) for x in cache.layers]
        return part

    def _cache(self, held: Sequence[tuple[int, Any]], n_kept: int, width: int, capacity: int) -> DynamicCache:
        """Room for ``capacity`` columns; what is held of each prompt ends at column ``n_kept``."""
        cache = DynamicCache()
        if self._shape is None:
            return cache
        n_layers, heads, size = self._shape
        layers = []
        for layer in range(n_layers):
            keys = torch.zeros(len(held), heads, capacity, size, dtype=self.model.dtype, device=self.device)
            values = torch.zeros_like(keys)
            for i, (n, state) in enumerate(held):
                if n:
                    keys[i, :, n_kept - n : n_kept] = state[layer, 0]
                    values[i, :, n_kept - n : n_kept] = state[layer, 1]
            layers.append(BufferLayer(keys, values, width))
        cache.layers = layers
        return cache

    def _keep(self, batch: _Batch, which: Iterable[int]) -> None:
        """Remember keys and values of these prompts, with their replies where each has one alone: the next turn
        mostly begins with both."""
        if not self._plain:
            return
        for i in which:
            row = batch.rows[i * batch.n_samples]
            assert row is not None  # a prompt's first place is always taken
            n_new = min(len(row.new), batch.n_filled - batch.width) if batch.n_samples == 1 else 0
            blocks = (*batch.spans[i], (batch.width, batch.width + n_new))
            layers = [
                torch.stack([torch.cat([part[i, :, a:b] for a, b in blocks], 1) for part in layer.buffer])
                for layer in batch.cache.layers
            ]
            self._store.put([*row.ids, *row.new[:n_new]], torch.stack(layers), len(row.ids))

    def _pick(self, batch: _Batch, step: int) -> torch.Tensor:
        """The next token of each row: the best, or where its number falls in the cumulative distribution."""
        going = [(i, row) for i, row in enumerate(batch.rows) if row is not None and batch.alive[i]]
        for i, row in going:
            if (constraint := batch.constraints.get(id(row))) is not None:
                batch.logits[i, torch.from_numpy(constraint.forbidden()).to(self.device)] = -torch.inf
        tokens = batch.logits.argmax(-1).cpu()
        sampled = [(i, row) for i, row in going if row.temperature > 0]
        if sampled:
            places = [i for i, _ in sampled]
            heat = torch.tensor([[row.temperature] for _, row in sampled], dtype=torch.double)
            at = torch.tensor([[row.uniforms[step]] for _, row in sampled], dtype=torch.double)
            n = max(1, MOST_SAMPLED // batch.logits.shape[-1])
            for few in (slice(i, i + n) for i in range(0, len(places), n)):
                probabilities = torch.softmax(batch.logits[places[few]].cpu().double() / heat[few], -1)
                probabilities = self._nucleus(probabilities, [row.top_p for _, row in sampled[few]])
                summed = probabilities.cumsum_(-1)
                picked = torch.searchsorted(summed, at[few] * summed[:, -1:], right=True)[:, 0]
                tokens[places[few]] = picked.clamp(max=batch.logits.shape[-1] - 1)
        for i, row in going:
            if row.n_logprobs is not None:
                self._note_logprobs(batch.logits[i], int(tokens[i]), row)
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

    def _note_logprobs(self, logits: torch.Tensor, token: int, row: DecodedRow) -> None:
        logs = torch.log_softmax(logits.float().cpu(), -1)
        n = row.n_logprobs or 0
        top = logs.topk(min(n, logs.shape[-1]))
        others = [
            {"token": self.tokenizer.decode([int(t)]), "logprob": float(v)}
            for v, t in zip(top.values, top.indices, strict=True)
            if v > -torch.inf  # what a schema forbids is not an alternative
        ]
        row.logprobs.append(
            {"token": self.tokenizer.decode([token]), "logprob": float(logs[token]), "top_logprobs": others}
        )
