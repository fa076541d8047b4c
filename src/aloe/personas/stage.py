"""Grows or imports the pool, pairs profiles with personalities, and writes the files (paper section 3.1).

Files, all in a fixed order: ``pool.jsonl`` (members), ``rejected.jsonl`` (every candidate that did not enter, with
its reason), ``personas.jsonl`` (training first, then benchmark, each in drawing order).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aloe.config import Config, PersonasConfig
from aloe.errors import ConfigError, DataError
from aloe.models.caller import Caller
from aloe.personas.checks import Kind
from aloe.personas.embedders import create_embedder
from aloe.personas.growth import PoolProgress, grow_pool
from aloe.personas.importer import (
    Problem,
    Source,
    read_packaged_bench,
    read_packaged_seeds,
    read_seeds,
    read_source,
    summarize_problems,
)
from aloe.personas.pairing import make_entry_id, make_persona, make_personas, pair_up, split_pairs
from aloe.personas.pool import open_pool
from aloe.protocols import Embedder
from aloe.store.records import is_private, write_jsonl
from aloe.types import Persona, PoolEntry

logger = logging.getLogger(__name__)
_KINDS: tuple[Kind, ...] = ("profile", "personality")


async def run_personas(
    caller: Caller,
    config: Config,
    out_dir: Path,
    progress: PoolProgress | None = None,
    allow_failed: float = 0.0,
) -> dict[str, Any]:
    """The stage: grow (or import) the pool, pair it, write ``pool``, ``rejected`` and ``personas`` JSONL files.

    Args:
        allow_failed: share of the writer's calls that may fail, in [0, 1].

    Returns:
        What happened, for the manifest: counts, waves and stop reason per kind, problems of imported files.

    Raises:
        ConfigError: counts that cannot be met, an unusable embedder or seed file.
        DataError: no usable persona at all.
        EndpointError: more calls failed than may. BudgetExceeded: the pool is not complete.
    """
    check_counts(config.personas)
    embedder = create_embedder(config.personas.embedder, config, caller)
    if config.personas.file:
        members, rejected, personas, summary = import_personas(config, embedder)
    else:
        members, rejected, summary = await _grow_both(caller, config, embedder, progress, allow_failed)
        personas, summary["bench_source"] = _pair(members, config, embedder)
    private = _is_made_of_private(config.personas)
    for name, rows in (("pool", members), ("rejected", rejected), ("personas", personas)):
        write_jsonl(out_dir / f"{name}.jsonl", rows, private)
    for split in ("train", "bench"):
        summary[f"n_{split}"] = sum(p.split == split for p in personas)
    wanted = config.personas
    for split, n in (("train", wanted.n_personas), ("bench", wanted.n_bench)):
        if summary[f"n_{split}"] < n:
            logger.warning("%d %s personas instead of %d", summary[f"n_{split}"], split, n)
    summary["n_personas"] = len(personas)
    return summary


def _is_made_of_private(options: PersonasConfig) -> bool:
    """Whether a file that the personas come from is for its owner alone, as those are that come from chats."""
    named = (options.file, options.bench_file, *options.seeds.split(","))
    return any(is_private(Path(name.strip())) for name in named if name)


def check_counts(options: PersonasConfig) -> None:
    """Counts that contradict each other, before anything is paid for.

    Raises:
        ConfigError: more personas asked for than there are pairs, or no member left for training.
    """
    if options.file:
        return
    n_bench = options.n_bench_profiles * options.n_bench_personalities
    own_bench = options.bench_file is None
    if own_bench and options.n_bench > n_bench:
        raise ConfigError(
            f"personas.n_bench = {options.n_bench}, but {options.n_bench_profiles} profiles x "
            f"{options.n_bench_personalities} personalities are {n_bench} pairs",
            "raise personas.n_bench_profiles or personas.n_bench_personalities",
        )
    for kind in ("profile", "personalit"):
        plural = f"{kind}s" if kind == "profile" else f"{kind}ies"
        total, bench = getattr(options, f"n_{plural}"), getattr(options, f"n_bench_{plural}")
        if own_bench and bench >= total:
            raise ConfigError(
                f"personas.n_bench_{plural} = {bench} leaves none of the {total} for training",
                f"raise personas.n_{plural}",
            )
    left = (options.n_profiles - own_bench * options.n_bench_profiles) * (
        options.n_personalities - own_bench * options.n_bench_personalities
    )
    if options.n_personas > left:
        raise ConfigError(
            f"personas.n_personas = {options.n_personas}, but only {left} pairs are left for training",
            "raise personas.n_profiles or personas.n_personalities",
        )


async def _grow_both(
    caller: Caller, config: Config, embedder: Embedder, progress: PoolProgress | None, allow_failed: float
) -> tuple[list[PoolEntry], list[PoolEntry], dict[str, Any]]:
    options = config.personas
    members: list[PoolEntry] = []
    rejected: list[PoolEntry] = []
    summary: dict[str, Any] = {"embedder": embedder.name}
    kinds: tuple[tuple[Kind, int], ...] = (
        ("profile", options.n_profiles),
        ("personality", options.n_personalities),
    )
    for kind, target in kinds:
        seeds, examples, source, problems = choose_seeds(config, kind)
        pool = await grow_pool(
            caller, config, embedder, kind, seeds, target, progress,
            examples=examples, source=source, allow_failed=allow_failed,
        )  # fmt: skip
        members.extend(pool.members)
        rejected.extend(pool.rejected)
        summary[kind] = {
            "target": target,
            "n_members": len(pool.members),
            "n_rejected": len(pool.rejected),
            "threshold": open_pool(options, embedder, kind).threshold,
            "stop_reason": pool.stop_reason,
            "waves": [asdict(w) for w in pool.waves],
            "failures": list(pool.failures),
            "seed_problems": [str(p) for p in problems],
        }
        if pool.stop_reason != "target":
            logger.warning("the %s pool ends at %d of %d: %s", kind, len(pool.members), target, pool.stop_reason)
    return members, rejected, summary


def choose_seeds(config: Config, kind: Kind) -> tuple[list[str], list[str], str, list[Problem]]:
    """(seeds that enter the pool, examples of form that do not, their source, problems of the seed file).

    Packaged seeds enter the pool unless the recipe describes a population or language of its own: then they only
    show the form until there are members. The world's writer needs no examples.
    """
    options = config.personas
    if options.seeds == "world":
        return [], [], "world", []
    if options.seeds == "packaged":
        packaged = read_packaged_seeds(kind)
        if options.population or not options.language.lower().startswith("en"):
            return [], packaged, "packaged", []
        return packaged, [], "packaged", []
    own, problems = read_seeds(options.seeds, kind)
    if own:
        return own, [] if len(own) >= options.n_examples else own, options.seeds, problems
    logger.info("%s holds no %s: the packaged ones are used", options.seeds, kind)
    return read_packaged_seeds(kind), [], "packaged", problems


def _pair(members: list[PoolEntry], config: Config, embedder: Embedder) -> tuple[list[Persona], str]:
    if config.personas.bench_file is None:
        return make_personas(members, config, config.seed, embedder), "pool"
    bench = _read_bench(config)
    taken = {p.profile_id for p in bench} | {p.personality_id for p in bench}
    left = [m for m in members if m.entry_id not in taken]
    return [*make_personas(left, config, config.seed, embedder, bench=False), *bench], config.personas.bench_file


def _read_bench(config: Config) -> list[Persona]:
    """Benchmark personas from ``personas.bench_file``."""
    return read_bench_file(config.personas.bench_file or "packaged", config.personas.n_bench, config.seed)


def read_bench_file(name: str, n: int, seed: int) -> list[Persona]:
    """At most ``n`` benchmark personas from a file, or the packaged ones; texts without pairs are paired by seed.

    Raises:
        DataError: it holds no whole persona.
    """
    source = read_packaged_bench() if name == "packaged" else read_source(name)
    personas = [p.model_copy(update={"split": "bench"}) for p in personas_of(source)]
    if not personas:
        personas = pair_up(
            [to_entry(t.text, "profile", name) for t in source.texts if t.kind == "profile"],
            [to_entry(t.text, "personality", name) for t in source.texts if t.kind == "personality"],
            n,
            "bench",
            seed,
        )
    if not personas:
        raise DataError(f"the persona file {name} contains no complete persona", "it needs profiles and personalities")
    return personas[:n]


def to_entry(text: str, kind: Kind, source: str, users: Iterable[str] = ()) -> PoolEntry:
    """A member as it is. ``users``: hashed ids of those from whose chats it was made; one text may have several."""
    hashes = " ".join(sorted(filter(None, users)))
    provenance = {"source": "chats", "user_hash": hashes} if hashes else {"source": source}
    return PoolEntry(entry_id=make_entry_id(kind, text), kind=kind, text=text, provenance=provenance)


def personas_of(source: Source) -> list[Persona]:
    """The whole personas of an imported file, as they are."""
    found = []
    for pair in source.pairs:
        profile, personality = to_entry(pair.profile, "profile", ""), to_entry(pair.personality, "personality", "")
        made = make_persona(profile, personality, "bench" if pair.split == "bench" else "train")
        found.append(made.model_copy(update={"personality": pair.personality}))
    return found


def import_personas(
    config: Config, embedder: Embedder
) -> tuple[list[PoolEntry], list[PoolEntry], list[Persona], dict[str, Any]]:
    """Pool, rejections, personas and summary from ``personas.file``, without any call to a model.

    Whole personas are used as they are. Profiles and personalities are paired; files with ``eval`` or ``bench`` in
    their name are the benchmark's. Where a file has only one of the two, the packaged seeds are the other.
    """
    options = config.personas
    name = options.file or ""
    source = read_source(name)
    summary: dict[str, Any] = {
        "source": name,
        "n_problems": len(source.problems),
        "problems": summarize_problems(source.problems),
    }
    for line in summary["problems"]:
        logger.warning("%s", line)
    rejected = [
        PoolEntry(
            entry_id=make_entry_id("problem", f"{p.file}\x1f{p.line}\x1f{p.what}\x1f{p.text}"),
            kind="profile",
            text=p.text,
            reason=p.what,
            provenance={"source": p.file, "line": p.line},
        )
        for p in source.problems
        if not p.used
    ]
    bench = _read_bench(config) if options.bench_file else []
    if source.pairs:
        personas = [*personas_of(source), *bench]
        personas = split_pairs(personas, options.n_bench, config.seed)
        summary["n_left_out"] = len(source.pairs) + len(bench) - len(personas)
        train = [p for p in personas if p.split == "train"][: options.n_personas]
        personas = [*train, *(p for p in personas if p.split == "bench")]
        texts: dict[tuple[Kind, str], set[str]] = {}  # and the hashed users that they came from
        for persona in source.pairs:
            texts.setdefault(("profile", persona.profile), set()).add(persona.user_hash)
            texts.setdefault(("personality", persona.personality), set()).add(persona.user_hash)
        members = [to_entry(text, kind, name, users) for (kind, text), users in texts.items()]
        return members, rejected, personas, summary
    members = [to_entry(t.text, t.kind, name) for t in source.texts if t.split != "bench"]
    for kind in _KINDS:
        if not any(m.kind == kind for m in members):
            logger.warning("%s contains no %s: the packaged seeds are used instead", name, kind)
            members.extend(to_entry(text, kind, "packaged") for text in read_packaged_seeds(kind))
    if not bench and any(t.split == "bench" for t in source.texts):
        sides = {
            k: [to_entry(t.text, k, name) for t in source.texts if t.split == "bench" and t.kind == k] for k in _KINDS
        }
        bench = pair_up(sides["profile"], sides["personality"], options.n_bench, "bench", config.seed)
    if not bench:
        return members, rejected, make_personas(members, config, config.seed, embedder), summary
    taken = {p.profile_id for p in bench} | {p.personality_id for p in bench}
    left = [m for m in members if m.entry_id not in taken]
    summary["n_left_out"] = len(members) - len(left)
    return members, rejected, [*make_personas(left, config, config.seed, bench=False), *bench], summary
