"""A local checkpoint answers like ``generate()``, whatever else is in its batch, and knows its own weights."""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaForCausalLM

from aloe.config import Config, ModelConfig, TinyConfig
from aloe.errors import ConfigError, DataError, EndpointError
from aloe.models.caller import Caller
from aloe.models.local import batch, decode
from aloe.models.local.batch import Codec, DecodedRow, Lane, split_rows
from aloe.models.local.checkpoint import load_model, load_tokenizer, model_card, save_checkpoint
from aloe.models.local.model import LocalModel, create_local_model, weight_digest
from aloe.models.local.prefixes import PrefixStore, shared_beginnings
from aloe.protocols import ChatModel, ChatRequest, Completion, PromptMessage
from aloe.training.tiny.model import create_model
from aloe.training.tiny.tokenizer import build_tokenizer

WORDS = [f"w{a}{b}" for a in "abcdefgh" for b in "abcdefgh"]


def save_tiny(folder: Path, seed: int) -> Path:
    tokenizer = build_tokenizer([" ".join(WORDS)])
    model = create_model(TinyConfig(d_model=32, n_layers=2, n_heads=4, d_ffn=48), tokenizer, seed)
    with torch.no_grad():  # untrained but lively: it answers in words, and differently to different prompts
        for parameter in model.model.layers.parameters():
            parameter.mul_(4.0)
        model.model.embed_tokens.weight[: len(tokenizer) - len(WORDS)] *= 0.01
    save_checkpoint(model, tokenizer, folder, model_card("tiny", "a test", {}), {"seed": seed})
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("checkpoint"), 0)


def requests(n: int, temperature: float | None) -> list[ChatRequest]:
    rng = Random(5)
    found = []
    for seed in range(n):
        turns = [" ".join(rng.choices(WORDS, k=rng.randint(1, 9))) for _ in range(rng.choice([1, 3, 5]))]
        messages = [PromptMessage(("user", "assistant")[i % 2], (text,)) for i, text in enumerate(turns)]
        found.append(ChatRequest(tuple(messages), temperature=temperature, seed=seed, max_tokens=12))
    return found


def answer(checkpoint: Path, asked: list[ChatRequest], batch_size: int = 32) -> list[Completion]:
    async def ask() -> list[Completion]:
        model = create_local_model(ModelConfig(uri=f"hf:{checkpoint}", batch_size=batch_size))
        assert isinstance(model, ChatModel)
        replies = await asyncio.gather(*(model.complete(r) for r in asked))
        await model.aclose()
        return list(replies)

    return asyncio.run(ask())


def test_greedy_equals_generate(checkpoint: Path) -> None:
    asked = requests(6, None)
    model, tokenizer = load_model(checkpoint), load_tokenizer(checkpoint)
    for request, got in zip(asked, answer(checkpoint, asked), strict=True):
        chat = [{"role": m.role, "content": m.content} for m in request.messages]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        made = model.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids["input_ids"].shape[1] :]
        assert got.text == tokenizer.decode(made, skip_special_tokens=True).strip()
        assert got.usage.prompt_tokens == ids["input_ids"].shape[1]
        assert got.usage.completion_tokens == sum(int(t) != tokenizer.eos_token_id for t in made)


@pytest.mark.parametrize("temperature", [None, 1.0])
def test_a_reply_does_not_depend_on_its_batch(checkpoint: Path, temperature: float | None) -> None:
    asked = requests(12, temperature)
    alone = [r.text for r in answer(checkpoint, asked, batch_size=1)]
    together = [r.text for r in answer(checkpoint, asked, batch_size=12)]
    backwards = [r.text for r in answer(checkpoint, asked[::-1], batch_size=5)][::-1]
    assert alone == together == backwards
    assert len(set(alone)) > 6


def test_samples_of_one_prompt_differ_by_seed_alone(checkpoint: Path) -> None:
    (base,) = requests(1, 1.0)
    asked = [ChatRequest(base.messages, temperature=1.0, seed=s, max_tokens=12) for s in (1, 2, 1)]
    first, second, again = (r.text for r in answer(checkpoint, asked))
    assert first == again != second


