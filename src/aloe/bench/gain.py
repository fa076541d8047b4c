"""Further measurements on the same conversations: personal gain, the other scope, identification.

- **Personal gain** (``bench.gain``): every reply is judged once more as if its user were another persona, of a
  different profile and personality. AL(true) - AL(swapped) is what is personal about the replies: replies that
  would suit anybody gain nothing.
- **Other scope** (``bench.full``): judged with the whole persona *and* with the revealed part only. The difference
  is what is earned by facts that the user has not revealed.
- **Identification**: which of N personas is it, from the conversation alone? AUC by turn = the probability that
  the true persona is ranked above another one, ties half; 0.5 is chance. Readers: ``judge`` (true against swapped score
  of that turn's reply), and where the persona is in the world's language ``replies`` and ``conversation`` (what the
  replies, or all messages, say up to that turn, held against each of the N personas).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from aloe.bench.controls import derange
from aloe.bench.ground_truth import has_ground_truth
from aloe.bench.metrics import average_samples, averaged_curve, measure, paired_difference
from aloe.bench.scales import PARTS
from aloe.config import BenchConfig
from aloe.stats import Clusters, Estimate, Floats, share_interval
from aloe.types import Judgement, Message, Persona, ScopeFigures
from aloe.world.truth import read_message, read_persona, read_reply

SWAPPED = "swapped"


class JudgedConversation(Protocol):
    """What is read of a conversation here."""

    persona: Persona
    others: list[dict[str, float | None]]

    @property
    def messages(self) -> list[Message]: ...

    @property
    def scores(self) -> list[float | None]: ...


@dataclass(frozen=True, slots=True)
class Extras:
    """Who and what else replies are judged as. ``others``: persona id -> the persona swapped in; empty = no gain."""

    others: Mapping[str, Persona] = field(default_factory=dict)
    other_scope: bool = False

    @classmethod
    def of(cls, options: BenchConfig, personas: Sequence[Persona]) -> Extras:
        """What the options ask for.

        Raises:
            DataError: gain is asked for, but a persona has no other to be swapped with.
        """
        return cls(derange(personas) if options.gain or options.full else {}, options.full)

    def judged_as(self, persona: Persona, scope: str) -> dict[str, tuple[Persona, str]]:
        """Name -> persona and scope of each further judgement."""
        wanted = {}
        if self.others:
            wanted[SWAPPED] = (self.others[persona.persona_id], scope)
        if self.other_scope:
            other = "revealed" if scope == "persona" else "persona"
            wanted[other] = (persona, other)
        return wanted


def part_curves(judgements: Sequence[Sequence[Judgement | None]], n_turns: int) -> dict[str, tuple[float | None, ...]]:
    """Mean of each part by turn, over the replies for which the judge gave it; only parts that were ever given."""
    sums: dict[str, list[list[float]]] = {name: [[] for _ in range(n_turns)] for name in PARTS}
    for conversation in judgements:
        for turn, judgement in enumerate(conversation):
            for name in PARTS:
                if judgement is not None and judgement.score is not None and name in judgement.parts:
                    sums[name][turn].append(judgement.parts[name])
    return {
        name: tuple(float(np.mean(values)) if values else None for values in turns)
        for name, turns in sums.items()
        if any(turns)
    }


def extra_figures(
    talks: Sequence[JudgedConversation],
    scores: Floats,
    clusters: Clusters,
    options: BenchConfig,
    personas: Sequence[Persona],
) -> dict[str, Any]:
    """The additive fields of a BenchmarkResult.

    Args:
        talks: in order of persona and sample, as many of each as ``scores`` has.
        scores: (n_personas, n_samples, n_turns), NaN = unscored.
    """
    found: dict[str, Any] = {}
    n_turns = scores.shape[2]
    readers: dict[str, Floats] = {}
    if options.gain or options.full:
        found |= _gain(scores, _other_scores(talks, SWAPPED, scores.shape), clusters)
        readers["judge"] = _judge_auc(talks, n_turns)
    if options.full:
        other = "revealed" if options.scope == "persona" else "persona"
        found["other_scope"] = _other_scope(scores, _other_scores(talks, other, scores.shape), clusters, other)
    readers |= _reader_auc(talks, personas, n_turns)
    by_turn = {name: _by_turn(table) for name, table in readers.items()}
    found["identification"] = {name: auc for name, auc in by_turn.items() if name != "judge" or set(auc) != {None}}
    ends = {
        name: share_interval(average_samples(readers[name].reshape(scores.shape))[:, -1], clusters)
        for name in found["identification"]
    }
    found["identification_ci"] = {name: (e.low, e.high) for name, e in ends.items() if e is not None}
    return found


def _by_turn(table: Floats) -> tuple[float | None, ...]:
    """Means over conversations by turn, of a table (n_conversations, n_turns); None where there is none."""
    known = np.isfinite(table)
    return tuple(float(column[k].mean()) if k.any() else None for column, k in zip(table.T, known.T, strict=True))


def _other_scores(talks: Sequence[JudgedConversation], name: str, shape: tuple[int, ...]) -> Floats:
    table = np.full((shape[0] * shape[1], shape[2]), np.nan)
    for row, talk in zip(table, talks, strict=True):
        for turn, others in enumerate(talk.others):
            value = others.get(name)
            if value is not None:
                row[turn] = value
    return table.reshape(shape)


def _bounds(estimate: Estimate | None) -> tuple[float, float] | None:
    return None if estimate is None else (estimate.low, estimate.high)


def _both(scores: Floats, others: Floats) -> tuple[Floats, Floats]:
    """Both tables where both have a score, so that an unscored reply moves neither."""
    known = np.isfinite(scores) & np.isfinite(others)
    return np.where(known, scores, np.nan), np.where(known, others, np.nan)


def _gain(scores: Floats, swapped: Floats, clusters: Clusters) -> dict[str, Any]:
    mine, theirs = _both(scores, swapped)
    estimate = paired_difference(mine, theirs, clusters).avg
    by_turn = averaged_curve(average_samples(mine)) - averaged_curve(average_samples(theirs))
    curve = tuple(float(v) if np.isfinite(v) else None for v in by_turn)
    known = [v for v in curve if v is not None]
    value = estimate.value if estimate is not None else (float(np.mean(known)) if known else None)
    return {"gain": value, "gain_ci": _bounds(estimate), "gain_by_turn": curve}


def _other_scope(scores: Floats, others: Floats, clusters: Clusters, scope: str) -> ScopeFigures:
    measured = measure(others, clusters)
    mine, theirs = _both(scores, others)
    whole, fair = (theirs, mine) if scope == "persona" else (mine, theirs)
    rewarded = paired_difference(whole, fair, clusters).avg
    return ScopeFigures(
        scope=scope,  # type: ignore[arg-type]
        points=measured.points,
        avg=measured.figures.avg,
        avg_ci=_bounds(measured.avg),
        ir=measured.figures.ir,
        ir_ci=_bounds(measured.ir),
        mind_reading=None if rewarded is None else rewarded.value,
        mind_reading_ci=_bounds(rewarded),
    )


def _judge_auc(talks: Sequence[JudgedConversation], n_turns: int) -> Floats:
    wins = np.full((len(talks), n_turns), np.nan)
    for row, talk in zip(wins, talks, strict=True):
        for turn, (score, others) in enumerate(zip(talk.scores, talk.others, strict=False)):
            swapped = others.get(SWAPPED)
            if score is not None and swapped is not None:
                row[turn] = 0.5 if score == swapped else float(score > swapped)
    return wins


class _Crowd:
    """The N personas as columns: who holds a value, who has a trait and at which pole."""

    def __init__(self, personas: Sequence[Persona]) -> None:
        self.n = len(personas)
        holders: dict[tuple[str, str], list[int]] = defaultdict(list)
        poles: dict[str, list[str]] = defaultdict(lambda: [""] * self.n)
        for column, persona in enumerate(personas):
            latent = read_persona(persona.profile, persona.personality)
            for value in latent.by_value:
                holders[value].append(column)
            for trait, item in latent.poles.items():
                poles[trait][column] = item.value
        self._holders = {key: np.array(columns) for key, columns in holders.items()}
        self._poles = {trait: np.array(own) for trait, own in poles.items()}

    def vote_fact(self, votes: Floats, values: Sequence[tuple[str, str]]) -> None:
        """A fact that may be any of ``values`` (slot, value): +1 for those who hold it, -1 for all others."""
        columns = [self._holders[v] for v in values if v in self._holders]
        votes -= 1.0
        if columns:
            votes[np.unique(np.concatenate(columns))] += 2.0

    def vote_trait(self, votes: Floats, trait: str, pole: str) -> None:
        """+1 for those at this pole, -1 for those at the other, 0 for those without the trait."""
        if trait in self._poles:
            own = self._poles[trait]
            votes += np.where(own == pole, 1.0, np.where(own == "", 0.0, -1.0))


def identify(
    talks: Sequence[JudgedConversation], personas: Sequence[Persona], n_turns: int
) -> dict[str, tuple[float | None, ...]]:
    """AUC by turn of ``replies`` and ``conversation``; empty where nobody else is there or nothing can be read."""
    return {name: _by_turn(table) for name, table in _reader_auc(talks, personas, n_turns).items()}


def _reader_auc(talks: Sequence[JudgedConversation], personas: Sequence[Persona], n_turns: int) -> dict[str, Floats]:
    """AUC of each conversation and turn by reader, NaN where there is no such turn; chance where the model had left."""
    readable = [has_ground_truth(read_persona(p.profile, p.personality)) for p in personas]
    if len(personas) < 2 or not all(readable):
        return {}
    crowd = _Crowd(personas)
    place = {persona.persona_id: column for column, persona in enumerate(personas)}
    wins = {name: np.full((len(talks), n_turns), np.nan) for name in ("replies", "conversation")}
    for i, talk in enumerate(talks):
        column, messages = place[talk.persona.persona_id], talk.messages
        by_replies, by_all = np.zeros(crowd.n), np.zeros(crowd.n)
        for table in wins.values():
            table[i, len(messages) // 2 : len(talk.scores)] = 0.5
        for turn in range(len(messages) // 2):
            _read_user(crowd, by_all, messages[2 * turn].content)
            for votes in (by_replies, by_all):
                _read_reply(crowd, votes, messages[2 * turn + 1].content)
            wins["replies"][i, turn] = _auc(by_replies, column)
            wins["conversation"][i, turn] = _auc(by_all, column)
    return wins


def _read_user(crowd: _Crowd, votes: Floats, text: str) -> None:
    reading = read_message(text)
    for mention in reading.mentions:
        crowd.vote_fact(votes, [(p.name, p.value) for p in mention.payloads])
    for trait, pole, _ in reading.shown:
        crowd.vote_trait(votes, trait, pole)


def _read_reply(crowd: _Crowd, votes: Floats, text: str) -> None:
    reading = read_reply(text)
    for payloads in reading.values:
        crowd.vote_fact(votes, [(p.name, p.value) for p in payloads])
    for trait, pole in reading.fits:
        crowd.vote_trait(votes, trait, pole)


def _auc(votes: Floats, column: int) -> float:
    """Share of the other personas with fewer votes than the true one, equal ones half."""
    others = np.delete(votes, column)
    return float(np.mean(votes[column] > others) + 0.5 * np.mean(votes[column] == others))
