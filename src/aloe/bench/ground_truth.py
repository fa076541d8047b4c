"""Ground-truth figures of benchmark conversations: how replies use what the user has really revealed.

Exact where the persona is in the world's language (then ``aloe.world.truth`` reads user and replies without error);
conversations about any other persona are left out of them. All are shares in [0, 1] unless said otherwise, pooled
over replies (sum of counts over sum of counts), None where nothing could be counted:

- ``fact_use``: of the revealed facts that matter to the question (at most 3 expected), those the reply uses: ties
  to its advice, not only says.
- ``implied_fact_use``: the same over facts that the user only implied. ``fact_use_by_lag``: by turns since revealed.
- ``untrue_rate``: of the facts a reply mentions, those that are not the user's, claims about it in words that
  the lexicon does not know among them.
- ``premature_rate``: of them, those true but not revealed yet. ``over_personalisation``: of them, those revealed but
  beside the topic. ``repetition``: of them, those that two earlier replies of the conversation had mentioned.
- ``style_accuracy``: of the style markers that answer a trait shown so far, those that suit it. ``style_recall``:
  markers that suit over those that could be expected (traits shown, at most 3).
- ``on_topic``: replies on the user's topic. ``leak_turn_1``: share of a persona's facts in its first message.
- ``facts_revealed``: facts revealed in a whole conversation, a mean count.
- ``user_contradictions``: of the facts that user messages state of the user, those that the persona does not hold.
- ``user_role_flips`` (messages in which nobody speaks as a user) and ``user_repeats`` (messages sent before in the
  same conversation): shares of user messages, for any persona.
- ``reply_words`` (mean) and ``length_score_r`` (correlation of words and score): for any persona.

The shares have intervals over personas that share groups, inside [0, 1] and never a point (``ratio_interval``).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from aloe.dialogue.user import is_repeated, speaks_as_user
from aloe.stats import Clusters, pearson, ratio_interval
from aloe.types import Message, Persona
from aloe.world.timeline import latent_of
from aloe.world.truth import (
    Item,
    Latent,
    assess_weighed,
    read_known,
    read_message,
    read_persona,
    read_user_message,
    weigh,
)


def has_ground_truth(latent: Latent) -> bool:
    """Whether a persona is in the world's language throughout."""
    items = (*latent.facts, *latent.traits)
    return bool(latent.facts) and all(item.is_world for item in items)


def _new_facts(latents: Sequence[Latent], said: Sequence[str]) -> list[int]:
    """How many facts each message reveals that had not been revealed before; ``latents``: what holds at each."""
    seen: set[tuple[str, str]] = set()
    counts = []
    for latent, text in zip(latents, said, strict=True):
        new = {(s.item.name, s.item.value) for s in read_user_message(text, latent) if s.item.kind == "fact"} - seen
        seen |= new
        counts.append(len(new))
    return counts


#: The figures that are shares: counts of what was so, of what could have been.
SHARES: dict[str, tuple[str, tuple[str, ...]]] = {
    "fact_use": ("used", ("relevant",)),
    "implied_fact_use": ("implied_used", ("implied",)),
    "untrue_rate": ("false", ("mentions",)),
    "premature_rate": ("premature", ("mentions",)),
    "over_personalisation": ("forced", ("mentions",)),
    "repetition": ("repeated", ("mentions",)),
    "style_accuracy": ("match", ("match", "mismatch")),
    "style_recall": ("style_used", ("style_expected",)),
    "on_topic": ("on_topic", ("assessed",)),
    "user_contradictions": ("untrue", ("claims",)),
    "user_role_flips": ("flips", ("said",)),
    "user_repeats": ("again", ("said",)),
}