def test_a_kept_prefix_changes_nothing(checkpoint: Path) -> None:
    turns = requests(8, None)

    async def both() -> tuple[list[str], list[str]]:
        model = create_local_model(ModelConfig(uri=f"hf:{checkpoint}"))
        opened = await asyncio.gather(*(model.complete(r) for r in turns))
        longer = [
            ChatRequest(
                (*r.messages, PromptMessage("assistant", (o.text,)), PromptMessage("user", ("waa wbb",))),
                max_tokens=12,
            )
            for r, o in zip(turns, opened, strict=True)
        ]
        kept = [r.text for r in await asyncio.gather(*(model.complete(r) for r in longer))]
        await model.aclose()
        fresh = create_local_model(ModelConfig(uri=f"hf:{checkpoint}"))
        anew = [r.text for r in await asyncio.gather(*(fresh.complete(r) for r in longer))]
        await fresh.aclose()
        return kept, anew

    kept, anew = asyncio.run(both())
    assert kept == anew


def test_what_prompts_begin_with_is_read_once_and_changes_nothing(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, read = Random(3), []
    rules, people = " ".join(rng.choices(WORDS, k=90)), [" ".join(rng.choices(WORDS, k=80)) for _ in range(2)]
    asked = [
        ChatRequest(
            (PromptMessage("system", (rules,)), PromptMessage("user", (f"{people[i % 2]} {WORDS[i]}",))),
            temperature=0.8, seed=i, max_tokens=8,
        )
        for i in range(8)
    ]  # fmt: skip
    forward = LlamaForCausalLM.forward

    def count(self: LlamaForCausalLM, input_ids: torch.Tensor, **more: Any) -> Any:
        if input_ids.shape[1] > 1:
            read.append(tuple(input_ids.shape))
        return forward(self, input_ids=input_ids, **more)

    monkeypatch.setattr(LlamaForCausalLM, "forward", count)
    together = answer(checkpoint, asked)
    once = 90 + 2 * 80 + 8 * 12  # the rules once, each person once
    assert sum(rows * tokens for rows, tokens in read) < 2 * once < 8 * (90 + 80)  # in two batches, twice
    monkeypatch.setattr(decode, "LEAST_SHARED", 10**9)
    read.clear()
    assert [c.text for c in answer(checkpoint, asked)] == [c.text for c in together]
    assert sum(rows * tokens for rows, tokens in read) > 8 * 170


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple), min_size=2, max_size=8, unique=True))
def test_shared_beginnings_are_of_two_prompts_and_none_is_left_out(prompts: list[tuple[int, ...]]) -> None:
    found = shared_beginnings(prompts)
    assert [len(ids) for ids in found] == sorted(len(ids) for ids in found) and len(set(found)) == len(found)
    for ids in found:
        assert sum(prompt[: len(ids)] == ids for prompt in prompts) >= 2
    for a, b in itertools.combinations(prompts, 2):
        n = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        assert a[:n] in found


def test_stop_top_p_and_logprobs(checkpoint: Path) -> None:
    (base,) = requests(1, None)
    (plain,) = answer(checkpoint, [base])
    word = plain.text.split()[3]
    stopped = ChatRequest(base.messages, max_tokens=12, stop=(word,))
    narrow = ChatRequest(base.messages, max_tokens=12, temperature=2.0, top_p=1e-6, seed=3)
    scored = ChatRequest(base.messages, max_tokens=12, logprobs=3)
    short, top, logs = answer(checkpoint, [stopped, narrow, scored])
    assert short.text == plain.text[: plain.text.index(word)] and short.finish_reason == "stop"
    assert top.text == plain.text
    assert logs.logprobs is not None and len(logs.logprobs) >= logs.usage.completion_tokens
    assert all(len(row["top_logprobs"]) == 3 and row["logprob"] <= 0 for row in logs.logprobs)
    assert logs.logprobs[0]["logprob"] == pytest.approx(logs.logprobs[0]["top_logprobs"][0]["logprob"])


