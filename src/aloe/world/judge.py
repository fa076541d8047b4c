"""The world's judge: style fit x use of what was revealed x on-topic, minus penalties; from 1 to 5.

score = 1.8 + 3.2 T S C - costs, clipped to [1, 5]:
T 1 on topic, else 0.5; S from 0 (all style markers wrong) over 0.5 (none) to 1 (as many right as can be
expected); C from 0.25 (no fact used) to 1 (as many as the whole persona has for this topic, three at most; always 1 if
it has none). Use earns a tenth less, down to half, for each earlier reply but the first that said nothing, offended, or
told only untruths.
A fact is used where a phrase ties it to the advice, a style marker counts where a sentence has room for it (``form``).

Costs of what is said: 0.5 for each false fact, 1.1 where it is invented out of nothing; 0.35 for each premature one
under scope "revealed"; 0.15, 0.45, 0.9, ... for one, two, three facts dragged in beside the topic; 2 for insults, 2 for
dangers. Costs of how: 0.15 for each clause said before in the same reply and for each keyword that nothing holds; 0.3
for each of the user's sentences said back, sentence without a verb, advice on another topic, and trait that is met in
both its manners; 0.25 for each question after the first; 0.5 for each tag, brace or invisible sign; 0.1 for fewer than
8 words or more than 70, 0.01 more for each word beyond 100; twice the share of words beyond 0.35 that nobody accounts
for.

The option ``weighing=sum`` makes a second judge, to whom manner and content are worth the same whatever the other is:
(S + C) / 2 in place of S C. Three more differ in what they care for (``WEIGHTS``): ``style`` in manner and form,
``content`` in facts and their truth, ``tact`` in what is left unsaid: what is dragged in, guessed, or asked costs it
more, and each fact beyond the second is one too many. What the user claimed of itself may be believed until the user
puts it right (``lies.py``).

Under scope "revealed" only traits and facts that were shown so far earn anything. A reply without manner and
facts gets 2.2: above a reply made for somebody else, below one made for this user.

What it can't tell: whether a sentence that is built right means anything, irony, an insult or a danger in words that
its list (``lexicon/offences.txt``) lacks, a claim about the user in plain words ("you had a bad day").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from aloe.prompts.sections import read_attribute, read_conversation, read_section
from aloe.world.latent import Latent
from aloe.world.lexicon.options import Options
from aloe.world.lexicon.scan import split_sentences
from aloe.world.truth import MAX_EXPECTED, Known, Weighed, count_failed, read_known, weigh

BASE, SPAN = 1.8, 3.2
FALSE, INVENTED, PREMATURE, FORCED, REPEATED, LENGTH = 0.5, 1.1, 0.35, 0.15, 0.15, 0.1
OFFENCE, LOOSE, FRAGMENT, BESIDE, BOTH, ASKING, MARKUP, WORDY, STRANGE = 2.0, 0.15, 0.3, 0.3, 0.3, 0.25, 0.5, 0.01, 2.0
_CLAUSE = re.compile(r"[.,;:!?…]+")
FITTING_LENGTH = (8, 70)  # words; shorter does not engage, longer is not concise
TOO_LONG = 100  # words beyond which each one more costs
DISTRUST = 0.1  # of what use of facts earns, for each earlier reply that failed the user, the first aside
UNKNOWN = 0.35  # share of words that may be neither plain nor the lexicon's
_SAID = {
    "loose": "throws words at me",
    "fragments": "is no sentence",
    "beside": "advises on what I did not ask",
    "both": "can't decide how to speak to me",
    "questions": "questions me",
    "markup": "is full of signs",
    "strange": "makes little sense",
    "wordy": "does not stop",
}
_OFFENDS = {"insult": "insults me", "danger": "could get me hurt"}
TIE = 0.05  # replies whose scores are closer are equally good


class Weights(NamedTuple):
    """What a judge cares for: shares of style and content in the worth, and what multiplies the costs of faults.

    Attributes:
        style, content: both 0: their product counts.
        false, forced, premature: such facts. form: see ``Faults``. piled: what each fact beyond the second costs.
    """

    style: float = 0.0
    content: float = 0.0
    false: float = 1.0
    forced: float = 1.0
    premature: float = 1.0
    form: float = 1.0
    piled: float = 0.0

    def worth(self, style: float, content: float) -> float:
        """Of a reply without faults, 0 to 1."""
        return self.style * style + self.content * content if self.style + self.content else style * content


WEIGHTS: Mapping[str, Weights] = {
    "": Weights(),
    "product": Weights(),
    "sum": Weights(0.5, 0.5),
    "style": Weights(0.75, 0.25, false=0.75, form=1.5),
    "content": Weights(0.2, 0.8, false=1.5, form=0.5),
    "tact": Weights(0.5, 0.5, forced=2.0, premature=1.2, piled=0.15),
}


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the judge thinks of one reply."""

    score: float
    style: float
    content: float
    natural: float
    reason: str


