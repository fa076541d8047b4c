"""The inducer: infers which parts of the persona the user's own words have revealed so far.

A claim counts only if its item is a part of the persona and its evidence is quoted from the user; everything else is
dropped and counted. What was revealed once stays revealed on that path. With prompts of version 2, a claim in the
user's own words ("I rent a townhouse") counts as the part of the persona that these words tell.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from aloe.dialogue.state import PathState
from aloe.models.caller import Caller
from aloe.prompts.catalog import INDUCER
from aloe.prompts.render import FIRST
from aloe.types import Disclosure, Generation, Persona
from aloe.world.fallback import stems
from aloe.world.latent import in_context, read_sentence
from aloe.world.reading import read_message
from aloe.world.timeline import latent_of
from aloe.world.truth import read_persona, suits

MOST_IMPLIED = 2  # things that one quotation implies
MOST_KEPT = 4096  # personas whose parts are kept
_SPACE = re.compile(r"[^\w]+")
_SOMEBODY = re.compile(
    r"\b(?:my|our|the|a) (?:(?:best|old|older|younger|next-door) )?(cousin|friend|neighbou?r|colleague|co-?worker|boss|"
    r"flatmate|roommate|classmate|teacher|doctor|landlord|coach|brother|sister|mother|father|mum|mom|dad|parents|aunt|"
    r"uncle|nephew|niece|grandmother|grandfather|grandma|grandpa|husband|wife|partner|son|daughter|ex)(?:'s)? \w",
    re.IGNORECASE,
)


@lru_cache(maxsize=16384)
def _plain(text: str) -> str:
    return _SPACE.sub(" ", text.lower()).strip()


@lru_cache(maxsize=4096)
def _plain_persona(profile: str, personality: str) -> str:
    return _plain(profile) + " | " + _plain(personality)


def _about(persona: Persona) -> str:
    """What can be revealed of a persona: what it is, and what it is turning into."""
    about = _plain_persona(persona.profile, persona.personality)
    turning = [c.now for c in persona.timeline if c.how == "gradual" and c.since > persona.turn] if persona.turn else []
    return " | ".join((about, *map(_plain, turning)))


def check_disclosures(
    claimed: Sequence[Disclosure], persona: Persona, state: PathState, generation: Generation | None = None
) -> tuple[tuple[Disclosure, ...], int]:
    """The new and evidenced claims, bound to the nodes of ``state``, and the number without evidence."""
    about = _about(persona)
    known = {d.item: None for d in state.revealed}
    plain_known = {_plain(item) for item in known}
    own = _own_words(state)
    kept: list[Disclosure] = []
    dropped = 0
    for claim in claimed:
        if claim.item in known:
            continue
        item = _plain(claim.item)
        if item in plain_known:
            continue
        where = _find(claim.evidence, own)
        if item not in about or where is None:
            dropped += 1
            continue
        plain_known.add(item)
        kept.append(
            Disclosure.model_construct(
                node_id=state.node_id,
                item=claim.item,
                kind=claim.kind,
                status=claim.status,
                evidence_node_ids=(where,),
                evidence=claim.evidence,
                generation=generation,
            )
        )
    return tuple(kept), dropped


def evidence_node(evidence: str, state: PathState) -> str | None:
    """The last user message on the path that holds the words of ``evidence``, None where the user never said them."""
    return _find(evidence, _own_words(state))


def _own_words(state: PathState) -> list[tuple[str, str]]:
    return [(nid, m.content) for nid, m in zip(state.node_ids, state.messages, strict=True) if m.role == "user"]


def _find(evidence: str, own: Sequence[tuple[str, str]]) -> str | None:
    words = _plain(evidence)
    return next((nid for nid, text in reversed(own) if words and words in _plain(text)), None)


@lru_cache(maxsize=MOST_KEPT)
def _parts(profile: str, personality: str) -> tuple[tuple[str, frozenset[str], str], ...]:
    """The facts of a persona: text, content words, and the last of these, which mostly says what it is about."""
    found = []
    for item in read_persona(profile, personality).facts:
        words = stems(item.clause)
        last = next((word for token in reversed(item.clause.split()) if (word := stems(token))), frozenset())
        found.append((item.clause, words, next(iter(last), "")))
    return tuple(found)


def is_of_somebody(quote: str, part: str) -> bool:
    """Whether a quotation is about somebody who does not occur in a part of the persona."""
    found = _SOMEBODY.search(quote)
    return found is not None and found.group(1).lower() not in part.lower()


def told_part(quote: str, persona: Persona) -> str | None:
    """The one fact of the persona that the user's words tell: by two of its content words or its last one."""
    said = stems(quote)
    best, n_best = None, 0.0
    for part, words, last in _parts(persona.profile, persona.personality):
        shared = len(words & said)
        if (shared < 2 and last not in said) or not shared or is_of_somebody(quote, part):
            continue
        share = shared / len(words)
        best, n_best = (None if share == n_best else part, share) if share >= n_best else (best, n_best)
    return best