def test_rows_that_nobody_waits_for_any_more_are_not_decoded() -> None:
    """An interrupted rollout ends with the batch at work, not with all that wait behind it."""
    begun, go_on = threading.Event(), threading.Event()
    decoded: list[DecodedRow] = []

    class Patient:
        codec = Codec.__new__(Codec)

        def decode(self, rows: Sequence[DecodedRow]) -> None:
            decoded.extend(rows)
            begun.set()
            assert go_on.wait(10)
            for row in rows:
                row.take([1], [], "stop")

        def forget(self) -> None: ...
        def close(self) -> None: ...

    async def work() -> None:
        lane = Lane("patient", Patient, 1)
        await lane.codec()
        waiting = [asyncio.create_task(lane.decode(DecodedRow([i], 1, 0.0, None, None))) for i in range(6)]
        await asyncio.to_thread(begun.wait, 10)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        go_on.set()
        await lane.aclose()

    asyncio.run(work())
    assert len(decoded) == 1


def test_revision_is_a_digest_of_the_weights(checkpoint: Path, tmp_path: Path) -> None:
    assert weight_digest(checkpoint) == weight_digest(save_tiny(tmp_path / "same", 0))
    assert weight_digest(checkpoint) != weight_digest(save_tiny(tmp_path / "other", 1))


