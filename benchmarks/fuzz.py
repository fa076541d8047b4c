"""Fuzzes what takes foreign text: parsers of answers, readers of files, HTTP answers and the servers' requests.

Inputs are made from pieces that have broken something before (unclosed thoughts and fences, numbers without end, nested
brackets, control characters, malformed probabilities) and cut, repeated and glued at random. Every target must end with
a value or with an error of its own kind, within ``--limit`` CPU seconds. Prints as its last line how many inputs each
target took, how many ended in another exception (``n_tracebacks``) and how many took too long (``n_slow``).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from aloe.cli.screen import printable
from aloe.config import load_config
from aloe.config.files import parse_json, parse_toml
from aloe.dialogue.judge import verdict_probabilities
from aloe.errors import AloeError
from aloe.models.http.answers import OddAnswer, read_answer
from aloe.models.http.connection import error_text
from aloe.models.journal.inspect import Reader
from aloe.models.server import BadRequest, read_request
from aloe.personas.importer import read_source
from aloe.prompts.alternatives import expected_score
from aloe.prompts.catalog import CATALOG
from aloe.prompts.render import PromptSet, packaged_source
from aloe.prompts.sections import escape, read_conversation, unescape
from aloe.prompts.suspicion import is_verdict_like
from aloe.protocols import ChatRequest, PromptMessage
from aloe.store.records import read_jsonl, repair_tail
from aloe.store.rundir import RunDir
from aloe.types import Persona

PIECES = [
    "<think>", "</think>", "```", "```json", '{"score": ', '{"verdict": "first"', '"reason": "x"', "}", "{", "[", "]",
    '{"descriptions": [', '{"revealed": [{"item": "a", "turn": ', '"profile": ', "\\", '"', "'", ",", ":", "9" * 6000,
    "1e999", "-1", "NaN", "null", "true", "score: 5", "Score: 4/5", "verdict: tie", "five out of 5", "1. a", "* b *",
    "(smile", "user: ", "\n", "\r\n", "\t", " " * 400, "\x00", "\x1b[31m", "\u202e", "\u200b", "\ud800", "é", "🌵",
    "<persona>", "</conversation>", '<user turn="1">', "&lt;", "&amp;amp;lt;", "@@ user\n", "@@ note\n", "@@ history\n",
    "{{ last }}", "{% for a in last %}", "{% endfor %}", "{% if last %}", "{% endif %}", "{{ last|upper }}", "{{", "%}",
    "[roles]\n", "user = ", "seed = ", "[[", "= 3\n", '{uri = "openai:x"}', "a.b.c = 1\n", "prompts_dir = ",
    '{"persona_id": "p", "profile": "a", "personality": "b", "profile_id": "c", "personality_id": "d"}\n',
]  # fmt: skip
VALUES: list[Any] = [
    None, True, 0, -1, 2**63, 2**64 - 1, 1e308, -1e308, 0.5, "", "stop", "4", "x" * 500, [], {}, [None], {"a": [1]},
    {"content": [{"token": "4", "logprob": -0.1}]}, {"prompt_tokens": -5}, [{"type": "text", "text": 3}], "world:user",
    [{"role": "user", "content": "hi"}], {"role": "assistant", "content": '{"score": 5}'}, [{"message": {}}],
]  # fmt: skip
NAMES = ("choices", "message", "content", "usage", "logprobs", "finish_reason", "error", "code", "model", "messages",
         "temperature", "max_tokens", "stop", "n", "stream", "token", "logprob", "top_logprobs")  # fmt: skip
OWN = (AloeError, OddAnswer, BadRequest, json.JSONDecodeError)


def make_text(rng: random.Random) -> str:
    """Pieces glued, repeated and cut."""
    parts = [rng.choice(PIECES) * rng.choice((1, 1, 1, 2, 50, 1000)) for _ in range(rng.randint(1, 8))]
    text = "".join(parts)[:40_000]
    return text[rng.randint(0, len(text) // 2) :] if rng.random() < 0.3 else text


def make_value(rng: random.Random, depth: int = 3) -> Any:
    """A JSON value with the names that answers and requests have."""
    if depth == 0 or rng.random() < 0.3:
        return rng.choice(VALUES)
    if rng.random() < 0.3:
        return [make_value(rng, depth - 1) for _ in range(rng.randint(0, 2))]
    return {rng.choice(NAMES): make_value(rng, depth - 1) for _ in range(rng.randint(1, 5))}


def make_answer(rng: random.Random) -> bytes:
    """The body of an answer that is nearly one."""
    choice = {"message": make_value(rng, 2), "logprobs": make_value(rng, 2), "finish_reason": rng.choice(VALUES)}
    body = {"choices": [choice], "usage": make_value(rng, 2)} if rng.random() < 0.8 else make_value(rng)
    raw = json.dumps(body).encode()
    return raw[: rng.randint(0, len(raw))] if rng.random() < 0.1 else raw


class Targets:
    """What is fuzzed, by name; files are written to ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.request = ChatRequest((PromptMessage("user", ("hello",)),))
        self.by_name: dict[str, Callable[[random.Random], object]] = {
            "parsers": self.parsers, "probabilities": self.probabilities, "answers": self.answers,
            "requests": self.requests, "templates": self.templates, "recipes": self.recipes, "rows": self.rows,
            "imports": self.imports, "runs": self.runs, "sections": self.sections,
        }  # fmt: skip

    def parsers(self, rng: random.Random) -> object:
        prompt = rng.choice(list(CATALOG.values()))
        text = make_text(rng)
        is_verdict_like(text)
        printable(text).encode()
        return prompt.read(text, self.request.messages)

    def probabilities(self, rng: random.Random) -> object:
        entries = [make_value(rng, 2) for _ in range(rng.randint(0, 3))] if rng.random() < 0.8 else make_value(rng)
        return expected_score(entries, (1.0, 5.0)), verdict_probabilities(entries)

    def answers(self, rng: random.Random) -> object:
        raw = make_answer(rng)
        error_text(raw)
        return read_answer(raw, self.request)

    def requests(self, rng: random.Random) -> object:
        body = {name: make_value(rng, 2) for name in rng.sample(NAMES, 6)}
        return read_request(body if rng.random() < 0.9 else make_value(rng))

    def templates(self, rng: random.Random) -> object:
        name = rng.choice(("user", "tailored", "judge_score"))
        text = packaged_source(name) + make_text(rng) if rng.random() < 0.7 else make_text(rng)
        (self.folder / "prompts").mkdir(exist_ok=True)
        file = self.folder / "prompts" / f"{name}.jinja"
        file.write_bytes(text.encode("utf-8", "replace"))
        try:
            return PromptSet(file.parent).check()
        finally:
            file.unlink()

    def recipes(self, rng: random.Random) -> object:
        text = make_text(rng)
        file = self.folder / "recipe.toml"
        file.write_bytes(text.encode("utf-8", rng.choice(("replace", "surrogatepass"))))
        parse_toml("seed = 1")
        return load_config(file)

    def rows(self, rng: random.Random) -> object:
        file = self.folder / "rows.jsonl"
        file.write_bytes(make_text(rng).encode("utf-8", "surrogatepass"))
        try:
            return list(read_jsonl(file, Persona))
        finally:
            repair_tail(file)
            parse_json(file.read_bytes() or b"1")

    def imports(self, rng: random.Random) -> object:
        file = self.folder / f"people{rng.choice(('.jsonl', '.json', '.csv', '.txt'))}"
        file.write_bytes(make_text(rng).encode("utf-8", "surrogatepass"))
        return read_source(str(file))

    def runs(self, rng: random.Random) -> object:
        run = RunDir(self.folder / "run")
        run.path.mkdir(exist_ok=True)
        name = rng.choice(("config.toml", "manifest.json", "journal.sqlite"))
        for file in run.path.iterdir():
            file.unlink()
        (run.path / name).write_bytes(make_text(rng).encode("utf-8", "surrogatepass"))
        if name == "journal.sqlite":
            with Reader(run.path) as reader:
                return reader.stats()
        return run.load_config() if name == "config.toml" else (run.journal_path, run.stage_state("trees"))

    def sections(self, rng: random.Random) -> object:
        text = make_text(rng).encode("utf-8", "replace").decode()
        read_conversation(f"<conversation>\n{text}\n</conversation>")
        shown = escape(text)
        assert "<persona>" not in shown and "</conversation>" not in shown
        return unescape(shown)


