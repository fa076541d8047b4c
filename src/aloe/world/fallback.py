"""Personas that are not in the world's language: clauses as facts, trait words as traits.

Real texts, other languages, bullet lists and hostile text are all handled here. Nothing raises and nothing becomes
empty; a clause that can't be turned into first-person speech with certainty is quoted as it is. A mention of a clause
is measured as the share of its content words that a text holds.
"""

from __future__ import annotations

import re
from functools import lru_cache

from aloe.world.lexicon.scan import tokenize

MENTIONED = 0.6  # share of a clause's content words that tells it
USED = 0.4  # share that a reply needs to count as using it
MAX_SPOKEN = 240  # characters of a clause that anybody says


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_STOP = _set(
    """a the and or but so as at by for from in into of off on onto out over to up with without about after before
    is are was were be been being am do does did done has have had having will would can could should may might
    must i you she her it its we us our your my me mine that this these those there here who whom whose which what
    when where why how not no nor very really also too just than then if because while who's it's i'm you're
    all any some each both more most much many own same such only ever never always often usually sometimes he his
    him they their them himself herself themselves myself yourself likes like loves love enjoys enjoy years year old
    one's don't doesn't isn't i've you've s t re ve ll d m
    told said mentioned given since"""
)
_CLAUSES = re.compile(
    r"\s*;\s*|\s+-\s+|,?\s+(?:and|but)\s+(?=(?:she|he|they|she's|he's|they're)\b)|,\s+(?=(?:she|he|they)\s)", re.I
)
_SUBJECTS = {"she", "he", "they"}
_BE = {"is": ("am", "are"), "are": ("am", "are"), "was": ("was", "were"), "were": ("was", "were")}
_BOUND = {
    "she's": ("I'm", "you're"), "he's": ("I'm", "you're"), "they're": ("I'm", "you're"),
    "she'd": ("I'd", "you'd"), "he'd": ("I'd", "you'd"), "they'd": ("I'd", "you'd"),
    "she'll": ("I'll", "you'll"), "he'll": ("I'll", "you'll"), "they'll": ("I'll", "you'll"),
    "they've": ("I've", "you've"),
}  # fmt: skip
_PLAIN = {"can", "will", "would", "could", "should", "may", "might", "must", "had", "did", "has", "have", "this"}
_ADVERBS = {"also", "often", "never", "always", "sometimes", "just", "now", "still", "even", "then", "once", "not"}
_VERBS = _set(
    """loves enjoys likes plays works lives owns has is prefers volunteers writes wants hates dislikes keeps makes
    collects runs hopes plans grows reads teaches practices practises participates builds knits brews cooks bakes
    spends takes goes dreams speaks travels paints sings dances drives rides swims hikes tends raises follows drinks
    eats uses attends helps visits watches listens studies specializes specialises values seeks wears believes
    tends cares needs trains coaches organises organizes manages leads"""
)
_NOT_AFTER_POSSESSIVE = {"and", "or", "to", "in", "on", "at", "with", "for", "from", "by", "as", "but", "when", "that"}


