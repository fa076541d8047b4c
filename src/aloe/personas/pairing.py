"""Pairs profiles with personalities and splits them into training and benchmark (paper section 3.1).

No profile and no personality of a benchmark persona is seen in training; single facts and traits may be. The
benchmark's share is chosen to mirror the whole pool, and every profile and personality is used about equally often.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aloe.config import Config
from aloe.errors import DataError
from aloe.personas.cosines import similarity_kernel
from aloe.personas.lexical import LexicalEmbedder
from aloe.personas.pronouns import find_pronoun, set_pronoun
from aloe.protocols import Embedder
from aloe.seeding import derive_rng
from aloe.types import Persona, PoolEntry

Split = Literal["train", "bench"]

# A profile that tells one of these by the way rules out a personality that tells its opposite.
_OPPOSITES = (
    ("energetic", "lethargic|lazy|sluggish"),
    ("outgoing|sociable|extroverted", "withdrawn|reclusive|introverted|shy"),
    ("introverted|shy", "outgoing|sociable|extroverted"),
    ("calm|laid-back|easygoing", "hot-tempered|quick-tempered|anxious"),
    ("organised|organized|tidy", "disorganised|disorganized|chaotic|messy"),
    ("cheerful|optimistic", "pessimistic|gloomy|grumpy"),
    ("patient", "impatient"),
    ("talkative", "taciturn|terse"),
    ("spontaneous", "cautious"),
    ("humble|modest", "arrogant|boastful|vain"),
)


def make_entry_id(kind: str, text: str) -> str:
    """Id of a description: a hash of its kind and text, 16 hex digits."""
    return hashlib.blake2b(f"{kind}\x1f{text}".encode("utf-8", "replace"), digest_size=8).hexdigest()


def make_persona(profile: PoolEntry, personality: PoolEntry, split: Split = "train") -> Persona:
    """One person; the personality's pronouns follow the profile's."""
    pronoun = find_pronoun(profile.text)
    manner = set_pronoun(personality.text, pronoun) if pronoun else personality.text
    return Persona(
        persona_id=make_entry_id("persona", f"{profile.text}\x1f{manner}"),
        profile=profile.text,
        personality=manner,
        profile_id=profile.entry_id,
        personality_id=personality.entry_id,
        split=split,
    )


def find_conflict(profile: str, personality: str) -> str:
    """Why the two cannot be one person, in words, or ''. Odd combinations are people too: only contradictions count."""
    for said, opposite in _OPPOSITES:
        one = re.search(rf"\b(?:{said})\b", profile, re.IGNORECASE)
        other = re.search(rf"\b(?:{opposite})\b", personality, re.IGNORECASE) if one else None
        if one and other:
            return f"profile says '{one.group(0)}', personality '{other.group(0)}'"
    return ""


def draw_pairs(n_profiles: int, n_personalities: int, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """All pairs (profile, personality) once, in an order in which every prefix uses both sides evenly."""
    rows, columns = rng.permutation(n_profiles), rng.permutation(n_personalities)
    period = n_personalities // gcd(n_profiles, n_personalities)
    for turn in range(n_personalities):
        shift = turn * n_profiles + turn // period
        for place in range(n_profiles):
            yield int(rows[place]), int(columns[(place + shift) % n_personalities])


def choose_spread(vectors: NDArray[np.float32], n: int, rng: np.random.Generator) -> list[int]:
    """``n`` rows that are as mixed as the whole: least maximum mean discrepancy found, in order of rows.

    A random handful of personalities may well be all blunt, or all blunt ones formal. The kernel is exp(3 cosine),
    so that combinations count as well as averages. Several random starts are improved by swaps; the best is taken.
    All is decided in whole numbers, and of equals the first in the drawn order is taken: the same on every machine.
    """
    n = min(n, len(vectors))
    kernel = similarity_kernel(vectors)
    to_all = kernel.sum(axis=1)
    best: tuple[int, list[int]] | None = None
    for _ in range(8):
        order = rng.permutation(len(vectors))
        chosen = sorted(_improve_by_swaps(kernel, [int(i) for i in order[:n]], order))
        cost = len(kernel) * int(kernel[np.ix_(chosen, chosen)].sum()) - 2 * n * int(to_all[chosen].sum())
        if best is None or cost < best[0]:
            best = (cost, chosen)
    return best[1] if best else []


def _improve_by_swaps(
    kernel: NDArray[np.int64], chosen: list[int], order: NDArray[np.int64], n_rounds: int = 8
) -> list[int]:
    """Swap chosen rows for better ones while that lowers the discrepancy."""
    to_all, to_chosen = kernel.sum(axis=1), kernel[chosen].sum(axis=0)
    for _ in range(n_rounds):
        changed = False
        for place, row in enumerate(chosen):
            rest = to_chosen - kernel[row]
            cost = len(kernel) * (2 * rest + np.diag(kernel)) - 2 * len(chosen) * to_all
            now = cost[row]
            cost[chosen] = np.iinfo(np.int64).max
            best = int(order[np.argmin(cost[order])])
            if cost[best] < now:
                chosen[place], to_chosen, changed = best, rest + kernel[best], True
        if not changed:
            break
    return chosen


@dataclass(frozen=True, slots=True)
class _Sides:
    train: list[PoolEntry]
    bench: list[PoolEntry]


def _split(members: Sequence[PoolEntry], n_bench: int, seed: int, embedder: Embedder) -> _Sides:
    kind = members[0].kind
    # A pool that stayed short of its target gives up a share, never its whole.
    n_bench = min(n_bench, max(1, len(members) // 2))
    if len(members) < 2:
        raise DataError(
            f"the pool holds {len(members)} {kind} entry, at least 2 are needed, one each for training and benchmark",
            "raise the pool's target size or threshold",
        )
    vectors = embedder.embed([m.text for m in members])
    chosen = set(choose_spread(vectors, n_bench, derive_rng(seed, "personas", "split", kind)))
    return _Sides(
        [m for i, m in enumerate(members) if i not in chosen], [m for i, m in enumerate(members) if i in chosen]
    )


def pair_up(
    profiles: Sequence[PoolEntry], personalities: Sequence[PoolEntry], n: int, split: Split, seed: int
) -> list[Persona]:
    """Up to ``n`` distinct persons, profiles and personalities used evenly, contradictions left out."""
    if not profiles or not personalities:
        return []
    personas: list[Persona] = []
    seen: set[str] = set()
    rng = derive_rng(seed, "personas", "pairs", split)
    for i, j in draw_pairs(len(profiles), len(personalities), rng):
        if len(personas) == n:
            break
        if find_conflict(profiles[i].text, personalities[j].text):
            continue
        persona = make_persona(profiles[i], personalities[j], split)
        if persona.persona_id not in seen:
            seen.add(persona.persona_id)
            personas.append(persona)
    return personas


def make_personas(
    members: Sequence[PoolEntry], config: Config, seed: int, embedder: Embedder | None = None, bench: bool = True
) -> list[Persona]:
    """Training personas, then (unless ``bench`` is False) benchmark personas, in drawing order.

    Any prefix of either part uses profiles and personalities evenly. Where the pool allows fewer pairs than the
    config asks for, there are fewer.

    Raises:
        DataError: fewer than two profiles or two personalities.
    """
    wanted = config.personas
    by_kind = {kind: [m for m in members if m.kind == kind] for kind in ("profile", "personality")}
    for kind, entries in by_kind.items():
        if not entries:
            raise DataError(f"the pool contains no {kind}", "check the writer's answers in personas/rejected.jsonl")
    if not bench:
        return pair_up(by_kind["profile"], by_kind["personality"], wanted.n_personas, "train", seed)
    maker = embedder or LexicalEmbedder()
    profiles = _split(by_kind["profile"], wanted.n_bench_profiles, seed, maker)
    personalities = _split(by_kind["personality"], wanted.n_bench_personalities, seed, maker)
    return [
        *pair_up(profiles.train, personalities.train, wanted.n_personas, "train", seed),
        *pair_up(profiles.bench, personalities.bench, wanted.n_bench, "bench", seed),
    ]


def split_pairs(personas: Sequence[Persona], n_bench: int, seed: int) -> list[Persona]:
    """Given pairs, split so that training and benchmark share no profile and no personality.

    Rows that say ``bench`` are the benchmark; where none does, up to ``n_bench`` rows (at most a third) are drawn.
    Training rows that share a side with a benchmark row are left out: the caller can count them.
    """
    bench = [p for p in personas if p.split == "bench"]
    if not bench and n_bench:
        order = derive_rng(seed, "personas", "split", "pairs").permutation(len(personas))
        chosen = sorted(int(i) for i in order[: min(n_bench, len(personas) // 3)])
        bench = [personas[i].model_copy(update={"split": "bench"}) for i in chosen]
    taken = {p.profile_id for p in bench} | {p.personality_id for p in bench}
    train = [p for p in personas if p.profile_id not in taken and p.personality_id not in taken]
    return [*train, *bench]
