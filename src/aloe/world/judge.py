"""The world's judge: style fit x use of what was revealed x on-topic, minus false facts and guesses; 1 to 5.

score = 1.8 + 3.2 T S C - 0.5 false - 0.15 forced - 0.15 repeated (- 0.35 premature under scope "revealed") - 0.1
where the reply is shorter than 8 words or longer than 70, clipped to [1, 5]:
T 1 on topic, else 0.5; S from 0 (all style markers wrong) over 0.5 (none) to 1 (as many right as can be
expected); C from 0.25 (no fact used) to 1 (as many as the whole persona has for this topic, three at most).
Repeated: clauses said before in the same reply, word for word.
Under scope "revealed" only traits and facts that were shown so far earn anything. A reply without manner and
facts gets 2.2: above a reply made for somebody else, below one made for this user.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import orjson

from aloe.prompts.sections import read_attribute, read_conversation, read_section
from aloe.world.latent import Latent
from aloe.world.truth import MAX_EXPECTED, Known, Weighed, read_known, weigh

BASE, SPAN = 1.8, 3.2
FALSE, PREMATURE, FORCED, REPEATED, LENGTH = 0.5, 0.35, 0.15, 0.15, 0.1
_CLAUSE = re.compile(r"[.,;:!?…]+")
FITTING_LENGTH = (8, 70)  # words; shorter does not engage, longer is not concise
TIE = 0.05  # replies whose scores are closer are equally good


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


def form_opinion(known: Known, reply: str, scope: str) -> Opinion:
    """Judge one reply within a conversation."""
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
    off = FALSE * seen.n_false + FORCED * len(seen.forced) + (PREMATURE * len(seen.premature) if fair else 0.0)
    n_repeated = count_repeated(reply)
    off += REPEATED * n_repeated
    long_or_short = not FITTING_LENGTH[0] <= len(reply.split()) <= FITTING_LENGTH[1]
    score = BASE + SPAN * topic * style * content - off - LENGTH * long_or_short
    n_unnatural = len(seen.forced) + n_repeated + long_or_short
    return Opinion(
        score=round(min(5.0, max(1.0, score)), 2),
        style=round(1 + 4 * style, 2),
        content=round(min(5.0, max(1.0, 1 + 4 * content - 2 * off)), 2),
        natural=round(max(1.0, (5.0 if seen.on_topic else 2.0) - 0.5 * n_unnatural), 2),
        reason=_reason(seen, manner, fair, n_repeated),
    )


def _content(known: Known, seen: Weighed, fair: bool) -> float:
    """C: the share of what could be used, were the whole persona known."""
    n_needed = min(MAX_EXPECTED, sum(map(known.matters, known.latent.facts)))
    used = list(seen.used)
    if not fair:
        used += [item for item in seen.premature if known.matters(item)]
    n_used = min(len(used), MAX_EXPECTED)
    return 0.25 + 0.75 * min(n_used, n_needed) / n_needed if n_needed else 1.0


def _reason(seen: Weighed, manner: list[bool], fair: bool, n_repeated: int) -> str:
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
    if n_repeated:
        said.append("says the same thing twice")
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


def judge(latent: Latent, prompt: str, bias: str = "") -> str:
    """Answer a compare or a score prompt. ``bias`` names the reply that a faulty judge always prefers."""
    scope = read_attribute(prompt, "rubric", "scope") or "persona"
    known = read_known(latent, read_conversation(prompt))
    only = read_section(prompt, "reply", 'id="only"')
    if only is not None:
        mine = form_opinion(known, only.strip(), scope)
        scale = read_attribute(prompt, "rubric", "scale") or ""
        parts = {"style": mine.style, "content": mine.content, "natural": mine.natural, "score": mine.score}
        scored = {name: _on_scale(value, scale) for name, value in parts.items()}
        return orjson.dumps({"reason": f"The reply: {mine.reason}.", **scored}).decode()
    replies = [read_section(prompt, "reply", f'id="{which}"') or "" for which in ("first", "second")]
    first, second = (form_opinion(known, reply.strip(), scope) for reply in replies)
    margin = first.score - second.score
    verdict = bias or ("tie" if abs(margin) < TIE else "first" if margin > 0 else "second")
    reason = f"First: {first.reason}; second: {second.reason}."
    return orjson.dumps({"reason": reason, "verdict": verdict}).decode()
