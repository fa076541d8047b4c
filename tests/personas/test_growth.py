"""The pool on the simulated world: targets, thresholds, reasons, independence of concurrency, resuming."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from aloe.config import Config, load_config
from aloe.errors import ConfigError
from aloe.models.caller import Caller
from aloe.personas.embedders import create_embedder
from aloe.personas.growth import PoolResult, grow_pool
from aloe.personas.novelty import NEAR, pairwise_above
from aloe.personas.stage import run_personas
from aloe.personas.stats import pool_stats
from aloe.personas.threshold import default_threshold
from aloe.store.records import read_jsonl
from aloe.types import Persona, PoolEntry

SMALL: dict[str, Any] = {
    "n_profiles": 60, "n_personalities": 30, "n_personas": 200,
    "n_bench_profiles": 10, "n_bench_personalities": 5, "n_bench": 30,
}  # fmt: skip


def run(config: Config, out: Path, journal: Path | None = None) -> tuple[dict[str, Any], Caller]:
    async def work() -> tuple[dict[str, Any], Caller]:
        caller = Caller.open(config, journal, seed=config.seed)
        try:
            return await run_personas(caller, config, out), caller
        finally:
            await caller.aclose()

    return asyncio.run(work())


def configure(**personas: Any) -> Config:
    return load_config(None, {"personas": {**SMALL, **personas}})


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_the_papers_size_is_reached(tmp_path: Path) -> None:
    summary, _ = run(load_config(None), tmp_path)
    assert summary["profile"]["stop_reason"] == summary["personality"]["stop_reason"] == "target"
    members = list(read_jsonl(tmp_path / "pool.jsonl", PoolEntry))
    assert [sum(m.kind == k for m in members) for k in ("profile", "personality")] == [331, 71]
    personas = list(read_jsonl(tmp_path / "personas.jsonl", Persona))
    assert [sum(p.split == s for p in personas) for s in ("train", "bench")] == [3310, 100]
    assert len({p.persona_id for p in personas}) == 3410


@pytest.mark.parametrize("embedder", ["lexical", "world"])
def test_no_two_members_are_closer_than_the_threshold_and_every_rejection_says_why(
    tmp_path: Path, embedder: str
) -> None:
    run(configure(embedder=embedder), tmp_path)
    members = list(read_jsonl(tmp_path / "pool.jsonl", PoolEntry))
    maker = create_embedder(embedder)
    ids = {m.entry_id: m for m in members}
    for kind in ("profile", "personality"):
        texts = [m.text for m in members if m.kind == kind]
        assert pairwise_above(maker.embed(texts), default_threshold(embedder, kind) + NEAR) == []
    rejected = list(read_jsonl(tmp_path / "rejected.jsonl", PoolEntry))
    assert rejected and all(r.reason for r in rejected) and not any(m.reason for m in members)
    for entry in rejected:
        if entry.reason.startswith("too similar"):
            assert entry.nearest_id in ids and entry.max_similarity is not None
            near = maker.embed([entry.text, ids[entry.nearest_id].text])
            assert float(near[0] @ near[1]) == pytest.approx(entry.max_similarity, abs=1e-5)
            assert entry.max_similarity > default_threshold(embedder, entry.kind) - NEAR
    written = [m for m in members if m.round_index > 0]
    assert written and all(m.provenance["call_key"] for m in written)
    assert all(set(m.example_ids) <= set(ids) and len(m.example_ids) == 5 for m in written)


def test_training_and_benchmark_share_no_text_and_everything_is_used_evenly(tmp_path: Path) -> None:
    run(configure(), tmp_path)
    personas = list(read_jsonl(tmp_path / "personas.jsonl", Persona))
    sides = {s: [p for p in personas if p.split == s] for s in ("train", "bench")}
    for side in ("profile_id", "personality_id"):
        train, bench = ({getattr(p, side) for p in sides[s]} for s in ("train", "bench"))
        assert not train & bench
    uses = {what: (low, high) for what, low, high in pool_stats(tmp_path).uses}
    assert uses["train profile"] == (4, 4) and uses["train personality"] == (8, 8)
    assert uses["bench profile"] == (3, 3) and uses["bench personality"] == (6, 6)


def test_same_seed_same_files_whatever_the_concurrency_and_another_seed_others(tmp_path: Path) -> None:
    def config(limit: int, seed: int) -> Config:
        writer = {"uri": "world:persona-writer", "max_concurrency": limit}
        return load_config(None, {"seed": seed, "roles": {"writer": writer}, "personas": SMALL})

    for name, limit, seed in (("a", 1, 0), ("b", 64, 0), ("c", 64, 1)):
        run(config(limit, seed), tmp_path / name)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert files(tmp_path / "a")["pool.jsonl"] != files(tmp_path / "c")["pool.jsonl"]


def test_a_rerun_replays_the_journal_into_the_same_pool(tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite"
    run(configure(), tmp_path / "first", journal)
    _, caller = run(configure(), tmp_path / "second", journal)
    assert files(tmp_path / "first") == files(tmp_path / "second")
    stats = caller.stats["writer"]
    assert stats.n_calls == stats.n_replayed > 0


def grow(config: Config, kind: Any, seeds: list[str], target: int) -> PoolResult:
    async def work() -> PoolResult:
        caller = Caller.open(config, None, seed=config.seed)
        try:
            embedder = create_embedder(config.personas.embedder)
            return await grow_pool(caller, config, embedder, kind, seeds, target)
        finally:
            await caller.aclose()

    return asyncio.run(work())


def test_an_exhausted_world_ends_saturated() -> None:
    uri = "world:persona-writer?traits=formality,warmth"
    options = {"embedder": "world", "personality_words": 12, "saturation_window": 2}
    config = load_config(None, {"roles": {"writer": uri}, "personas": options})
    result = grow(config, "personality", [], 20)
    assert result.stop_reason == "saturated"
    assert len(result.members) == 4  # two traits have four ways to be combined
    assert all(w.n_accepted == 0 for w in result.waves[-2:])


def test_the_last_wave_is_a_limit_too() -> None:
    result = grow(configure(max_waves=1), "profile", [], 5000)
    assert result.stop_reason == "max_waves" and len(result.waves) == 1
    wave = result.waves[0]
    assert wave.n_candidates == wave.n_accepted + sum(wave.reasons.values())


def test_seeds_enter_first_but_not_twice() -> None:
    seed = "She keeps bees, sells honey at two markets, and lives above a bakery with three sons and a deaf dog."
    other = "He is a retired tram driver who grows leeks, sings bass and visits a sister in Oslo every June."
    result = grow(configure(max_waves=1), "profile", [seed, f" {seed}\n", other, seed.replace("two", "2")], 30)
    assert [m.text for m in result.members[:2]] == [seed, other]
    assert [r.reason for r in result.rejected[:1]] == ["the same text"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_bench": 100, "n_bench_profiles": 4, "n_bench_personalities": 5}, "20 pairs"),
        ({"n_bench_personalities": 30}, "leaves none"),
        ({"n_personas": 5000}, "only 1250 pairs"),
        ({"embedder": "lexcal"}, "did you mean 'lexical'"),
        ({"seeds": "nowhere"}, "no such file"),
    ],
)
def test_impossible_wishes_are_refused_before_any_call(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(configure(**options), tmp_path / "out", tmp_path / "journal.sqlite")