@lru_cache(maxsize=32768)
def _stem(word: str) -> str:
    if len(word) <= 3 or not word.isascii():
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    for ending, least in (("ing", 6), ("ed", 5)):
        if word.endswith(ending) and len(word) >= least:
            return word[: -len(ending)].rstrip("e")
    if word.endswith(("shes", "ches", "xes", "sses", "zes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    return word.rstrip("e")


@lru_cache(maxsize=16384)
def stems(text: str) -> frozenset[str]:
    """The content words of a text, cut to what their forms have in common."""
    return frozenset(_stem(t) for t in tokenize(text) if t not in _STOP)


def content(clause: str) -> str:
    """The content words of what would be said of a clause, each once, in order; "" where there are none."""
    return " ".join(dict.fromkeys(t for t in tokenize(shorten(clause)) if t not in _STOP))


def is_told(clause: str, words: frozenset[str], text: str, text_words: frozenset[str]) -> bool:
    """Whether a text tells a clause (``words``: its content words; without any, the clause itself counts)."""
    if words:
        return share(words, text_words) >= MENTIONED
    return bool(clause.strip()) and shorten(clause).rstrip(" .!;,").lower() in text.lower()


def share(clause: frozenset[str], text: frozenset[str]) -> float:
    """Share of a clause's words that a text holds, 0 to 1."""
    return len(clause & text) / len(clause) if clause else 0.0


def shorten(clause: str) -> str:
    """At most MAX_SPOKEN characters, cut between words where there are any."""
    if len(clause) <= MAX_SPOKEN:
        return clause
    cut = clause[:MAX_SPOKEN]
    return cut.rsplit(" ", 1)[0] if " " in cut else cut


@lru_cache(maxsize=4096)
def split_clauses(sentence: str) -> tuple[str, ...]:
    """Clauses that can stand alone; a sentence with one subject stays whole."""
    clauses = tuple(c for piece in _CLAUSES.split(sentence) if (c := piece.strip(" ,;\t")))
    return tuple(c for c in clauses if any(ch.isalnum() for ch in c)) or (sentence,)


def _base(verb: str) -> str:
    """The verb without its third person: "enjoys" -> "enjoy"."""
    if verb in _PLAIN or verb.endswith("ss") or not verb.endswith("s") or len(verb) < 3:
        return verb
    if verb.endswith("ies") and len(verb) > 4:
        return verb[:-3] + "y"
    if verb.endswith(("oes", "shes", "ches", "xes", "sses", "zzes")):
        return verb[:-2]
    return verb[:-1]


def _verb(word: str, person: int) -> str:
    bare = word.rstrip(",")
    tail = word[len(bare) :]
    lower = bare.lower()
    if lower in _BE:
        return _BE[lower][person] + tail
    if lower == "has":
        return "have" + tail
    if lower == "doesn't":
        return "don't" + tail
    if lower == "isn't":
        return ("am not", "are not")[person] + tail
    return _base(lower) + tail


def _speak(clause: str, person: int) -> str | None:
    """The clause with its subject as I (0) or you (1); None where the subject is not a pronoun."""
    words = shorten(clause).replace("’", "'").split()
    if not words or words[0].lower() not in _SUBJECTS | set(_BOUND):
        return None
    out: list[str] = []
    expect_verb = False
    for i, word in enumerate(words):
        lower = word.lower()
        bare = lower.rstrip(".,;:!?")
        tail = word[len(bare) :]
        following = words[i + 1].lower() if i + 1 < len(words) else ""
        if bare in _BOUND:
            out.append(_BOUND[bare][person] if following != "been" else ("I've", "you've")[person])
        elif bare in _SUBJECTS:
            out.append(("I", "you")[person] + tail)
            expect_verb = True
        elif expect_verb:
            if bare in _ADVERBS or (bare.endswith("ly") and bare not in ("fly", "rely")):
                out.append(word)
            else:
                out.append(_verb(word, person))
                expect_verb = False
        elif i and words[i - 1].lower() in ("and", "but") and bare in _VERBS:
            out.append(_verb(word, person))
        elif bare in ("his", "her") and following and not tail and following not in _NOT_AFTER_POSSESSIVE:
            out.append(("my", "your")[person])
        elif bare in ("him", "her"):
            out.append(("me", "you")[person] + tail)
        elif bare in ("himself", "herself", "themselves"):
            out.append(("myself", "yourself")[person] + tail)
        else:
            out.append(word)
    return _contract(" ".join(out).rstrip(" .!;,"))


def _contract(text: str) -> str:
    return "I'm" + text[4:] if text.startswith("I am ") else text


@lru_cache(maxsize=16384)
def first_person(clause: str) -> str:
    """What the persona's owner says of itself, with a full stop: "I'm a nurse." or "About me: ..."."""
    spoken = _speak(clause, 0)
    return (spoken if spoken else f"About me: {shorten(clause).rstrip(' .!;,')}") + "."


_BREAK = re.compile(r"(?=, | and | who | with | where )")


def _brief(clause: str) -> str:
    """The beginning of a clause, up to a break that leaves at least half of its content words."""
    whole = stems(shorten(clause))
    text = ""
    for piece in _BREAK.split(shorten(clause)):
        text += piece
        if share(whole, stems(text)) >= 0.5:
            break
    return text.rstrip(" .!;,")


@lru_cache(maxsize=16384)
def second_person(clause: str) -> str:
    """How a reply takes it up, in brief: "since you are a nurse", or the clause quoted."""
    spoken = _speak(_brief(clause), 1)
    return f"since {spoken}" if spoken else f"thinking of what you told me ({_brief(clause)})"


# Words of character -> (trait, pole); the first found in a clause decides.
_TRAIT_WORDS: dict[tuple[str, str], str] = {
    ("formality", "formal"): "formal polite proper courteous well-mannered traditional dignified respectful",
    ("formality", "casual"): "casual easy-going easygoing laid-back relaxed informal down-to-earth carefree chill",
    ("warmth", "warm"): (
        "warm kind empathetic compassionate caring friendly gentle supportive generous affectionate sensitive "
        "loving nurturing considerate kind-hearted warm-hearted loyal emotional thoughtful"
    ),
    ("warmth", "blunt"): "blunt harsh direct straightforward outspoken frank brusque rude cold sharp-tongued honest",
    ("thinking", "analytical"): (
        "analytical rational logical objective detail-oriented intellectual meticulous analyze analyse critical "
        "methodical scientific evidence"
    ),
    ("thinking", "intuitive"): (
        "intuitive intuition intuition-driven gut instinct instincts instinctive artistic creative creativity"
    ),
    ("humour", "playful"): "playful humor humour humorous witty joke jokes funny silly mischievous laugh prankster",
    ("humour", "serious"): "serious solemn earnest stern grave humourless humorless stoic",
    ("length", "terse"): "terse laconic concise succinct taciturn brief",
    ("length", "chatty"): "chatty talkative communicator storyteller chatterbox verbose eloquent",
    ("outlook", "optimistic"): "optimistic optimist positive cheerful hopeful upbeat positivity",
    ("outlook", "sceptical"): "sceptical skeptical pessimistic pessimist cynical cynic doubtful suspicious",
    ("pace", "impatient"): "impatient hasty restless short-tempered hot-headed hurried energetic",
    ("pace", "patient"): "patient calm patience unhurried composed tranquil serene listener",
    ("confidence", "assertive"): (
        "assertive confident leader leadership determined ambitious strong-willed self-assured decisive bold "
        "independent confidence competitive"
    ),
    ("confidence", "anxious"): (
        "anxious nervous insecure worried worries worrier timid self-conscious indecisive overthinks"
    ),
    ("novelty", "adventurous"): (
        "adventurous adventure curious open-minded daring explorer curiosity risk-taker fearless"
    ),
    ("novelty", "cautious"): "cautious careful prudent risk-averse conservative wary conventional",
    ("sociability", "outgoing"): "outgoing sociable extroverted extrovert extraverted social gregarious attention",
    ("sociability", "withdrawn"): "withdrawn reserved introverted introvert shy quiet solitary private alone aloof",
    ("order", "planner"): (
        "planner organized organised well-organized well-organised disciplined punctual structured systematic "
        "responsible reliable dependable perfectionist plan"
    ),
    ("order", "spontaneous"): "spontaneous impulsive flexible adaptable unpredictable adapt flow disorganized messy",
    ("modesty", "modest"): "modest humble unassuming humility selfless self-effacing",
    ("modesty", "proud"): "proud arrogant vain boastful self-centered conceited egotistical narcissistic",
}  # fmt: skip


@lru_cache(maxsize=1)
def _trait_words() -> dict[str, tuple[str, str]]:
    return {" ".join(tokenize(word)): pole for pole, words in _TRAIT_WORDS.items() for word in words.split()}


def find_trait(clause: str) -> tuple[str, str] | None:
    """The (trait, pole) that a clause tells by a word of character; None if it tells none, or denies it."""
    known = _trait_words()
    tokens = tokenize(clause)
    for i, token in enumerate(tokens):
        two, three = " ".join(tokens[i : i + 2]), " ".join(tokens[i : i + 3])
        found = known.get(three) or known.get(two) or known.get(token)
        if found and not {"not", "never", "isn't", "rarely", "hardly", "without"} & set(tokens[max(0, i - 3) : i]):
            return found
    return None
