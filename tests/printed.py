"""The commands that README, docs and recipes print, and a place in which they can run: files, runs, an endpoint."""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aloe as package

ROOT = Path(package.__file__).parents[2]
RECIPES = Path(package.__file__).parent / "recipes"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PRINTED_ENDPOINT = "http://localhost:8000/v1"

#: The same command on a few people and turns: sizes make the printed ones long, and are seldom what is wrong.
FEW = [
    "--personas.n_profiles=8", "--personas.n_personalities=7", "--personas.n_personas=6",
    "--personas.n_bench_profiles=2", "--personas.n_bench_personalities=2", "--personas.n_bench=4",
    "--trees.n_trees=3", "--trees.n_turns=2", "--trees.policy=both:2", "--bench.n_turns=2",
]  # fmt: skip
FEWER = {  # what makes other commands short
    "plan": [*FEW, "--skip=base,sft,rollout,dpo"],  # of training: tests/training/test_plan_training.py
    "bench": ["--bench.n_personas=4", "--bench.n_turns=2"],
    "judge check": ["--n=4"],
    "prompts test": ["--n=4"],
    "users check": ["--n=24"],
    "sft": ["--sft.max_steps=1"],
    "dpo": ["--dpo.max_steps=1"],
}


def printed_commands(page: Path) -> list[str]:
    """The lines of a page's blocks, and the README's inline code, that call aloe with everything that they need."""
    text = re.sub(r"\\\n\s*", " ", page.read_text("utf-8"))
    if page.suffix == ".toml":
        lines = [line[1:].strip() for line in text.splitlines() if line.startswith("#  ")]
    else:
        fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        plain = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
        indented = re.findall(r"(?:^|\n\n)((?: {4}.+\n?)+)", plain)
        lines = [line.strip() for block in (*fenced, *indented) for line in block.splitlines()]
        if page.name == "README.md":
            inline = [" ".join(code.split()) for code in re.findall(r"`(aloe [^`]+)`", plain)]
            lines += [code for code in inline if not re.search(r"\||\.\.\.|\b[A-Z]{3,}\b", code) and " " in code[5:]]
    lines = [re.split(r"\s{3,}|\s+#\s", line.removeprefix("$ "))[0] for line in lines]
    return list(dict.fromkeys(line for line in lines if re.match(r"(?:aloe|export) \S", line)))


def filled(command: str, endpoint: str, call_key: str) -> list[str]:
    """The words of a command: names in capitals stand for what the place holds, brackets for what may be left out."""
    stands_for = {
        "RUN": "runs/demo", "RECIPE": "demo", "URI": "openai:any-model", "MODEL": "any-model", "CALL": call_key,
        "P": "bench/", "F": "calls.jsonl", "FILE": "chats.jsonl", "DIR": "my-prompts", "NAME": "user",
    }  # fmt: skip
    command = command.replace(PRINTED_ENDPOINT, endpoint).replace("[", "").replace("]", "")
    return [re.sub(r"\b[A-Z]+\b", lambda m: stands_for.get(m[0], m[0]), word) for word in shlex.split(command)]


@contextmanager
def any_model() -> Iterator[str]:
    """What ``aloe world serve --any-model`` serves, on a free port; yields the address."""
    import asyncio

    from aloe.models.server import resolve_world, start_server

    loop, started, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    address: list[str] = []

    async def serve() -> None:
        server = await start_server(resolve_world(any_model=True), "127.0.0.1", 0)
        address.append(server.base_url)
        started.set()
        await stop.wait()
        await server.aclose()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


def write_files(place: Path, endpoint: str) -> None:
    """What a reader of the pages has at hand: the README's recipe, descriptions of people, chats, recipes with the
    endpoint's address in them.
    """
    readme = (ROOT / "README.md").read_text("utf-8").replace(PRINTED_ENDPOINT, endpoint)
    (recipe,) = re.findall(r"^```toml\n(# mine\.toml.*?)^```", readme, re.DOTALL | re.MULTILINE)
    # a list price holds at OpenAI's own address, so a budget would refuse the endpoint (tests/cli/test_plan.py)
    (place / "mine.toml").write_text(recipe.partition("[budget]")[0])
    (place / "my-recipe.toml").write_text('extends = "demo"\n')
    vllm = (RECIPES / "vllm.toml").read_text("utf-8").replace(PRINTED_ENDPOINT, endpoint)
    # "auto" is the lexical embedder where the extra 'embed' is not installed; torch would be loaded for the other
    (place / "vllm.toml").write_text(vllm.replace('embedder = "auto"', 'embedder = "lexical"'))
    trades, towns = ("baker", "nurse", "tram driver", "mason", "florist", "cook"), ("Leeds", "Turin", "Graz", "Lyon")
    seeds = [
        f"{name} is {30 + 3 * i}, works as a {trades[i]} in {towns[i % 4]}, and keeps {pets} since the autumn."
        for i, (name, pets) in enumerate(
            [("Amara", "bees"), ("Joao", "cats"), ("Mika", "hens"), ("Lena", "dogs"), ("Omar", "fish"), ("Ada", "ants")]
        )
    ]  # fmt: skip
    (place / "seeds.txt").write_text("\n".join(seeds) + "\n")
    talks = [
        [f"I work as a {trade}. What should I cook tonight?", "Try a soup.", f"I live in {towns[i % 4]}, I'm vegan.",
         "Then try lentils.", "Thanks, something quicker perhaps?", "Noodles."]
        for i, trade in enumerate(trades * 4)
    ]  # fmt: skip
    lines = [
        json.dumps(
            {"messages": [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(talk)],
             "user": f"user-{number}"}
        )
        for number, talk in enumerate(talks)
    ]  # fmt: skip
    for name in ("chats.jsonl", "simulator.jsonl"):
        (place / name).write_text("\n".join(lines) + "\n")
    manners = [f"{first} and {second}, and likes {what}." for first, second in (("Brisk", "dry"), ("Warm", "chatty"))
               for what in ("lists", "stories", "jokes", "numbers", "plain words", "examples")]  # fmt: skip
    known = [f"She is {25 + 3 * i}, a {trade} from {towns[i % 4]}." for i, trade in enumerate(trades * 2)]
    people = [{"profile": profile, "personality": manner} for profile, manner in zip(known, manners, strict=True)]
    (place / "people.jsonl").write_text("".join(json.dumps(row) + "\n" for row in people))


def write_checkpoint(folder: Path) -> None:
    """A tiny model with a chat template, where a page names the weights of a real one."""
    from aloe.config import TinyConfig
    from aloe.training.tiny.model import create_model
    from aloe.training.tiny.tokenizer import build_tokenizer

    folder.mkdir(parents=True)
    tokenizer = build_tokenizer(["what should i cook tonight ?", "i work as a baker . try a soup ."])
    tokenizer.save_pretrained(folder)
    create_model(TinyConfig(d_model=16, n_layers=1, n_heads=2, d_ffn=16), tokenizer, 0).save_pretrained(folder)


def shorter(words: list[str], stages: list[str]) -> list[str]:
    """What to add to a command so that it ends soon; nothing where a run's own config holds."""
    command = " ".join(words)
    own = next((more for verb, more in FEWER.items() if f"{command} ".startswith(f"aloe {verb} ")), [])
    if "--conversations" in words or (words[2:3] and words[2].startswith("runs/")):
        return []  # as long as what is there
    if words[1:2] == ["bench"] and not words[2].startswith("-"):
        return FEW
    if own or words[1] not in ("run", *stages) or not {"--help", "--help-all"}.isdisjoint(words):
        return own
    return FEW
