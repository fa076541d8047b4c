"""``hf:PATH_OR_ID``: a local causal language model as a ChatModel, with batching and cached prefixes.

Requests that wait at the same time are decoded together (left-padded, sorted by length). Each request samples
with its own uniform numbers, drawn from its own seed, so that its reply does not depend on what else was in the
batch (up to the rounding of matrix products). A conversation's keys and values, those of its replies among them,
are kept from turn to turn: only what is new is computed. Where memory runs out, the batch is halved (prompts first,
then the samples of one prompt) and goes on. Models whose attention is not plain causal attention go without that
cache.

With ``replicas`` several processes hold the model and decode side by side, on GPUs each on one of its own. A
conversation stays with one of them, chosen by its first message alone, so that its kept prefix is of use and its
reply does not depend on what came first.

``revision`` is a digest of weights and tokenizer: a retrained checkpoint never replays its predecessor's calls.
"""

from __future__ import annotations

import hashlib
import time
from functools import lru_cache, partial
from pathlib import Path

from aloe.config import ModelConfig
from aloe.errors import ConfigError, DataError, EndpointError, need_packages
from aloe.models.local.batch import BatchDecoder, Codec, DecodedRow, Lane
from aloe.models.local.grammar import schema_of
from aloe.models.local.packaged import resolve
from aloe.models.local.processor import cpu_has_bfloat16, pays_on_cpu, wait_passively, width_of
from aloe.models.uri import portable
from aloe.protocols import ChatRequest, Completion
from aloe.seeding import derive_rng
from aloe.types import Usage

DEFAULT_MAX_TOKENS = 256
MOST_CACHED = 8 << 30  # bytes of kept prefixes on GPUs, all processes together; at most a quarter of what is free
MOST_CACHED_ON_CPU = 2 << 30
_SETTLED = 2 * 10**9  # ns since a file was written, from which its size and time tell whether it was written again
_DIGESTED = ("*.safetensors", "*.bin", "tokenizer*", "*.model", "chat_template*", "*config.json", "vocab*", "merges*")


