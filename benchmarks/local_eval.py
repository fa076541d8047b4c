"""Benchmarking a local checkpoint: all conversations in lockstep batches against one reply at a time.

100 personas x 10 turns of a Llama with random weights (31M parameters; what it says does not matter, how long it takes
does) through the benchmark itself: simulated user, judge, journal and all. Compared with transformers' ``generate``,
one prompt at a time, greedy, on the same prompts of a sample of the personas, scaled to all; the lockstep run is made
before and after it. ``ratio`` is of processor seconds, which other work on the machine does not move; ``ratio_wall`` is
of the clock. Replies must agree; where one does not, the model's own preference at the first differing token must be
a tie up to rounding.

    python benchmarks/local_eval.py                        # some minutes on two cores
    python benchmarks/local_eval.py --personas 20 --sample 4 --turns 4
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

from aloe.bench.runner import run_benchmark
from aloe.config import Config, ModelConfig, load_config
from aloe.models.caller import Caller
from aloe.models.calls import Reply
from aloe.protocols import PromptMessage
from aloe.types import Persona
from aloe.world.latent import draw_facts, draw_traits, write_personality, write_profile
from aloe.world.lexicon.options import narrow

WIDTH, LAYERS, HEADS, KV_HEADS, FFN = 640, 6, 10, 2, 1792
Call = tuple[str, tuple[PromptMessage, ...], str]  # persona's path, prompt, reply


def make_personas(n: int) -> list[Persona]:
    """``n`` personas of the world."""
    rng, lexicon = Random(0), narrow()
    made = []
    for i in range(n):
        profile = write_profile(draw_facts(rng, lexicon), "She", rng, lexicon)
        personality = write_personality(draw_traits(rng, lexicon), "She", rng, lexicon)
        made.append(
            Persona(
                persona_id=f"p{i}", profile=profile, personality=personality,
                profile_id=f"p{i}", personality_id=f"t{i}", split="bench",
            )
        )  # fmt: skip
    return made


def make_checkpoint(folder: Path, vocabulary: int) -> int:
    """A random Llama with the project's own word tokenizer; returns its number of parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from aloe.training.tiny.tokenizer import SPECIAL, build_tokenizer

    texts = [p.profile + " " + p.personality for p in make_personas(2000)]
    tokenizer = build_tokenizer(texts, vocabulary)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=max(vocabulary, len(tokenizer)), hidden_size=WIDTH, intermediate_size=FFN,
            num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS,
            max_position_embeddings=4096, tie_word_embeddings=True, bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, initializer_range=0.05,
        )
    )  # fmt: skip
    with torch.no_grad():  # it says words, as a trained model does, and none of the bytes and empty places beside them
        model.model.embed_tokens.weight[: len(SPECIAL) + 256] = 0.0
        model.model.embed_tokens.weight[len(tokenizer) :] = 0.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())