def test_faults_are_named(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a local model"):
        create_local_model(ModelConfig(uri="world:user"))
    with pytest.raises(DataError, match="contains no weights"):
        create_local_model(ModelConfig(uri=f"hf:{tmp_path}"))
    long = ChatRequest((PromptMessage("user", (" ".join(WORDS * 40),)),))
    with pytest.raises(EndpointError, match="context length is 2048"):
        answer(checkpoint, [long])


def test_prefix_store_forgets_the_oldest() -> None:
    def state(n: int) -> torch.Tensor:
        return torch.arange(n, dtype=torch.float32)[:, None]

    store = PrefixStore(budget=10)
    store.put([1, 2, 3], state(3))
    store.put([1, 2, 3, 4], state(4))
    assert store.longest([1, 2, 3, 4, 5])[0] == 4
    assert store.longest([1, 2, 3, 4])[0] == 3  # a proper prefix: at least one token must be computed
    store.put([9, 9, 9, 9], state(4))
    assert store.longest([1, 2, 3, 4, 5])[0] == 3
    assert store.longest([7]) == (0, None)
    store.clear()
    assert store.longest([1, 2, 3, 4, 5]) == (0, None)


def test_prefix_store_uses_a_reply_as_far_as_it_was_said_so() -> None:
    store = PrefixStore(budget=100)
    store.put([1, 2, 3, 7, 8, 9], torch.arange(6.0)[:, None], n_key=3)
    for ids, n in (([1, 2, 3, 7, 8, 9, 5], 6), ([1, 2, 3, 7, 6, 6], 4), ([1, 2, 3, 5], 3), ([1, 2, 4, 7], 0)):
        found, state = store.longest(ids)
        assert found == n and (n == 0 or state[:, 0].tolist() == list(range(n)))
    assert store.longest([1, 2, 3, 7, 8, 9])[0] == 5
    store.put([1, 2, 3, 4], torch.zeros(4, 1), n_key=3)  # said anew, otherwise
    assert store.longest([1, 2, 3, 4, 5])[0] == 4


def test_prefix_store_holds_the_turns_of_a_conversation_once() -> None:
    def state(n: int) -> torch.Tensor:
        return torch.arange(n, dtype=torch.float32)[:, None]

    store, talk = PrefixStore(budget=40), list(range(100))
    for end, n_key in ((6, 4), (12, 9), (20, 16)):  # prompt and reply, twice the longer one
        store.put(talk[:end], state(end), n_key)
    kept = {store._items[key][2].untyped_storage().data_ptr() for key in store._items}
    assert len(store._items) == 3 and len(kept) == 1 and store._held == 20
    for end in (6, 12, 20):
        n, found = store.longest([*talk[:end], 777])
        assert n == end and found.squeeze(-1).tolist() == list(range(end))
    store.put([*talk[:12], 500, 501, 502], state(15), 13)  # another branch goes on from the second turn
    assert store._held == 35 and store.longest([*talk[:12], 600])[0] == 12
    store.put(talk[:20], state(20), 16)  # the same prompt once more
    assert store._held == 35 and store.longest([*talk[:6], 600])[0] == 6
    store.put([1000, 1001, *range(38)], state(40), 39)  # takes all that there is: nothing is counted for what is gone
    assert store._held == 40 and len(store._items) == 1 and not store._owner and not any(store._views.values())
    assert store.longest([*talk[:6], 600]) == (0, None)


def test_a_second_turn_is_answered_as_without_a_kept_reply(checkpoint: Path) -> None:
    """Keys and values that decoding left behind are as good as those of a prompt that is read anew."""
    first = requests(8, None)

    def follow(replies: list[Completion]) -> list[ChatRequest]:
        return [
            ChatRequest(
                (*r.messages, PromptMessage("assistant", (c.text,)), PromptMessage("user", ("wab wcd",))), max_tokens=12
            )
            for r, c in zip(first, replies, strict=True)
        ]

    async def both() -> tuple[list[Completion], list[Completion]]:
        model = create_local_model(ModelConfig(uri=f"hf:{checkpoint}"))
        replies = list(await asyncio.gather(*(model.complete(r) for r in first)))
        again = list(await asyncio.gather(*(model.complete(r) for r in follow(replies))))
        await model.aclose()
        return replies, again

    replies, kept = asyncio.run(both())
    assert [c.text for c in kept] == [c.text for c in answer(checkpoint, follow(replies))]


def large_requests(of: str) -> list[ChatRequest]:
    """What needs more memory at once than there is."""
    own = [f"w{a}{b} " for a in "abcdef" for b in "abcdefgh"]  # what they began with together would be read once
    texts = [word + f"w{'abcdefgh'[i % 8]}a " * (900 + i) for i, word in enumerate(own)]
    if of == "prompts":
        return [ChatRequest((PromptMessage("user", (text,)),), max_tokens=3) for text in texts]
    said = (PromptMessage("user", (texts[0],)),)
    return [ChatRequest(said, max_tokens=100, temperature=1.0, seed=i) for i in range(256)]


OUT_OF_MEMORY = f"""
import asyncio, resource, sys
from aloe.config import ModelConfig
from aloe.models.local.model import create_local_model
from aloe.protocols import ChatRequest, PromptMessage
import torch
torch.set_num_threads(1)

{inspect.getsource(large_requests)}
async def main():
    model = create_local_model(ModelConfig(uri="hf:" + sys.argv[1], batch_size=48))
    await model.complete(ChatRequest((PromptMessage("user", ("waa",)),), max_tokens=2))
    used = 4096 * int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]) * 2**20,) * 2)
    for reply in await asyncio.gather(*(model.complete(r) for r in large_requests(sys.argv[3]))):
        print("reply:", ascii(reply.text))
    await model.aclose()

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits of memory as Linux has them")
@pytest.mark.parametrize(
    ("of", "megabytes", "told"),
    [
        ("prompts", 90, "out of memory with 48 prompts; continuing with 24"),
        ("samples", 18, "out of memory with 256 samples of one prompt; continuing with 128"),
    ],
)
def test_where_memory_runs_out_batches_are_halved(
    checkpoint: Path, of: str, megabytes: int, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked = large_requests(of)
    enough = [reply.text for reply in answer(checkpoint, asked, batch_size=48)]
    assert "out of memory" not in caplog.text
    command = [sys.executable, "-c", OUT_OF_MEMORY, str(checkpoint), str(megabytes), of]
    little = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert little.returncode == 0, little.stderr
    assert told in little.stderr
    assert little.stdout == "".join(f"reply: {text!a}\n" for text in enough)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 30)), min_size=1, max_size=20), st.integers(1, 400))
def test_rows_are_split_by_the_places_that_they_take(shapes: list[tuple[int, int]], most: int) -> None:
    rows = [DecodedRow([1] * n, tokens, 0.0, None, None) for n, tokens in shapes]
    parts = split_rows(rows, most)
    assert sorted(id(row) for part in parts for row in part) == sorted(map(id, rows))
    for part in parts:
        samples = Counter(len(row.ids) for row in part)  # here prompts differ by their lengths alone
        places = max(samples) + max(row.max_tokens for row in part) * max(samples.values())
        assert len(samples) == 1 or len(samples) * places <= most
    assert len({len(row.ids) for row in rows}) == sum(len({len(row.ids) for row in part}) for part in parts)
    assert split_rows(rows, 10**6) == [rows]


def test_a_batch_that_memory_does_not_bear_is_decoded_in_parts(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = decode.Decoder(str(checkpoint), "float32", 1 << 20)
    words = [" ".join(WORDS[i : i + 1 + i % 5]) for i in range(12)]
    prompts = [decoder.codec.encode([{"role": "user", "content": text}]) for text in words]

    def replies() -> list[list[int]]:
        rows = [DecodedRow(ids, 6, 0.0, None, None) for ids in prompts]
        decoder.forget()
        decoder.decode(rows)
        return [row.new for row in rows]

    whole = replies()
    monkeypatch.setattr(batch, "MOST_DECODED", 40 * 512)  # 40 places of a cache
    assert replies() == whole and any(whole)


class Stuck:
    """A decoder on a device that is out of memory and can't be asked for anything any more."""

    codec = Codec(None, 99)

    def decode(self, rows: Sequence[DecodedRow]) -> None:
        raise MemoryError("no room")

    def forget(self) -> None:
        raise RuntimeError("device lost")

    def close(self) -> None: ...


def test_requests_are_told_when_not_even_memory_can_be_freed() -> None:
    async def run() -> list[DecodedRow | BaseException]:
        lane = Lane("a model", Stuck, 8)
        await lane.codec()
        rows = [DecodedRow([number], 4, 0.0, None, None) for number in range(3)]
        return await asyncio.wait_for(asyncio.gather(*map(lane.decode, rows), return_exceptions=True), 20)

    for told in asyncio.run(run()):
        assert isinstance(told, EndpointError) and "a model: decoding failed: device lost" in str(told)


def test_one_process_holds_the_weights_once_for_all_roles(checkpoint: Path) -> None:
    """Roles sample the same checkpoint in their own ways; a second copy of a large model would not fit."""

    async def work() -> tuple[int, int]:
        roles = {
            "user": [ModelConfig(uri=f"hf:{checkpoint}", temperature=0.8, max_tokens=4)],
            "judge": [ModelConfig(uri=f"hf:{checkpoint}", temperature=0.0, max_tokens=3)],
            "generic": [ModelConfig(uri=f"hf:{checkpoint}", top_p=0.9, temperature=1.0, max_tokens=2)],
        }
        caller = Caller.open(Config(), None, seed=1, models=roles)
        try:
            gc.collect()
            before = sum(isinstance(o, LocalModel) for o in gc.get_objects())
            hello = (PromptMessage("user", ("waa wab",)),)
            replies = [await caller.call(role, role, "responder", hello) for role in roles]
            assert [r.generation.usage.completion_tokens for r in replies] == [4, 3, 2]
            return before, sum(isinstance(o, LocalModel) for o in gc.get_objects())
        finally:
            await caller.aclose()

    before, after = asyncio.run(work())
    assert after - before == 1


def test_the_switches_of_a_chat_template_reach_it(checkpoint: Path) -> None:
    codec = Codec(load_tokenizer(checkpoint), 64)
    codec.tokenizer.chat_template = "{% if enable_thinking is defined and not enable_thinking %}waa {% endif %}wab wac"
    hello = [{"role": "user", "content": "wad"}]
    assert len(codec.encode(hello, enable_thinking=False)) > len(codec.encode(hello))