def weight_digest(path: str | Path) -> str:
    """Short digest over the weight, tokenizer and config files of a checkpoint directory.

    Raises:
        DataError: the directory contains no weights.
    """
    folder = Path(path)
    files = sorted({file for pattern in _DIGESTED for file in folder.glob(pattern)})
    if not any(file.suffix in (".safetensors", ".bin") for file in files):
        raise DataError(f"{folder} contains no weights", "train it first, or give a directory with *.safetensors")
    stamped = tuple((file, *_stamp(file)) for file in files)
    is_settled = max(at for _, _, at in stamped) < time.time_ns() - _SETTLED  # clocks of files are coarse
    return (_digest_files if is_settled else _digest_files.__wrapped__)(stamped)


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=64)
def _digest_files(stamped: tuple[tuple[Path, int, int], ...]) -> str:
    """Names and contents of files; sizes and times only say whether they were read before."""
    files = [file for file, _, _ in stamped]
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        digest.update(file.name.encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def weight_dtype(config: ModelConfig, path: str, width: int | None = None) -> str:
    """The format that the weights are read in: ``auto`` is bfloat16 where a CPU decodes faster so.

    Remains ``auto`` for what a GPU's models and a CPU's small ones have always had.

    Args:
        width: hidden size of the model; None: as its config at ``path`` says.
    """
    if config.dtype != "auto" or not cpu_has_bfloat16() or not pays_on_cpu(width or width_of(path)):
        return config.dtype
    import torch

    return "auto" if torch.cuda.is_available() else "bfloat16"


def create_local_model(config: ModelConfig, replicas: int = 1) -> LocalModel:
    """The model of an ``hf:`` URI, loaded on its first request.

    Args:
        replicas: processes that decode side by side; 1: this one.

    Raises:
        ConfigError: not an ``hf:`` URI, or no process to decode.
        DataError: a directory without weights.
    """
    scheme, _, path = config.uri.partition(":")
    if scheme != "hf" or not path:
        raise ConfigError(f"'{config.uri}' is not a local model", "write hf:PATH or hf:MODEL_ID")
    if replicas < 1:
        raise ConfigError(f"replicas is {replicas}", "use at least 1")
    need_packages(f"'{config.uri}'", ("torch", "transformers"), "train")
    wait_passively()
    return LocalModel(config, resolve(path), replicas)


def most_cached() -> int:
    """Bytes of prefixes that all processes together may keep from turn to turn."""
    import torch

    return MOST_CACHED if torch.cuda.is_available() else MOST_CACHED_ON_CPU


def _open_here(path: str, dtype: str) -> BatchDecoder:
    from aloe.models.local.decode import Decoder

    return Decoder(path, dtype, most_cached())


def _open_in_worker(path: str, dtype: str, number: int, n: int) -> BatchDecoder:
    from aloe.models.local.pool import WorkerDecoder

    return WorkerDecoder(path, dtype, most_cached() // n, number, n)


class LocalModel:
    """A ChatModel over transformers: one lane for each process that decodes."""

    def __init__(self, config: ModelConfig, path: str, replicas: int) -> None:
        self.name = portable(config.uri)
        local = Path(path)
        self.revision = weight_digest(local) if local.is_dir() else path
        dtype = weight_dtype(config, path)
        if dtype != "auto":  # other weights, other answers
            self.revision += f" in {dtype}"
        openers = [partial(_open_in_worker, path, dtype, i, replicas) for i in range(replicas)]
        if replicas == 1:
            openers = [partial(_open_here, path, dtype)]
        self._lanes = [Lane(self.name, opener, config.batch_size) for opener in openers]

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer a request, together with whatever else is waiting.

        Raises:
            EndpointError: the conversation does not fit into the model's context, or decoding failed.
        """
        lane = self._lane(request)
        codec = await lane.codec()
        switches = request.extra.get("chat_template_kwargs") or {}
        ids = codec.encode([{"role": m.role, "content": m.content} for m in request.messages], **switches)
        if len(ids) >= codec.max_positions:
            raise EndpointError(
                f"{self.name}: a prompt has {len(ids)} tokens, but the context length is {codec.max_positions}",
                "use fewer turns or a model with a longer context",
            )
        row = await lane.decode(_row(request, ids, codec.max_positions))
        return _completion(codec, row)

    def _lane(self, request: ChatRequest) -> Lane:
        """The same for all turns of a conversation: by what stands before the first reply."""
        if len(self._lanes) == 1:
            return self._lanes[0]
        digest = hashlib.blake2b(digest_size=8)
        for message in request.messages:
            if message.role == "assistant":
                break
            digest.update(message.content.encode() + b"\0")
        return self._lanes[int.from_bytes(digest.digest()) % len(self._lanes)]

    async def aclose(self) -> None:
        """Finish what is waiting, then free the model."""
        for lane in self._lanes:
            await lane.aclose()


def _row(request: ChatRequest, ids: list[int], max_positions: int) -> DecodedRow:
    max_tokens = min(request.max_tokens or DEFAULT_MAX_TOKENS, max_positions - len(ids))
    temperature = request.temperature or 0.0
    uniforms = derive_rng(request.seed or 0, "sampling").random(max_tokens) if temperature > 0 else None
    schema = schema_of(request.response_format)
    return DecodedRow(ids, max_tokens, temperature, request.top_p, uniforms, request.stop, request.logprobs, schema)


def _completion(codec: Codec, row: DecodedRow) -> Completion:
    text, finish = codec.text(row.new), row.finish
    for stop in row.stop:
        if stop and (at := text.find(stop)) >= 0:
            text, finish = text[:at], "stop"
    usage = Usage(prompt_tokens=len(row.ids), completion_tokens=len(row.new))
    return Completion(text, finish, usage, row.logprobs if row.n_logprobs is not None else None)