class Clock:
    """Seconds of wall clock and of this process's processors, between two looks."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


def lockstep(
    config: Config, personas: list[Persona], model: ModelConfig, folder: Path
) -> tuple[list[Call], tuple[float, float]]:
    """The benchmark as it runs; its calls to the model, and its seconds (wall, processor) without loading."""

    async def work() -> tuple[list[Call], tuple[float, float]]:
        caller = Caller.open(config, folder / "journal.sqlite", seed=0)
        heard: list[Call] = []

        def keep(_: ModelConfig, path: str, messages: tuple[PromptMessage, ...], reply: Reply) -> None:
            if reply.generation.role == "responder":
                heard.append((path, messages, reply.text))

        try:
            warm = (PromptMessage("user", ("Hello.",)),)
            await caller.call("responder", "warm", "responder", warm, model=model)  # loads the checkpoint
            caller.listener = keep
            clock = Clock()
            await run_benchmark(caller, personas, model, config=config, out_dir=folder / "bench")
            return heard, clock.read()
        finally:
            await caller.aclose()

    return asyncio.run(work())


class OneByOne:
    """transformers' ``generate``, greedy, one prompt at a time."""

    def __init__(self, folder: Path, max_tokens: int) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.max_tokens = max_tokens

    def _ids(self, messages: tuple[PromptMessage, ...]) -> Any:
        chat = [{"role": m.role, "content": m.content} for m in messages]
        return self.tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )

    def reply(self, messages: tuple[PromptMessage, ...]) -> list[int]:
        """Token ids of the greedy reply."""
        import torch

        encoded = self._ids(messages)
        with torch.inference_mode():
            out = self.model.generate(
                **encoded, do_sample=False, max_new_tokens=self.max_tokens, pad_token_id=self.tokenizer.pad_token_id
            )
        new = out[0, encoded["input_ids"].shape[1] :].tolist()
        return new[:-1] if new and new[-1] == self.tokenizer.eos_token_id else new

    def text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def gap(self, messages: tuple[PromptMessage, ...], ids: list[int], other: str) -> float:
        """Difference of the two highest logits where ``other`` first leaves the reply ``ids``."""
        import torch

        place = next((k for k in range(len(ids)) if not other.startswith(self.text(ids[: k + 1]))), len(ids))
        prompt = self._ids(messages)["input_ids"]
        whole = torch.cat([prompt, torch.tensor([ids[:place]], dtype=prompt.dtype)], 1)
        with torch.inference_mode():
            top = self.model(input_ids=whole).logits[0, -1].topk(2).values
        return float(top[0] - top[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--personas", type=int, default=100)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--sample", type=int, default=10, help="personas whose replies are also made one by one")
    parser.add_argument("--max-tokens", type=int, default=48, help="tokens per reply")
    parser.add_argument("--vocabulary", type=int, default=8192)
    options = parser.parse_args()
    config = load_config(
        overrides={
            "bench": {"n_turns": options.turns, "n_bootstrap": 100},
            "execution": {"concurrency": options.personas},
        }
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n_parameters = make_checkpoint(folder / "model", options.vocabulary)
        print(
            f"{n_parameters / 1e6:.1f}M parameters, {platform.machine()}, {os.cpu_count()} cores, float32", flush=True
        )
        model = ModelConfig(
            uri=f"hf:{folder / 'model'}", temperature=0.0, max_tokens=options.max_tokens, batch_size=options.personas
        )
        people = make_personas(options.personas)
        calls, first = lockstep(config, people, model, folder)
        print(f"lockstep: {len(calls)} replies in {first[0]:.1f} s ({first[1]:.1f} s of processors)", flush=True)
        figures, single = compare(calls, OneByOne(folder / "model", options.max_tokens), options)
        again, second = lockstep(config, people, model, folder / "again")
    figures |= {
        "parameters_m": round(n_parameters / 1e6, 1),
        "lockstep_seconds": round(first[0], 1),
        "lockstep_seconds_again": round(second[0], 1),
        "lockstep_repeats": float(sorted(c[2] for c in again) == sorted(c[2] for c in calls)),
        "ratio_wall": round(2 * single[0] / (first[0] + second[0]), 2),
        "ratio": round(2 * single[1] / (first[1] + second[1]), 2),
    }
    print(json.dumps({"benchmark": "local_eval", "figures": figures}))


def compare(
    calls: list[Call], single: OneByOne, options: argparse.Namespace
) -> tuple[dict[str, float], tuple[float, float]]:
    """Agreement on a sample of the personas, and the seconds that one by one takes for all (wall, processor)."""
    people = list(dict.fromkeys(path.split("/")[1] for path, _, _ in calls))
    chosen = set(people[:: max(1, len(people) // options.sample)][: options.sample])
    sample = [call for call in calls if call[0].split("/")[1] in chosen]
    single.reply(sample[0][1])  # warm
    clock = Clock()
    replies = [single.reply(messages) for _, messages, _ in sample]
    wall, cpu = (t / len(sample) * len(calls) for t in clock.read())
    gaps = [
        single.gap(messages, ids, text)
        for ids, (_, messages, text) in zip(replies, sample, strict=True)
        if single.text(ids) != text
    ]
    print(f"one by one: {len(sample)} replies, {wall:.0f} s for all ({cpu:.0f} s of processors)", flush=True)
    return {
        "replies": len(calls),
        "compared": len(sample),
        "one_by_one_seconds": round(wall, 1),
        "agreement": round(1 - len(gaps) / len(sample), 4),
        "largest_gap_at_divergence": max(gaps, default=0.0),
    }, (wall, cpu)


if __name__ == "__main__":
    main()