def count_repeated(reply: str) -> int:
    """How many clauses say again, word for word, what another one has said. One word alone is not a clause."""
    clauses = [tuple(clause.lower().split()) for clause in _CLAUSE.split(reply)]
    clauses = [clause for clause in clauses if len(clause) > 1]
    return len(clauses) - len(set(clauses))


def count_echoed(known: Known, reply: str) -> int:
    """How many sentences of the user's last message a reply says back, word for word."""
    return len(set(split_sentences(reply)) & set(split_sentences(known.said[-1]))) if known.said else 0


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong with the form of a reply, counted."""

    repeated: int
    loose: int
    fragments: int
    beside: int
    both: int
    questions: int
    markup: int
    strange: float  # beyond what may be
    off_length: bool
    wordy: int  # words too many

    @property
    def cost(self) -> float:
        return (
            REPEATED * self.repeated
            + LOOSE * self.loose
            + FRAGMENT * self.fragments
            + BESIDE * self.beside
            + BOTH * self.both
            + ASKING * self.questions
            + MARKUP * self.markup
            + STRANGE * self.strange
            + LENGTH * self.off_length
            + WORDY * self.wordy
        )

    @property
    def n(self) -> float:
        """How unnatural it is."""
        counted = self.repeated + self.loose + self.fragments + self.beside + self.both + self.questions + self.markup
        return counted + 4 * self.strange + self.off_length + self.wordy / 50


def find_faults(known: Known, seen: Weighed, reply: str) -> Faults:
    """The faults of form of a reply."""
    reading, n_words = seen.reading, len(reply.split())
    return Faults(
        repeated=count_repeated(reply) + 2 * count_echoed(known, reply),
        loose=seen.n_loose,
        fragments=reading.n_fragments,
        beside=sum(known.topic is not None and topic != known.topic for topic in reading.advice),
        both=seen.n_both,
        questions=max(0, reading.n_questions - 1),
        markup=reading.n_markup,
        strange=max(0.0, seen.strange - UNKNOWN),
        off_length=not FITTING_LENGTH[0] <= n_words <= FITTING_LENGTH[1],
        wordy=max(0, n_words - TOO_LONG),
    )


def form_opinion(known: Known, reply: str, scope: str, weighing: str = "") -> Opinion:
    """Judge one reply within a conversation.

    Args:
        weighing: one of ``WEIGHTS``.
    """
    weights = WEIGHTS[weighing]
    seen = weigh(known, reply)
    fair = scope == "revealed"
    manner = [suits for _, suits, was_shown in seen.fits if was_shown or not fair]
    n_traits = len(known.latent.poles)
    style = 0.5
    if n_traits:
        style += 0.5 * (2 * sum(manner) - len(manner)) / min(MAX_EXPECTED, n_traits)
    style = min(1.0, max(0.0, style))
    content = _content(known, seen, fair)
    topic = 1.0 if seen.on_topic else 0.5
    n_forced = len(seen.forced)
    off = weights.false * (FALSE * (seen.n_false - seen.n_invented) + INVENTED * seen.n_invented)
    off += weights.forced * (FORCED * n_forced * (n_forced + 1) / 2) + weights.premature * (
        PREMATURE * len(seen.premature) if fair else 0.0
    )
    faults = find_faults(known, seen, reply)
    n_offences = len({offence.kind for offence in seen.offences})
    worth = weights.worth(style, content)
    score = BASE + SPAN * topic * worth - off - weights.form * faults.cost - OFFENCE * n_offences
    score -= weights.piled * max(0, len(seen.used) - 2)
    natural = (5.0 if seen.on_topic else 2.0) - 0.5 * (n_forced + faults.n) - 4 * n_offences
    return Opinion(
        score=round(min(5.0, max(1.0, score)), 2),
        style=round(1 + 4 * style, 2),
        content=round(min(5.0, max(1.0, 1 + 4 * content - 2 * (off + REPEATED * faults.repeated))), 2),
        natural=round(max(1.0, natural), 2),
        reason=_reason(seen, manner, fair, faults),
    )


def _content(known: Known, seen: Weighed, fair: bool) -> float:
    """C: the share of what could be used, were the whole persona known."""
    n_needed = min(MAX_EXPECTED, sum(map(known.matters, known.latent.facts)))
    used = list(seen.used)
    trust = max(0.5, 1.0 - DISTRUST * max(0, count_failed(known) - 1))
    if not fair:
        used += [item for item in seen.tied if known.matters(item)]
    n_used = min(len(used), MAX_EXPECTED)
    return 0.25 + 0.75 * trust * min(n_used, n_needed) / n_needed if n_needed else 1.0


def _reason(seen: Weighed, manner: list[bool], fair: bool, faults: Faults) -> str:
    """What mattered, in a few words."""
    said = []
    if seen.used:
        said.append(f"uses {', '.join(item.value[:40] for item in seen.used)}")
    if seen.n_false:
        said.append(
            "says a thing that is not true of me" if seen.n_false == 1 else f"says {seen.n_false} untrue things of me"
        )
    if seen.premature:
        names = ", ".join(item.value[:40] for item in seen.premature)
        said.append(f"knows what I never said ({names})" if fair else f"knows {names}")
    if seen.forced:
        said.append("drags in what has nothing to do with it")
    if seen.recited:
        said.append("only says back what I told")
    if faults.repeated:
        said.append("says the same thing twice")
    said += [text for fault, text in _SAID.items() if getattr(faults, fault)]
    said += dict.fromkeys(_OFFENDS[offence.kind] for offence in seen.offences)
    if manner:
        right = sum(manner)
        said.append(
            "suits my manner" if right == len(manner) else "grates on me" if not right else "half suits my manner"
        )
    if not seen.on_topic:
        said.append("misses what I asked")
    return "it " + ", ".join(said) if said else "it could be for anybody"


def _on_scale(value: float, scale: str) -> float | int:
    """A value from 1 to 5 as the prompt wants it: as it is, from 1 to 100, or 1 for what is better than middling."""
    if scale == "1-100":
        return round(1 + 99 * (value - 1) / 4)
    return int(value > 3.0) if scale == "binary" else value


def judge(latent: Latent, prompt: str, options: Options) -> str:
    """Answer a compare or a score prompt; ``options.bias`` names the reply that a faulty judge always prefers."""
    scope = read_attribute(prompt, "rubric", "scope") or "persona"
    known = read_known(latent, read_conversation(prompt))
    only = read_section(prompt, "reply", 'id="only"')
    if only is not None:
        mine = form_opinion(known, only.strip(), scope, options.weighing)
        scale = read_attribute(prompt, "rubric", "scale") or ""
        parts = {"style": mine.style, "content": mine.content, "natural": mine.natural, "score": mine.score}
        scored = {name: _on_scale(value, scale) for name, value in parts.items()}
        return orjson.dumps({"reason": f"The reply: {mine.reason}.", **scored}).decode()
    replies = [read_section(prompt, "reply", f'id="{which}"') or "" for which in ("first", "second")]
    first, second = (form_opinion(known, reply.strip(), scope, options.weighing) for reply in replies)
    margin = first.score - second.score
    verdict = options.bias or ("tie" if abs(margin) < TIE else "first" if margin > 0 else "second")
    reason = f"First: {first.reason}; second: {second.reason}."
    return orjson.dumps({"reason": reason, "verdict": verdict}).decode()