def in_personas_words(claimed: Sequence[Disclosure], persona: Persona, state: PathState) -> list[Disclosure]:
    """The claims, those that are in the user's words as the part of the persona that these words tell."""
    about, own = _plain_persona(persona.profile, persona.personality), _own_words(state)
    found = []
    for claim in claimed:
        quotes = (claim.item, claim.evidence) if _plain(claim.item) not in about else ()
        for quote in quotes:
            part = told_part(quote, persona) if _find(quote, own) is not None else None
            if part is not None:
                claim = claim.model_copy(update={"item": part, "evidence": quote, "status": "stated"})
                break
        found.append(claim)
    return found


def keep_supported(claimed: Sequence[Disclosure], persona: Persona, known: Sequence[Disclosure]) -> list[Disclosure]:
    """The claims whose evidence can mean them, each of the kind that its place in the persona says.

    What is stated shares a word with its evidence. One quotation implies ``MOST_IMPLIED`` things at most: a model that
    takes the whole description for revealed quotes the same words for all of it. What is said of somebody else is no
    evidence.
    """
    known_items = {_plain(d.item) for d in known}
    quoted = Counter(_plain(c.evidence) for c in claimed if c.status == "implied" and _plain(c.item) not in known_items)
    profile, personality = _plain(persona.profile), _plain(persona.personality)
    kept = []
    for claim in claimed:
        item, evidence = _plain(claim.item), _plain(claim.evidence)
        if claim.status == "implied" and quoted[evidence] > MOST_IMPLIED:
            continue
        if is_of_somebody(claim.evidence, claim.item):
            continue
        if claim.status == "stated" and not stems(claim.item) & stems(claim.evidence):
            continue
        is_fact, is_trait = item in profile, item in personality
        kind = claim.kind if is_fact == is_trait else "fact" if is_fact else "trait"
        kept.append(claim if kind == claim.kind else claim.model_copy(update={"kind": kind}))
    return kept


def still_true(state: PathState, persona: Persona) -> tuple[Disclosure, ...]:
    """Of what was revealed, what holds at the path's last turn; of manners that go by the context, the one here."""
    now = persona.as_of(state.turn)
    about = _about(now)
    latent = latent_of(now)
    here = in_context(latent, read_message(state.messages[-1].content).topic)
    kept = []
    for shown in state.revealed:
        item = read_sentence(shown.kind, shown.item)
        fits = shown.kind == "fact" or item.name not in here.poles or suits(here, item.name, item.value)
        if fits and _plain(shown.item) in about:
            kept.append(shown)
    return tuple(kept)


async def induce(
    caller: Caller, persona: Persona, state: PathState, path: str
) -> tuple[tuple[Disclosure, ...], int, bool]:
    """What the last user message newly revealed, the number of claims without evidence, and whether it was read."""
    claimed, reply = await caller.ask(INDUCER, path, turn=state.turn, persona=persona, conversation=state.shown)
    if claimed is None:
        return (), 0, False
    if caller.prompts.version != FIRST:
        supported = keep_supported(in_personas_words(claimed, persona, state), persona, state.revealed)
        new, dropped = check_disclosures(supported, persona, state, reply.generation)
        return new, dropped + len(claimed) - len(supported), True
    new, dropped = check_disclosures(claimed, persona, state, reply.generation)
    return new, dropped, True