class TruthFigures:
    """Adds up conversation by conversation; sums only, so the order does not matter."""

    def __init__(self, n_turns: int) -> None:
        self.n_turns = n_turns
        self.by_persona: dict[str, Counter[str]] = {}
        self._lags: dict[int, list[int]] = defaultdict(lambda: [0, 0])  # lag -> used, expected
        self._given = [[0, 0] for _ in range(n_turns)]  # facts revealed, conversations that reached the turn
        self._leaks: list[float] = []
        self._lengths: list[tuple[float, float]] = []  # words, score (NaN = unscored)

    def add(self, persona: Persona, messages: Sequence[Message], scores: Sequence[float | None]) -> None:
        """One conversation.

        Args:
            messages: user first, alternating; may end with either.
            scores: of the replies, by turn.
        """
        counts = self.by_persona.setdefault(persona.persona_id, Counter())
        for reply, score in zip(messages[1::2], scores, strict=False):
            words = len(reply.content.split())
            counts["words"] += words
            counts["replies"] += 1
            self._lengths.append((float(words), float("nan") if score is None else score))
        said = [m.content for m in messages[::2]]
        counts["said"] += len(said)
        counts["flips"] += sum(not speaks_as_user(text) for text in said)
        counts["again"] += sum(is_repeated(text, said[:turn]) for turn, text in enumerate(said))
        latent = read_persona(persona.profile, persona.personality)
        if not has_ground_truth(latent):
            return
        latents = [latent_of(persona.as_of(turn)) for turn in range(1, len(said) + 1)]
        self._add_user(counts, latents, said)
        mentioned: Counter[Item] = Counter()
        for turn in range(len(messages) // 2):
            now = latents[turn]
            self._add_reply(counts, now, messages[: 2 * turn + 1], messages[2 * turn + 1].content, mentioned)

    def _add_user(self, counts: Counter[str], latents: Sequence[Latent], said: Sequence[str]) -> None:
        new = _new_facts(latents, said)
        for turn, n in enumerate(new[: self.n_turns]):
            self._given[turn][0] += n
            self._given[turn][1] += 1
        for text, latent in zip(said, latents, strict=True):
            for mention in read_message(text).mentions:
                if mention.payloads[0].kind == "value":
                    counts["claims"] += 1
                    counts["untrue"] += not any((p.name, p.value) in latent.by_value for p in mention.payloads)
        if new:
            self._leaks.append(new[0] / len(latents[0].facts))
            counts["conversations"] += 1
            counts["revealed"] += sum(new)

    def _add_reply(
        self, c: Counter[str], latent: Latent, conversation: Sequence[Message], reply: str, mentioned: Counter[Item]
    ) -> None:
        known = read_known(latent, conversation)
        seen = weigh(known, reply)
        truth = assess_weighed(known, seen)
        c["assessed"] += 1
        c["relevant"] += truth.n_relevant
        c["used"] += truth.n_used
        c["implied"] += truth.n_implied
        c["implied_used"] += truth.n_implied_used
        c["mentions"] += truth.n_mentions
        c["false"] += truth.n_false
        c["premature"] += truth.n_premature
        c["forced"] += len(seen.forced)
        for item in (*seen.used, *seen.recited, *seen.forced, *seen.premature):
            mentioned[item] += 1
            c["repeated"] += mentioned[item] > 2
        c["match"] += truth.n_style_match
        c["mismatch"] += truth.n_style_mismatch
        c["style_used"] += min(truth.n_style_match, truth.n_style_expected)
        c["style_expected"] += truth.n_style_expected
        c["on_topic"] += truth.on_topic
        for lag, used in truth.lags:
            self._lags[lag][0] += used
            self._lags[lag][1] += 1

    def figures(self) -> dict[str, float | None]:
        """The figures named in the module's docstring."""
        c: Counter[str] = Counter()
        for counts in self.by_persona.values():
            c.update(counts)
        found: dict[str, float | None] = {}
        for name, (part, wholes) in SHARES.items():
            whole = sum(c[key] for key in wholes)
            found[name] = c[part] / whole if whole else None
        return found | {
            "leak_turn_1": sum(self._leaks) / len(self._leaks) if self._leaks else None,
            "facts_revealed": c["revealed"] / c["conversations"] if c["conversations"] else None,
            "reply_words": c["words"] / c["replies"] if c["replies"] else None,
            "length_score_r": pearson(*zip(*self._lengths, strict=True)) if self._lengths else None,
        }

    def intervals(self, groups: Mapping[str, tuple[str, str]]) -> dict[str, tuple[float, float]]:
        """95% intervals of those figures that are shares; without those where nothing could be counted.

        Args:
            groups: profile and personality of each persona that was added, by its id.
        """
        labels = [groups[persona_id] for persona_id in self.by_persona]
        clusters = Clusters([a for a, _ in labels], [b for _, b in labels]) if labels else None
        found = {}
        for name, (part, wholes) in SHARES.items():
            whole = [sum(counts[key] for key in wholes) for counts in self.by_persona.values()]
            parts = [min(counts[part], n) for counts, n in zip(self.by_persona.values(), whole, strict=True)]
            estimate = ratio_interval(parts, whole, clusters)
            if estimate is not None:
                found[name] = (estimate.low, estimate.high)
        return found

    def fact_use_by_lag(self) -> tuple[float | None, ...]:
        """Recall of facts that were revealed 0, 1, ..., n_turns - 1 turns ago."""
        pairs = [self._lags.get(lag, [0, 0]) for lag in range(self.n_turns)]
        return tuple(used / expected if expected else None for used, expected in pairs)

    def facts_by_turn(self) -> tuple[float | None, ...]:
        """Mean number of facts that the user reveals at each turn."""
        return tuple(n / reached if reached else None for n, reached in self._given)