def fuzz(seconds: float, seed: int, limit: float) -> dict[str, float]:
    """Figures by name; what went wrong is printed with the seed that makes it again."""
    figures: dict[str, float] = {"n_tracebacks": 0, "n_slow": 0, "slowest": 0.0}
    ends, number = time.monotonic() + seconds, 0
    with tempfile.TemporaryDirectory() as folder:
        targets = Targets(Path(folder)).by_name
        while time.monotonic() < ends:
            for name, target in targets.items():
                rng = random.Random(f"{seed}/{name}/{number}")
                started = time.process_time()
                try:
                    with suppress(*OWN):
                        target(rng)
                except Exception:
                    print(f"{name}, input {number}:\n{traceback.format_exc()}")
                    figures["n_tracebacks"] += 1
                took = time.process_time() - started
                if took > limit:
                    print(f"{name}, input {number}: {took:.1f} s")
                    figures["n_slow"] += 1
                figures["slowest"] = max(figures["slowest"], round(took, 3))
                figures[f"n_{name}"] = figures.get(f"n_{name}", 0) + 1
            number += 1
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs (default: 0)")
    parser.add_argument("--limit", type=float, default=5.0, help="CPU seconds that one input may take (default: 5)")
    options = parser.parse_args()
    figures = fuzz(options.seconds, options.seed, options.limit)
    print(json.dumps({"benchmark": "fuzz", "figures": figures}))
    return 1 if figures["n_tracebacks"] or figures["n_slow"] else 0


if __name__ == "__main__":
    sys.exit(main())
